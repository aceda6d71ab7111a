"""Sound files: what people have is read, what cannot be read says how to mend it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.frontend import analyse
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import AudioError


def tones(rate: int, channels: int, seconds: float = 0.5) -> np.ndarray:
    t = np.arange(round(rate * seconds)) / rate
    rising = 2 * np.pi * (300 + 400 * t) * t  # no two moments alike: a shifted start is seen
    return np.stack([0.4 * np.sin((k + 1) * rising) for k in range(channels)]).astype(np.float32)


def write(path: Path, codec: str, samples: np.ndarray, rate: int, *, video: bool = False, sound: bool = True) -> Path:
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(str(path), "w") as container:
        if video:
            pictures = container.add_stream("mpeg4", rate=25)
            pictures.width = pictures.height = 64
        if sound:
            stream = container.add_stream(codec, rate=rate, layout=layout)
        if video:
            for _ in range(12):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            convert = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
            for part in [*convert.resample(frame), *convert.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "tolerance"),
    [
        ("a.wav", "pcm_s16le", 44_100, 1, 1e-4),
        ("a.wav", "pcm_s16le", 8000, 2, 1e-4),
        ("a.wav", "pcm_u8", 16_000, 1, 1e-2),
        ("a.wav", "pcm_s24le", 48_000, 2, 1e-6),
        ("a.wav", "pcm_f32le", 96_000, 1, 0.0),
        ("a.wav", "pcm_f64le", 22_050, 1, 1e-7),
        ("a.flac", "flac", 32_000, 2, 1e-4),
        ("a.mp3", "libmp3lame", 44_100, 1, 0.03),
        ("a.mp4", "aac", 44_100, 2, 0.03),
        ("a.ogg", "libopus", 48_000, 1, 0.03),
    ],
)
def test_usual_formats_are_read(
    tmp_path: Path, name: str, codec: str, rate: int, channels: int, tolerance: float
) -> None:
    expected = tones(rate, channels)
    path = write(tmp_path / name, codec, expected, rate, video=name.endswith("mp4"))
    samples, got_rate = load_audio(path)
    assert got_rate == rate
    assert samples.dtype == np.float32
    assert samples.shape[1:] == (() if channels == 1 else (channels,))
    count = expected.shape[1]
    assert count <= len(samples) <= count + 3000  # codecs with frames may pad the end, never move the start
    found = samples.reshape(len(samples), channels)[:count].T
    error = np.abs(found - expected)
    # What is not lossless errs at the edges and at single samples; the signal's own mean is .25.
    assert (error.max() if tolerance < 0.02 else error.mean()) <= tolerance


def test_clipped_sound_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "hot.wav", "pcm_f32le", tones(16_000, 1) * 5, 16_000)
    assert load_audio(path)[0].max() == pytest.approx(2.0, rel=1e-3)


def test_a_damaged_stretch_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", "libmp3lame", tones(44_100, 1, 2.0), 44_100)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = b"\xff" * 300
    path.write_bytes(bytes(data))
    samples, _ = load_audio(path)
    assert 1.5 * 44_100 < len(samples) < 2.2 * 44_100


def refused(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_unusable_files_are_refused_with_their_mend(tmp_path: Path) -> None:
    assert "check the name" in refused(tmp_path / "missing.wav")
    assert "check the name" in refused(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("this is no sound\n" * 50)
    refused(text)
    (tmp_path / "nothing.wav").write_bytes(b"")
    assert "convert it" in refused(tmp_path / "nothing.wav")
    (tmp_path / "random.mp3").write_bytes(np.random.default_rng(3).bytes(5000))
    refused(tmp_path / "random.mp3")
    mute = write(tmp_path / "mute.mp4", "aac", tones(16_000, 1), 16_000, video=True, sound=False)
    assert "sound track" in refused(mute)
    empty = write(tmp_path / "empty.wav", "pcm_s16le", tones(16_000, 1, 0.1), 16_000)
    empty.write_bytes(empty.read_bytes()[:-3200])
    assert "not empty" in refused(empty)
    holes = tones(16_000, 1)
    holes[0, 100] = np.nan
    assert "nan_to_num" in refused(write(tmp_path / "nan.wav", "pcm_f32le", holes, 16_000))


def test_the_default_speech_is_fit_to_be_shown() -> None:
    samples, rate = load_audio(default_speech())
    assert default_speech().stat().st_size < 150_000
    assert samples.ndim == 1
    assert 8.0 < len(samples) / rate < 10.0
    assert 0.3 < np.abs(samples).max() < 0.95
    speaks = analyse(resample(as_float_mono(samples), rate))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], speaks.astype(int), [0]))))
    stretches = edges.reshape(-1, 2) / 25
    assert len(stretches) == 2
    (begin, pause), (resume, end) = stretches
    assert 0.3 <= begin <= 0.48
    assert 0.5 <= resume - pause <= 0.9
    assert 0.35 <= len(speaks) / 25 - end <= 0.65
