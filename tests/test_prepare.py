"""From clips to training data: in place, in step, resumable, and with a reason for each clip left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import typer
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from streamhead.cli.prepare import prepare as prepare_command
from streamhead.errors import DataError, OutputError, StreamheadError
from streamhead.face.align import LEFT_EYE, RIGHT_EYE, eye_centres, transform_points
from streamhead.face.landmarks import DlibLandmarkFinder, LandmarkFinder
from streamhead.training.clip_files import read_pictures, read_sound
from streamhead.training.datasets import Clip
from streamhead.training.datasets.grid import find_clips
from streamhead.training.prepare import follow_face, prepare, prepare_clip

FRAMES = 12
DRIFT = 3  # pixels a frame


def _pictures(frames: int = FRAMES) -> list[np.ndarray]:
    """A face that drifts to the right."""
    picture = np.asarray(data.astronaut())
    return [np.ascontiguousarray(picture[0:288, 60 - DRIFT * t : 420 - DRIFT * t]) for t in range(frames)]


def _click(at: float, seconds: float, rate: int) -> np.ndarray:
    sound = np.zeros((1, round(seconds * rate)), np.float32)
    sound[0, round(at * rate)] = 0.9
    return sound


def _write_video(
    path: Path,
    pictures: list[np.ndarray],
    *,
    click: float | None = 0.24,
    fps: int = 25,
    sound_from: float = 0.0,
    seconds: float | None = None,
) -> Path:
    """A video whose sound is one click ``click`` seconds after its first frame; the sound track starts later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 44100
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        voice = out.add_stream("pcm_s16le", rate=rate, layout="mono") if click is not None else None
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if voice is not None and click is not None:
            sound = _click(click - sound_from, (seconds or len(pictures) / fps) - sound_from, rate)
            frame = av.AudioFrame.from_ndarray((sound * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, round(sound_from * rate)
            out.mux(voice.encode(frame))
            out.mux(voice.encode(None))
        out.mux(stream.encode(None))
    return path


def _clip(path: Path, frames: int = FRAMES, **more: object) -> Clip:
    return Clip("s1", path.stem, path, path, expected_frames=frames, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finder() -> Iterator[LandmarkFinder]:
    with LandmarkFinder() as finder:
        yield finder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_video(tmp_path_factory.mktemp("video") / "drift.mov", _pictures())


def test_layout_and_a_head_that_stays(video: Path, tmp_path: Path, finder: LandmarkFinder) -> None:
    meta = prepare_clip(_clip(video, split="train", words=((0.1, 0.2, "bin"),)), tmp_path, finder)
    folder = tmp_path / "s1" / "drift"
    assert json.loads((folder / "meta.json").read_text()) == {**meta, "words": [[0.1, 0.2, "bin"]]}
    assert (meta["talker"], meta["split"], meta["frames"], meta["path"]) == ("s1", "train", FRAMES, "s1/drift")
    assert meta["landmarks"] == "mediapipe478"
    frames, points = np.load(folder / "frames.npy"), np.load(folder / "landmarks.npy")
    transforms = np.load(folder / "transforms.npy")
    assert (frames.shape, frames.dtype) == ((FRAMES, 128, 128, 3), np.uint8)
    assert (points.shape, points.dtype) == ((FRAMES, 478, 2), np.float32)
    assert transforms.shape == (FRAMES, 2, 3)
    assert np.load(folder / "audio.npy").shape == (FRAMES * 640,)
    speech = np.load(folder / "speech.npy")
    assert (speech.shape, speech.dtype) == ((FRAMES,), bool)
    # The face drifts by 3 px a frame in the video and stays in the square, in the points and in the pixels.
    for found in (points, np.stack([finder.find(frame)[0] for frame in frames])):
        eyes = np.stack([eye_centres(face) for face in found])
        assert np.abs(eyes - [LEFT_EYE, RIGHT_EYE]).max() < 4.0
        assert np.abs(np.diff(eyes[1:-1], axis=0)).max() < 1.0
    (seen,) = finder.find(_pictures()[5])
    np.testing.assert_allclose(transform_points(transforms[5], seen), points[5], atol=1.5)


@pytest.mark.parametrize(("sound_from", "click"), [(0.0, 0.24), (0.08, 0.24), (0.0, 0.4)])
def test_sample_0_is_the_start_of_frame_0(tmp_path: Path, sound_from: float, click: float) -> None:
    path = _write_video(tmp_path / "a.mov", _pictures(), click=click, sound_from=sound_from)
    frames, start = read_pictures(path)
    sound = read_sound(_clip(path), start, len(frames))
    assert len(sound) == FRAMES * 640
    assert abs(int(np.abs(sound).argmax()) - round(click * 16000)) <= 1


def test_sound_shorter_or_longer_than_the_pictures(tmp_path: Path) -> None:
    for seconds in (0.3, 1.0):
        path = _write_video(tmp_path / "a.mov", _pictures(), seconds=seconds)
        sound = read_sound(_clip(path), 0.0, FRAMES)
        assert len(sound) == FRAMES * 640
        assert abs(int(np.abs(sound).argmax()) - 3840) <= 1


def _write_wav(path: Path, sound: np.ndarray, rate: int = 25000) -> Path:
    with av.open(str(path), "w") as out:
        voice = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((sound * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        out.mux(voice.encode(frame))
        out.mux(voice.encode(None))
    return path


def test_folder_of_frames_with_sound_cut_to_the_words(tmp_path: Path) -> None:
    """audio_25k holds the spoken words only: a click in its middle belongs to the middle of the sentence."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, picture in enumerate(_pictures()):
        Image.fromarray(picture).save(folder / f"frame_{t + 8}.jpg")  # 8, 9, 10, ...: order is by number, not by name
    frames, start = read_pictures(folder)
    assert start == 0.0
    assert np.abs(frames[3].astype(int) - _pictures()[3]).mean() < 4
    sound = _write_wav(tmp_path / "a.wav", _click(0.1, 0.2, 25000))
    clip = Clip("s1", "a", folder, sound, words=((0.2, 0.3, "bin"), (0.3, 0.44, "now")))
    assert abs(int(np.abs(read_sound(clip, 0.0, FRAMES)).argmax()) - round(0.32 * 16000)) <= 1
    with pytest.raises(DataError, match=r"no \.align"):
        read_sound(Clip("s1", "a", folder, sound), 0.0, FRAMES)
    whole = _write_wav(tmp_path / "b.wav", _click(0.1, FRAMES / 25, 25000))
    assert abs(int(np.abs(read_sound(Clip("s1", "b", folder, whole), 0.0, FRAMES)).argmax()) - 1600) <= 1
    (folder / "frame_11.jpg").unlink()
    with pytest.raises(DataError, match="frames missing"):
        read_pictures(folder)


def _broken(kind: str, path: Path) -> Path:
    match kind:
        case "cut":
            whole = _write_video(path.with_name("whole.mov"), _pictures()).read_bytes()
            path.write_bytes(whole[: len(whole) // 3])
        case "empty":
            path.write_bytes(b"")
        case "short":
            _write_video(path, _pictures(8))
        case "grey":
            _write_video(path, [np.full((128, 160, 3), 120, np.uint8)] * FRAMES)
        case "silent":
            _write_video(path, _pictures(), click=None)
        case "fast":
            _write_video(path, _pictures(), fps=30)
        case "damaged":  # the face is gone for too long
            pictures = _pictures()
            pictures[2:9] = [np.full_like(pictures[0], 120)] * 7
            _write_video(path, pictures)
        case "jump":
            pictures = _pictures()
            pictures[7:] = [255 - picture // 2 for picture in pictures[7:]]
            _write_video(path, pictures)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut", "cannot be decoded"),
        ("empty", "cannot be decoded"),
        ("short", "truncated: 8 of 12 frames"),
        ("grey", "^no face$"),
        ("silent", "no sound"),
        ("fast", "30 frames a second"),
        ("damaged", "no face in 7 frames from frame 2"),
        ("jump", "jumps at frame 7"),
    ],
)
def test_broken_clip_has_a_reason_and_leaves_nothing(
    tmp_path: Path, finder: LandmarkFinder, kind: str, reason: str
) -> None:
    with pytest.raises(StreamheadError, match=reason) as caught:
        prepare_clip(_clip(_broken(kind, tmp_path / "a.mov")), tmp_path / "out", finder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_room_is_no_fault_of_the_clip(video: Path, tmp_path: Path, finder: LandmarkFinder) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write to"):
        prepare_clip(_clip(video), tmp_path / "out", finder)


def _face(x: float, width: float = 40.0) -> np.ndarray:
    return np.array([[x, 100], [x + width, 100], [x + width / 2, 100 + width]], np.float32)


def test_largest_face_first_then_the_nearest() -> None:
    small, large = _face(0, 30), _face(200, 40)
    grown = [[large, small], [_face(0, 50), _face(203, 40)], [_face(0, 50), _face(206, 40)]]
    np.testing.assert_array_equal(follow_face(grown), np.stack([large, _face(203), _face(206)]))


def test_short_gaps_are_bridged_and_somebody_else_is_a_gap() -> None:
    track = follow_face([[], [_face(10)], [], [_face(300)], [_face(16)], []])
    np.testing.assert_allclose(track[:, 0, 0], [10, 10, 12, 14, 16, 16], atol=1e-5)
    with pytest.raises(DataError, match=r"^no face$"):
        follow_face([[], []])
    gap: list[list[np.ndarray]] = [[]] * 6
    with pytest.raises(DataError, match="in 6 frames from frame 0"):
        follow_face([*gap, [_face(0)]])
    with pytest.raises(DataError, match="in 6 frames from frame 1"):
        follow_face([[_face(0)], *gap])


def _times(folder: Path) -> dict[str, int]:
    return {path.as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_a_run_is_resumed_and_adds_only_what_is_missing(video: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "grid", tmp_path / "out"
    for name in ("a", "b"):
        (source / "s1").mkdir(parents=True, exist_ok=True)
        (source / "s1" / f"{name}.mov").write_bytes(video.read_bytes())
    (source / "s1" / "c.mov").write_bytes(b"no video")
    clips = [Clip(c.talker, c.name, c.pictures, c.sound, expected_frames=FRAMES) for c in find_clips(source)]
    steps: list[tuple[int, int]] = []
    report = prepare(clips[:1], out, jobs=1)
    assert (report.prepared, report.kept, report.skipped) == (1, 0, [])
    (out / "s1" / "b").mkdir()
    (out / "s1" / "b" / "meta.json").touch()  # after a power cut
    (out / ".partial" / "left").mkdir(parents=True)  # of a run that was killed
    before = _times(out)
    report = prepare(clips, out, jobs=2, progress=lambda done, total: steps.append((done, total)))
    assert (report.prepared, report.kept) == (1, 1)
    ((name, reason),) = report.skipped
    assert name == "s1/c" and reason.startswith("cannot be decoded")
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert before.items() <= _times(out).items()
    assert not (out / ".partial").exists()
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(row["path"], row["split"]) for row in rows] == [("s1/a", None), ("s1/b", None)]

    # A clip without speech flags gets them, and nothing else is touched; a new split is taken over.
    before = _times(out)
    (out / "s1" / "a" / "speech.npy").unlink()
    report = prepare([Clip("s1", "a", video, video, split="val")], out, jobs=1)
    assert (report.prepared, report.kept) == (1, 0)
    changed = {path for path, stamp in _times(out).items() if before[path] != stamp}
    assert changed == {(out / "s1" / "a" / "speech.npy").as_posix()}
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(row["path"], row["split"]) for row in rows] == [("s1/a", "val"), ("s1/b", None)]

    with pytest.raises(DataError, match="holds mediapipe478 landmarks"):
        pytest.importorskip("dlib")
        prepare(clips, out, aligner="dlib")


def test_dlib_landmarks_are_named(video: Path, tmp_path: Path, finder: LandmarkFinder) -> None:
    pytest.importorskip("dlib")
    with DlibLandmarkFinder() as dlib_finder:
        meta = prepare_clip(_clip(video), tmp_path, dlib_finder, "dlib68")
    assert meta["landmarks"] == "dlib68"
    assert np.load(tmp_path / "s1" / "drift" / "landmarks.npy").shape == (FRAMES, 68, 2)
    for frame in np.load(tmp_path / "s1" / "drift" / "frames.npy")[::5]:
        assert np.abs(eye_centres(finder.find(frame)[0]) - [LEFT_EYE, RIGHT_EYE]).max() < 5.0


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(prepare_command)
    return app


def test_command_says_what_is_wrong_when_nothing_can_be_used(tmp_path: Path) -> None:
    for corpus in ("grid", "lrw"):
        result = CliRunner().invoke(_app(), [corpus, str(tmp_path / "nowhere"), str(tmp_path / "out")])
        assert isinstance(result.exception, DataError)
        assert "is no folder" in str(result.exception)
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "a.mpg").write_bytes(b"no video")
    result = CliRunner().invoke(_app(), ["grid", str(tmp_path), str(tmp_path / "out"), "--jobs", "1"])
    assert isinstance(result.exception, DataError)
    assert "none of the 1 clips" in str(result.exception)
    assert "skipped s1/a: cannot be decoded" in result.output
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def _gone(group: int) -> bool:
    """Whether no process of the group is left; multiprocessing's resource tracker ends a moment after its parent."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_ctrl_c_keeps_whole_clips_only_and_the_same_command_goes_on(grid: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "s1", tmp_path / "out"
    clips = 16  # enough that some are left when those in hand at the first one's end are done
    source.mkdir()
    for video in sorted((grid / "s1").iterdir())[:clips]:
        (source / video.name).symlink_to(video)
    code = "import typer; from streamhead.cli.prepare import prepare; typer.run(prepare)"
    command = [sys.executable, "-c", code, "grid", str(source), str(out), "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not list(out.glob("s1/*/meta.json")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert _gone(run.pid)
    folders = list((out / "s1").iterdir())
    assert 0 < len(folders) < clips
    assert all(len(list(folder.iterdir())) == 6 for folder in folders)
    assert len((out / "manifest.jsonl").read_text().splitlines()) == len(folders)
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert again.returncode == 0
    assert f"{clips - len(folders)} clips prepared, {len(folders)} kept, 0 skipped" in again.stderr
