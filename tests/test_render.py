"""``streamhead render``: every usable sound is used, every mistake is one line, exit code 2, nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from heads import weights
from PIL import Image
from scipy.io import wavfile
from sounds import speech
from typer.testing import CliRunner, Result

from streamhead.cli.app import app
from streamhead.face.badge import Badge


def _render(*arguments: Any) -> Result:
    common = ["render", "--weights", str(weights("call")), "--device", "cpu", "--size", "192x128"]
    return CliRunner().invoke(app, [*common, *map(str, arguments)])


def _wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    wavfile.write(path, rate, samples)
    return path


def _lengths(path: Path) -> tuple[int, float]:
    """Number of frames, and seconds of sound as a player has them."""
    with av.open(str(path)) as video:
        frames = sum(1 for _ in video.decode(video=0))
    with av.open(str(path)) as video:
        samples = sum(piece.samples for piece in video.decode(audio=0) if piece.pts is not None and piece.pts >= 0)
        rate = video.streams.audio[0].rate
    return frames, samples / rate


SOUNDS = {
    "8 kHz": (lambda: (speech(0.6, 8000) * 32767).astype(np.int16), 8000),
    "stereo": (lambda: np.stack([speech(0.6, 44100)] * 2, axis=1), 44100),
    "float": (lambda: speech(0.6, 48000), 48000),
    "clipped": (lambda: np.clip(speech(0.6, 16000) * 9, -1, 1), 16000),
    "uint8": (lambda: (speech(0.6, 22050) * 127 + 128).astype(np.uint8), 22050),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_as_people_have_them(name: str, tmp_path: Path) -> None:
    make, rate = SOUNDS[name]
    out = tmp_path / "out.mp4"
    done = _render(_wav(tmp_path / "in.wav", make(), rate), "-o", out)
    assert done.exit_code == 0, done.output
    frames, seconds = _lengths(out)
    assert frames == 15
    assert abs(seconds - frames / 25) <= 1 / 25


def test_takes_and_their_sheet(tmp_path: Path) -> None:
    out = tmp_path / "takes.mp4"
    sound = _wav(tmp_path / "in.wav", speech(0.4, 16000))
    done = _render(sound, "-o", out, "--samples", 2, "--view", "face")
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in tmp_path.glob("*.mp4")) == ["takes-01.mp4", "takes-02.mp4", "takes.mp4"]
    with av.open(str(out)) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (256, 128)


def test_a_marked_video(tmp_path: Path) -> None:
    sound = _wav(tmp_path / "in.wav", speech(0.2, 16000))
    for name, options in (("plain.mp4", []), ("marked.mp4", ["--badge"])):
        assert _render(sound, "-o", tmp_path / name, *options).exit_code == 0
    first = []
    for name in ("plain.mp4", "marked.mp4"):
        with av.open(str(tmp_path / name)) as video:
            assert video.metadata["comment"].startswith("Synthetic media")
            first.append(next(video.decode(video=0)).to_ndarray(format="rgb24").astype(int))
    badge = Badge((192, 128))
    change = np.abs(first[1] - first[0])
    assert change[badge.rows, badge.columns].mean() > 40 > 8 > change[64:].mean()
    done = _render(sound, "-o", tmp_path / "signed.mp4", "--c2pa-cert", tmp_path / "in.wav")
    assert done.exit_code == 2 and "belong together" in done.stderr


def test_still_is_another_video(tmp_path: Path) -> None:
    sound = _wav(tmp_path / "in.wav", speech(2.0, 16000))
    for name, options in (("a", ["--still"]), ("b", ["--still"]), ("c", [])):
        assert _render(sound, "-o", tmp_path / f"{name}.mp4", "--seed", 3, *options).exit_code == 0
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b != c


def _noise(path: Path, size: tuple[int, int] = (300, 300)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _two_faces(path: Path) -> Path:
    from skimage.data import astronaut

    Image.fromarray(np.concatenate([astronaut()[:300, 80:380]] * 2, axis=1)).save(path)
    return path


def _truncated(path: Path) -> Path:
    whole = _noise(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    return path


def _flipped(path: Path) -> Path:
    data = bytearray(weights("call").read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def _text(path: Path) -> Path:
    path.write_text("not sound", encoding="utf-8")
    return path


MISTAKES = {
    "no face": (lambda d: ["--face", _noise(d / "a.png")], "no face"),
    "two faces": (lambda d: ["--face", _two_faces(d / "a.png")], "--pick"),
    "corrupt picture": (lambda d: ["--face", _truncated(d / "a.jpg")], "a.jpg"),
    "no camera": (lambda d: ["--face", "webcam:97"], "no webcam 97"),
    "missing picture": (lambda d: ["--face", d / "absent.png"], "absent.png"),
    "empty sound": (lambda d: [_wav(d / "a.wav", np.zeros(0, np.int16))], "a.wav"),
    "sound with NaN": (lambda d: [_wav(d / "a.wav", np.full(8000, np.nan, np.float32))], "finite"),
    "no sound": (lambda d: [_text(d / "a.wav")], "a.wav"),
    "missing sound": (lambda d: [d / "absent.wav"], "absent.wav"),
    "other preset": (lambda d: ["--preset", "paper"], "preset"),
    "flipped byte": (lambda d: ["--weights", _flipped(d / "w.safetensors")], "damaged"),
    "no weights": (lambda d: ["--weights", d / "absent.safetensors"], "--weights"),
    "no such device": (lambda d: ["--device", "cuda:7"], "--device cpu"),
    "a folder as output": (lambda d: ["-o", d], "folder"),
    "unwritable": (lambda d: ["-o", d / "absent" / "out.mp4"], "out.mp4"),
    "odd size": (lambda d: ["--size", "191x128"], "even"),
    "no size": (lambda d: ["--size", "large"], "1280x720"),
    "unknown view": (lambda d: ["--view", "side"], "call or face"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_and_exit_2(name: str, tmp_path: Path) -> None:
    make, expected = MISTAKES[name]
    given = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    output = [] if "-o" in given else ["-o", tmp_path / "out.mp4"]
    done = _render(*given, *output)
    assert done.exit_code == 2, done.output
    assert expected in done.stderr
    assert "Traceback" not in done.output
    if not name.endswith(("size", "view")):  # click's own messages also show the usage
        assert done.stderr.strip().count("\n") == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
