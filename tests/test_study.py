"""The study without a browser: its videos, its ratings, its server, its table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from drawn_clips import prepared, weights  # noqa: F401
from typer.testing import CliRunner

from streamhead.cli.app import app as command
from streamhead.errors import DataError, OutputError
from streamhead.evaluation.plan import choose_clips
from streamhead.evaluation.videos import write_clip
from streamhead.server.access import Access
from streamhead.study import report
from streamhead.study.app import make_app
from streamhead.study.plan import Item, Study
from streamhead.study.store import Rating, Store
from streamhead.training.clip_files import read_pictures


def _study(folder: Path, count: int = 4) -> Study:
    items = tuple(Item(f"{i:016x}", "grid", "a", str(i // 2), ("one", "two")[i % 2]) for i in range(count))
    study = Study(folder, 3, items)
    study.save()
    for item in items:
        study.video(item).write_bytes(b"film of " + item.id.encode())
    return study


def test_making_the_videos(prepared: Path, weights: Path, tmp_path: Path) -> None:  # noqa: F811
    films = tmp_path / "films"
    for pair in choose_clips(prepared, "test", talkers=["a"]):
        film = films / "a" / f"{pair.clip.name}.mp4"
        film.parent.mkdir(parents=True, exist_ok=True)
        write_clip(film, np.asarray(pair.clip.frames), pair.clip.audio)
    folder = tmp_path / "study"
    systems = ["--system", f"films={films}", "--system", f"mine={weights}"]
    arguments = ["study", "make", str(folder), "--data", f"grid={prepared}", "--data", f"lrw={prepared}", *systems]
    made = CliRunner().invoke(command, [*arguments, "--videos", "13"])
    assert made.exit_code == 0, made.output
    study = Study.open(folder)
    # 13 videos have room for 2 clips of 2 data sets by 3 systems: those of which there are films.
    assert len(study.items) == 12 and not study.missing
    assert {(item.data, item.talker) for item in study.items} == {("grid", "a"), ("lrw", "a")}
    assert [item.system for item in study.items[:3]] == ["real", "films", "mine"]
    sizes = {read_pictures(study.video(item))[0][0].shape for item in study.items}
    assert sizes == {(256, 256, 3)}
    for item in study.items:  # nothing in a file's name or content tells the system
        content = study.video(item).read_bytes()
        assert item.system.encode() not in content[:2000] and len(item.id) == 16
    times = {path: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()}
    study.video(study.items[5]).unlink()
    assert CliRunner().invoke(command, [*arguments, "--videos", "13"]).exit_code == 0
    after = {path: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()}
    assert {path for path in times if times[path] != after[path]} == {study.video(study.items[5])}
    for wrong, words in (
        ([*arguments, "--videos", "4"], "raise --videos"),
        ([*arguments, "--videos", "13", "--no-real"], "another folder"),
        (["study", "serve", str(tmp_path)], "streamhead study make"),
        (["study", "report", str(folder)], "nobody has rated"),
    ):
        refused = CliRunner().invoke(command, wrong)
        assert refused.exit_code == 2 and words in refused.output, refused.output


def test_every_rater_sees_all_in_an_order_of_their_own(tmp_path: Path) -> None:
    study = _study(tmp_path, 12)
    one, other = study.order("anna"), study.order("berta")
    assert sorted(one, key=lambda item: item.id) == sorted(other, key=lambda item: item.id) == list(study.items)
    assert one != other and one == Study.open(tmp_path).order("anna")


def test_ratings_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    path = tmp_path / "ratings.sqlite"
    with Store(path) as store:
        store.put(Rating("anna", "x", 3, 4))
        store.put(Rating("anna", "x", 3, 4))
        store.put(Rating("berta", "x", 9, 9))
        store.put(Rating("anna", "y", 1, 10))
        store.put(Rating("anna", "y", 2, 10))
        with Store(path) as reader:  # on disk already, though nobody has closed it
            assert reader.ratings() == [
                Rating("anna", "x", 3, 4),
                Rating("anna", "y", 2, 10),
                Rating("berta", "x", 9, 9),
            ]
        with pytest.raises(OutputError):
            store.put(Rating("anna", "z", 11, 1))
        assert store.rated("anna") == {"x", "y"}
    path.write_text("no database " * 100)
    with pytest.raises(OutputError, match="cannot keep ratings"):
        Store(path)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(make_app(_study(tmp_path), Access("secret-token")))) as made:
        yield made


TOKEN = {"Authorization": "Bearer secret-token"}


async def test_the_server_tells_nothing_of_the_systems(client: TestClient, tmp_path: Path) -> None:
    study = Study.open(tmp_path)
    async with client.get("/") as page:
        text = await page.text()
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "<style" not in text and " style=" not in text and "onclick" not in text
    for path in ("/next?rater=anna", "/video/" + study.items[0].id):
        assert (await client.get(path)).status == 401
    seen = []
    for _ in study.items:
        async with client.get("/next?rater=anna", headers=TOKEN) as answer:
            told = await answer.json()
        assert set(told) == {"done", "total", "item"}
        seen.append(told["item"])
        async with client.get(f"/video/{told['item']}", headers=TOKEN) as film:
            assert await film.read() == b"film of " + told["item"].encode()
        body = {"rater": "anna", "item": told["item"], "realism": 7, "sync": 10}
        async with client.post("/rating", json=body, headers=TOKEN) as answer:
            after = await answer.json()
    assert after == {"done": 4, "total": 4, "item": None}
    assert seen == [item.id for item in study.order("anna")]


@pytest.mark.parametrize(
    "wrong",
    [{"realism": 0}, {"realism": 11}, {"sync": 5.5}, {"sync": "5"}, {"rater": "a b"}, {"item": "none"}, {"more": 1}],
)
async def test_what_is_no_rating_is_refused(client: TestClient, tmp_path: Path, wrong: dict[str, object]) -> None:
    good = {"rater": "anna", "item": Study.open(tmp_path).items[0].id, "realism": 5, "sync": 5}
    async with client.post("/rating", json={**good, **wrong}, headers=TOKEN) as answer:
        assert answer.status in (400, 404) and (await answer.json())["error"]
    with Store(tmp_path / "ratings.sqlite") as store:
        assert store.ratings() == []
    assert (await client.get("/video/..%2Fstudy.json", headers=TOKEN)).status == 404


def test_the_report_by_hand(tmp_path: Path) -> None:
    study = _study(tmp_path)
    one, two, three, four = (item.id for item in study.items)
    ratings = [
        *(
            Rating("anna", one, 8, 6),
            Rating("anna", two, 2, 3),
            Rating("anna", three, 9, 7),
            Rating("anna", four, 3, 1),
        ),
        *(Rating("berta", one, 7, 6), Rating("berta", two, 4, 3), Rating("berta", three, 9, 8)),
        Rating("carla", "gone", 1, 1),
    ]
    rows, (agreed,) = report.summarise(study, ratings)
    assert [(row["system"], row["videos"], row["raters"], row["ratings"]) for row in rows] == [
        ("one", 2, 2, 4),
        ("two", 2, 2, 3),
    ]
    assert rows[0]["realism"] == pytest.approx((7.5 + 9.0) / 2)
    assert rows[1]["realism"] == pytest.approx((3.0 + 3.0) / 2)  # each video counts once, however often rated
    assert (rows[0]["realism_low"], rows[0]["realism_high"]) == (7.5, 9.0)
    # Krippendorff: 1 - observed / expected disagreement over the three videos with two grades.
    units = [(8, 7), (2, 4), (9, 9)]
    grades = [grade for unit in units for grade in unit]
    observed = np.mean([(a - b) ** 2 for a, b in units])
    expected = np.mean([(a - b) ** 2 for i, a in enumerate(grades) for j, b in enumerate(grades) if i != j])
    assert agreed["realism"] == pytest.approx(1 - observed / expected)
    assert report.agreement(ratings[:4], "realism") is None  # one rater alone
    assert report.agreement([Rating("a1", one, 5, 5), Rating("b1", one, 5, 5)], "sync") is None
    report.write(tmp_path / "out", rows, [agreed])
    loaded = json.loads((tmp_path / "out" / "table2.json").read_text())
    assert loaded == {"rows": rows, "agreement": [agreed]}
    assert "8.25 [7.50, 9.00]" in (tmp_path / "out" / "table2.md").read_text()
    assert r"8.25 {\scriptsize [7.50, 9.00]}" in (tmp_path / "out" / "table2.tex").read_text()
    with pytest.raises(DataError, match="nobody has rated"):
        report.summarise(study, ratings[-1:])
