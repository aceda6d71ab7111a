"""LRW's layout, made from nothing and from GRID clips: the corpus itself is the BBC's."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from streamhead.errors import DataError
from streamhead.training.datasets.lrw import FRAMES, find_clips, read_metadata
from streamhead.training.prepare import prepare

METADATA = "Disk reference:\t4838736\nChannel: BBC1 HD\nProgram start: Feb 10\nDuration: {} seconds\n"


def _clip(root: Path, word: str, split: str, number: int, duration: float | None = 0.53) -> Path:
    path = root / word / split / f"{word}_{number:05d}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if duration is not None:
        path.with_suffix(".txt").write_text(METADATA.format(duration))
    return path


def test_splits_words_and_names(tmp_path) -> None:
    for split in ("train", "val", "test"):
        _clip(tmp_path, "ABOUT", split, 1)
    _clip(tmp_path, "WORLD", "train", 12, None)
    clips = find_clips(tmp_path)
    assert [(clip.path, clip.split) for clip in clips] == [
        ("ABOUT/test_ABOUT_00001", "test"),
        ("ABOUT/train_ABOUT_00001", "train"),
        ("ABOUT/val_ABOUT_00001", "val"),
        ("WORLD/train_WORLD_00012", "train"),
    ]
    ((start, end, word),) = clips[0].words
    assert word == "ABOUT"
    assert (start + end) / 2 == pytest.approx(FRAMES / 25 / 2)
    assert end - start == pytest.approx(0.53)
    assert clips[3].words == ()
    assert all(clip.expected_frames == FRAMES and clip.fault is None for clip in clips)


def test_damaged_metadata_spoils_its_clip_only(tmp_path) -> None:
    path = _clip(tmp_path, "ABOUT", "train", 1)
    path.with_suffix(".txt").write_text("nothing")
    with pytest.raises(DataError, match="Duration"):
        read_metadata(path.with_suffix(".txt"), "ABOUT")
    _clip(tmp_path, "ABOUT", "train", 2)
    first, second = find_clips(tmp_path)
    assert first.fault is not None and "Duration" in first.fault
    assert second.fault is None


def test_wrong_folder(tmp_path) -> None:
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "bbaf2n.mp4").touch()
    with pytest.raises(DataError, match="WORD/"):
        find_clips(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        find_clips(tmp_path / "nowhere")


def _cut_as_lrw(source: Path, target: Path, frames: int = FRAMES) -> None:
    """29 frames of 256x256 and their sound, as LRW's files are."""
    with av.open(str(source)) as video:
        pictures = [frame.to_ndarray(format="rgb24")[:256, :256] for frame in video.decode(video=0)][:frames]
    with av.open(str(source)) as video:
        to_lrw = av.AudioResampler(format="fltp", layout="mono", rate=16000)
        parts = [out.to_ndarray() for frame in video.decode(audio=0) for out in to_lrw.resample(frame)]
    sound = np.concatenate(parts, axis=1)[:, : frames * 640]
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        voice = out.add_stream("aac", rate=16000, layout="mono")
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="mono")
        heard.sample_rate = 16000
        out.mux(voice.encode(heard))
        out.mux(stream.encode(None))
        out.mux(voice.encode(None))


def test_prepared_from_clips_of_lrws_make(grid, tmp_path) -> None:
    corpus, out = tmp_path / "lipread_mp4", tmp_path / "prepared"
    _cut_as_lrw(grid / "s1" / "bbaf2n.mp4", _clip(corpus, "ABOUT", "train", 1))
    _cut_as_lrw(grid / "s1" / "bbaf3s.mp4", _clip(corpus, "ABOUT", "test", 1))
    _cut_as_lrw(grid / "s1" / "bbaf4p.mp4", _clip(corpus, "WORLD", "val", 1), frames=12)
    report = prepare(find_clips(corpus), out, jobs=1)
    assert report.prepared == 2
    assert report.skipped == [("WORLD/val_WORLD_00001", "truncated: 12 of 29 frames")]
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [(row["path"], row["split"], row["frames"]) for row in rows] == [
        ("ABOUT/test_ABOUT_00001", "test", 29),
        ("ABOUT/train_ABOUT_00001", "train", 29),
    ]
    folder = out / rows[0]["path"]
    assert np.load(folder / "frames.npy").shape == (29, 128, 128, 3)
    assert np.load(folder / "audio.npy").shape == (29 * 640,)
    assert np.load(folder / "speech.npy").shape == (29,)
