"""GRID is found in every layout people have it in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamhead.errors import DataError
from streamhead.training.datasets.grid import find_clips, read_alignment, read_split

ALIGNMENT = "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 sp\n35500 53000 now\n53000 74500 sil\n"
WORDS = ((0.95, 1.18, "bin"), (1.18, 1.36, "blue"), (1.42, 2.12, "now"))


def _touch(root: Path, *names: str, content: str = "") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _summary(source: Path) -> dict[str, tuple[str, str]]:
    return {
        clip.path: (clip.pictures.relative_to(source).as_posix(), clip.sound.relative_to(source).as_posix())
        for clip in find_clips(source)
    }


def test_alignment(tmp_path) -> None:
    _touch(tmp_path, "a.align", content=ALIGNMENT)
    assert read_alignment(tmp_path / "a.align") == WORDS


def test_videos_with_flat_alignments_and_what_computers_leave_behind(tmp_path) -> None:
    _touch(tmp_path, "s1/bbaf2n.mpg", "s1/._bbaf2n.mpg", "s2/pbad1n.mp4", "__MACOSX/s1/bbaf3n.mpg", "s1/.DS_Store")
    _touch(tmp_path, "align/bbaf2n.align", content=ALIGNMENT)
    clips = find_clips(tmp_path)
    assert [(clip.path, clip.words) for clip in clips] == [("s1/bbaf2n", WORDS), ("s2/pbad1n", ())]
    assert all(clip.sound == clip.pictures and clip.fault is None and clip.split is None for clip in clips)


def test_names_shared_by_talkers_need_alignments_by_talker(tmp_path) -> None:
    _touch(tmp_path, "s1/bbaf2n.mpg", "s2/bbaf2n.mpg")
    _touch(tmp_path, "align/bbaf2n.align", content=ALIGNMENT)
    assert [clip.words for clip in find_clips(tmp_path)] == [(), ()]
    _touch(tmp_path, "alignments/s2/bbaf2n.align", content=ALIGNMENT)
    assert [clip.words for clip in find_clips(tmp_path)] == [(), WORDS]


@pytest.mark.parametrize("prefix", ["s12/", "s12/s12/", "s12/video/mpg_6000/", "video/s12/", "S12.mpg_vcd/"])
def test_talker_from_any_published_folder_structure(tmp_path, prefix) -> None:
    _touch(tmp_path, f"{prefix}bbaf2n.mpg")
    assert list(_summary(tmp_path)) == ["s12/bbaf2n"]


def test_one_talkers_folder_on_its_own(tmp_path) -> None:
    _touch(tmp_path, "s7/bbaf2n.mpg", "anna/bbaf3n.mp4")
    assert [clip.talker for clip in find_clips(tmp_path / "s7")] == ["s7"]
    assert [clip.talker for clip in find_clips(tmp_path / "anna")] == ["anna"]


@pytest.mark.parametrize(
    "sound", ["audio_25k/s3/sbia1a.wav", "audio_25k/audio_25k/s3/sbia1a.wav", "audio_25k/sbia1a.wav"]
)
def test_zenodo_frames_and_sound(tmp_path, sound) -> None:
    _touch(tmp_path, *(f"s3/sbia1a/{number:03d}.jpg" for number in range(75)), sound)
    _touch(tmp_path, "alignments/s3/sbia1a.align", content=ALIGNMENT)
    assert _summary(tmp_path) == {"s3/sbia1a": ("s3/sbia1a", sound)}
    assert find_clips(tmp_path)[0].words == WORDS


def test_frames_without_sound_are_a_fault(tmp_path) -> None:
    _touch(tmp_path, *(f"s3/sbia1a/{number}.jpg" for number in range(75)), "audio_25k/s4/sbia1a.wav")
    _touch(tmp_path, *(f"s4/sbia1a/{number}.jpg" for number in range(75)))
    faults = {clip.talker: clip.fault for clip in find_clips(tmp_path)}
    assert faults["s4"] is None
    assert faults["s3"] is not None and "no sound" in faults["s3"]


def test_a_video_is_preferred_to_its_frames(tmp_path) -> None:
    """Its sound is in step; that of audio_25k is cut."""
    _touch(tmp_path, *(f"frames/s3/sbia1a/{number}.jpg" for number in range(75)), "audio_25k/s3/sbia1a.wav")
    _touch(tmp_path, "s3/sbia1a.mpg")
    assert _summary(tmp_path) == {"s3/sbia1a": ("s3/sbia1a.mpg", "s3/sbia1a.mpg")}


def test_split_and_what_it_names_in_vain(tmp_path) -> None:
    _touch(tmp_path, "s1/a.mpg", "s1/b.mpg", "s1/c.mpg")
    _touch(tmp_path, "split.json", content=json.dumps({"train": {"s1": ["a", "gone"]}, "unseen": {"s1": ["c"]}}))
    clips = find_clips(tmp_path, read_split(tmp_path / "split.json"))
    assert [(clip.name, clip.split) for clip in clips] == [
        ("a", "train"),
        ("b", None),
        ("c", "unseen"),
        ("gone", "train"),
    ]
    assert [clip.name for clip in clips if clip.fault] == ["gone"]


def test_damaged_alignment_spoils_its_clip_only(tmp_path) -> None:
    _touch(tmp_path, "s1/a.mpg", "s1/b.mpg")
    _touch(tmp_path, "align/a.align", content="0 x sil")
    a, b = find_clips(tmp_path)
    assert a.fault is not None and "a.align" in a.fault
    assert b.fault is None


@pytest.mark.parametrize("content", ["[]", "{", '{"train": ["a"]}'])
def test_no_split_file(tmp_path, content) -> None:
    _touch(tmp_path, "split.json", content=content)
    with pytest.raises(DataError, match=r"split\.json is no split file"):
        read_split(tmp_path / "split.json")


def test_wrong_folder(tmp_path) -> None:
    with pytest.raises(DataError, match="no clips in"):
        find_clips(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        find_clips(tmp_path / "nowhere")


def test_the_shared_data_is_found_whole(grid) -> None:
    split = read_split(grid.parent / "split.json")
    clips = find_clips(grid, split)
    assert len(clips) == len(split) == 1034
    assert not [clip for clip in clips if clip.fault or clip.split is None]
    assert sum(bool(clip.words) for clip in clips) == 1029
    assert {clip.talker for clip in clips} == {talker for talker, _ in split}
