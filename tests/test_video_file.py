"""Video files: sound and picture together, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from streamhead.errors import OutputError
from streamhead.output.frame import Frame
from streamhead.output.video_file import VideoWriter, check_writable, side_by_side
from streamhead.timebase import FPS, HOP

DARK = (20, 30, 60)
BRIGHT = (200, 40, 90)


def _frames(count: int, rate: int, channels: int | None = None, size: tuple[int, int] = (96, 64)) -> list[Frame]:
    """Every tenth frame is bright and sounds, from its first sample to its last."""
    frames = []
    for t in range(count):
        start, stop = (-(-k * rate // FPS) for k in (t, t + 1))
        on = t % 10 == 0
        sound = 0.5 * np.sin(2 * np.pi * 800 * np.arange(start, stop) / rate) * on
        if channels is not None:
            sound = np.stack([sound * (c + 1) / channels for c in range(channels)], 1)
        image = np.full((size[1], size[0], 3), BRIGHT if on else DARK, np.uint8)
        frames.append(Frame(image, HOP * t, sound.astype(np.float32), rate, on))
    return frames


def _write(path: Path, frames: list[Frame]) -> None:
    with VideoWriter(path) as writer:
        for frame in frames:
            writer.write(frame)


def _read(path: Path) -> tuple[list[tuple[float, np.ndarray]], np.ndarray, int]:
    with av.open(str(path)) as source:
        pictures = [(float(f.time), f.to_ndarray(format="rgb24")) for f in source.decode(video=0)]
    with av.open(str(path)) as source:
        pieces = list(source.decode(audio=0))
        assert pieces[0].time == 0.0
        return pictures, np.concatenate([p.to_ndarray() for p in pieces], 1), source.streams.audio[0].rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 192000])
def test_sound_and_picture_come_back_together(tmp_path: Path, rate: int, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    _write(path, _frames(43, rate))
    pictures, sound, stored = _read(path)
    assert [time for time, _ in pictures] == pytest.approx([t / FPS for t in range(43)], abs=2e-3)
    assert 0 <= sound.shape[1] / stored - 43 / FPS <= 1 / FPS
    for t in range(0, 43, 10):
        assert np.abs(pictures[t][1].astype(int) - BRIGHT).max() <= 6
        # The burst's edges, where its envelope crosses half its height, lie on the picture's edges.
        loud = np.flatnonzero(np.abs(sound[0]) > 0.25) / stored
        inside = loud[(loud > t / FPS - 0.02) & (loud < (t + 1) / FPS + 0.02)]
        assert inside[0] == pytest.approx(t / FPS, abs=2.5e-3)
        assert inside[-1] == pytest.approx((t + 1) / FPS, abs=2.5e-3)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_channels_are_kept(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "out.mp4"
    _write(path, _frames(11, 48000, channels))
    _, sound, stored = _read(path)
    assert (len(sound), stored) == (channels, 48000)
    loudness = np.sort(np.sqrt((sound[:, 200:1700] ** 2).mean(1)))
    assert loudness / loudness[-1] == pytest.approx(np.arange(1, channels + 1) / channels, abs=0.1)


def test_too_many_channels(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not 9; mix it down"):
        _write(tmp_path / "out.mp4", _frames(3, 48000, 9))


def test_a_stream_from_the_middle_with_frames_missing(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    frames = _frames(60, 16000)
    _write(path, [frame for t, frame in enumerate(frames) if t >= 5 and t not in (13, 14, 15)])
    pictures, sound, stored = _read(path)
    assert [round(time * FPS) for time, _ in pictures] == [t for t in range(55) if t not in (8, 9, 10)]
    loud = np.flatnonzero(np.abs(sound[0]) > 0.25) / stored
    for t in (5, 15, 25, 35, 45):  # where the bright frames now stand
        assert np.any(np.abs(loud - (t / FPS + 0.02)) < 0.01)
        assert not np.any(np.abs(loud - (t / FPS + 0.06)) < 0.01)


def test_colours_are_declared(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    _write(path, _frames(3, 48000, size=(1280, 720)))
    with av.open(str(path)) as source:
        codec = source.streams.video[0].codec_context
        assert (codec.pix_fmt, codec.colorspace, codec.color_primaries, codec.color_trc) == ("yuv420p", 1, 1, 1)
        frame = next(source.decode(video=0))
        assert np.abs(frame.to_ndarray(format="rgb24")[300, 300].astype(int) - BRIGHT).max() <= 3


def test_loud_sound_is_clipped_not_wrapped(tmp_path: Path) -> None:
    frames = [Frame(f.image, f.pts, f.audio * 8, f.sample_rate, f.speech) for f in _frames(12, 48000)]
    _write(tmp_path / "out.mp4", frames)
    _, sound, _ = _read(tmp_path / "out.mp4")
    assert 0.9 < np.abs(sound).max() < 2.5  # AAC overshoots; unclipped it would be 4


def test_odd_sizes_and_no_frames(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="even, not 95x64"):
        _write(tmp_path / "out.mp4", _frames(3, 48000, size=(95, 64)))
    with pytest.raises(OutputError, match="there was no frame"):
        _write(tmp_path / "out.mp4", [])
    assert not list(tmp_path.iterdir())


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(RuntimeError, match="half way"), VideoWriter(path) as writer:
        writer.write(_frames(1, 48000)[0])
        raise RuntimeError("half way")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_places(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "missing" / "out.mp4", "No such file or directory"),
        (Path("/proc/out.mp4"), "cannot write /proc/out.mp4"),
        (tmp_path, "is a folder"),
        (tmp_path / "out", "call it .*out.mp4"),
        (tmp_path / "out.xyz", "call it .*out.mp4"),
    ):
        with pytest.raises(OutputError, match=reason) as caught:
            check_writable(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(OutputError, match=reason), VideoWriter(path):
            pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("spare", [0, 4, 64])
def test_full_disk(small_disk: Path, spare: int) -> None:
    """Whether the room ends in the first frames or only in the trailer, there is one line and no file."""
    rng = np.random.default_rng(0)
    frames = _frames(40, 48000, size=(320, 240))
    noise = [rng.integers(0, 256, f.image.shape, np.uint8) for f in frames]
    (small_disk / "ballast").write_bytes(bytes(1024 * (256 - spare)))
    with pytest.raises(OutputError, match=r"no room left to write .*out\.mp4") as caught:
        _write(
            small_disk / "out.mp4",
            [Frame(n, f.pts, f.audio, f.sample_rate, f.speech) for n, f in zip(noise, frames, strict=True)],
        )
    assert "\n" not in str(caught.value)
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_side_by_side(tmp_path: Path) -> None:
    takes = [tmp_path / f"take-{k}.mp4" for k in range(3)]
    for k, take in enumerate(takes):
        _write(take, [Frame(f.image // (k + 1), f.pts, f.audio, f.sample_rate, True) for f in _frames(21, 44100)])
    side_by_side(takes, tmp_path / "grid.mp4")
    pictures, sound, stored = _read(tmp_path / "grid.mp4")
    assert len(pictures) == 21
    assert stored == 44100
    assert 0 <= sound.shape[1] / stored - 21 / FPS <= 1 / FPS
    sheet = pictures[10][1].astype(int)
    assert sheet.shape == (128, 192, 3)
    for (y, x), part in zip(((32, 48), (32, 144), (96, 48)), (1, 2, 3), strict=True):
        assert np.abs(sheet[y, x] - np.array(BRIGHT) // part).max() <= 8
    assert sheet[96, 144].max() <= 4
    with pytest.raises(OutputError):
        side_by_side([tmp_path / "absent.mp4"], tmp_path / "grid2.mp4")
