"""A portrait seen before needs no landmark model, and a bad memory does no harm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from test_footage import BLACK, REST, video

from streamhead.face import find, footage, portrait_cache
from streamhead.face.portrait import Portrait


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of the test's own."""
    place = tmp_path / "cache" / "portraits"
    monkeypatch.setattr(portrait_cache, "folder", lambda: place)
    monkeypatch.delenv(portrait_cache.OFF_ENV)
    yield place


def photo(path: Path) -> Path:
    Image.fromarray(data.astronaut()).save(path, quality=95)
    return path


def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "LandmarkFinder", None)
    monkeypatch.setattr(footage, "LandmarkFinder", None)


def same(one: Portrait, other: Portrait) -> bool:
    arrays = ("image", "landmarks", "to_canonical")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays) and one.name == other.name


def test_the_second_time_needs_no_model(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "me.jpg")
    first = Portrait.open(path)
    no_model(monkeypatch)
    assert same(Portrait.open(path), first)
    path.rename(tmp_path / "other name.jpg")
    assert np.array_equal(Portrait.open(tmp_path / "other name.jpg").landmarks, first.landmarks)
    with pytest.raises(TypeError):  # another choice, or another picture, is another entry
        Portrait.open(tmp_path / "other name.jpg", pick=1)
    (entry,) = memory.iterdir()
    assert entry.stat().st_mode & 0o077 == 0 or os.name == "nt"
    assert entry.stat().st_size < 30_000


def test_a_videos_frame_and_a_cut_photo_are_remembered(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = video(tmp_path / "me.mp4", [(BLACK, 10), (REST, 15)])
    large = Image.new("RGB", (4400, 2200), (120, 140, 150))
    large.paste(REST.resize((480, 270)), (3000, 900))
    large.save(tmp_path / "large.png", compress_level=1)
    paths = (clip, tmp_path / "large.png")
    before = [Portrait.open(path) for path in paths]
    assert before[1].image.shape[0] < 600  # head and shoulders of the small face
    no_model(monkeypatch)
    assert all(same(Portrait.open(path), portrait) for path, portrait in zip(paths, before, strict=True))


def test_it_can_be_turned_off(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "me.jpg")
    Portrait.open(path, cache=False)
    monkeypatch.setenv(portrait_cache.OFF_ENV, "1")
    Portrait.open(path)
    Portrait.from_bytes(path.read_bytes())
    assert not memory.exists()


def test_damaged_entries_are_ignored_and_made_anew(tmp_path: Path, memory: Path) -> None:
    path = photo(tmp_path / "me.jpg")
    first = Portrait.open(path)
    (entry,) = memory.iterdir()
    whole = entry.read_bytes()
    facts = json.loads(whole)
    damaged = [b"", whole[:500], b"[]", b"\xff\xfe"]
    damaged += [
        json.dumps(facts | change).encode()
        for change in (
            {"points": [[1, 2]]},
            {"points": [[float("nan"), 0]] * 478},
            {"shape": [9, 9]},
            {"shape": None},
            {"box": [1, 2]},
            {"frame": "x"},
        )
    ]
    for content in damaged:
        entry.write_bytes(content)
        assert same(Portrait.open(path), first)
        assert entry.read_bytes() == whole


def test_it_stays_small_and_forgets_the_longest_unused(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrait_cache, "_MOST", 3)
    entry = portrait_cache.Entry(np.zeros((478, 2), np.float32), (9, 9), None, None)
    for number, name in enumerate("abc"):
        portrait_cache.write(name, entry)
        os.utime(memory / f"{name}.json", (number, number))
    assert portrait_cache.read("a") is not None  # used just now
    portrait_cache.write("d", entry)
    assert sorted(path.stem for path in memory.iterdir()) == ["a", "c", "d"]


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(portrait_cache, "folder", lambda: tmp_path / "file" / "portraits")
    assert Portrait.open(photo(tmp_path / "me.jpg")).name == "me"
