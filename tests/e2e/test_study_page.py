"""The study in a real browser: three raters, twelve videos, a server that dies in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import prepared  # noqa: F401
from e2e.chromium import Chromium
from e2e.serving import free_port
from playwright.async_api import Page, expect
from typer.testing import CliRunner

from streamhead.cli.app import app
from streamhead.evaluation.plan import choose_clips
from streamhead.evaluation.videos import write_clip
from streamhead.study.plan import Study
from streamhead.study.store import Rating, Store


@pytest.fixture(scope="module")
def folder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A study of 2 data sets, 2 clips of each, real and by 2 systems."""
    root = tmp_path_factory.mktemp("study")
    systems = []
    for name, shown in (("still", 0), ("late", 6)):
        for pair in choose_clips(prepared, "test", talkers=["a"]):
            film = root / name / "a" / f"{pair.clip.name}.mp4"
            film.parent.mkdir(parents=True, exist_ok=True)
            frames = np.roll(np.asarray(pair.clip.frames), shown, axis=0)
            write_clip(film, frames if shown else np.repeat(frames[:1], len(frames), axis=0), pair.clip.audio)
        systems += ["--system", f"{name}-frames={root / name}"]
    data = ["--data", f"grid={prepared}", "--data", f"lrw={prepared}"]
    made = CliRunner().invoke(app, ["study", "make", str(root / "it"), *data, *systems, "--videos", "12"])
    assert made.exit_code == 0, made.output
    return root / "it"


# Whence the video is played next time.
REPLAYED = """() => {
  const video = document.getElementById('video');
  window.replayed = new Promise((tell) => {
    video.addEventListener('seeking', () => tell(video.currentTime), { once: true });
  });
}"""


class _Server:
    """``streamhead study serve``, which can be killed and started anew at the same port."""

    def __init__(self, folder: Path, port: int) -> None:
        command = [sys.executable, "-m", "streamhead", "study", "serve", str(folder), "--port", str(port)]
        self._command = [*command, "--token", "secret-token"]
        self.address = f"http://127.0.0.1:{port}/#token=secret-token"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "Ready" in line, line + self._process.stderr.read()

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)


@contextmanager
def _served(folder: Path) -> Iterator[_Server]:
    server = _Server(folder, free_port())
    try:
        yield server
    finally:
        server.stop()


def _grades(rater: str, item: str) -> tuple[int, int]:
    """What a rater of these tests thinks of a video."""
    number = int(item, 16) + sum(rater.encode())
    return 1 + number % 10, 1 + number // 10 % 10


async def _enter(page: Page, rater: str) -> None:
    await page.fill("#code", rater)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#rating:not([hidden])")


async def _wait_for_another(page: Page, before: str) -> None:
    await page.wait_for_selector(f"body:not([data-item='{before}']), body[data-state=end]")


async def _watch(page: Page) -> str:
    await page.wait_for_selector("#grades:enabled")
    return str(await page.get_attribute("body", "data-item"))


async def _rate(page: Page, rater: str, *, touch: bool = False) -> str:
    item = await _watch(page)
    for name, grade in zip(("realism", "sync"), _grades(rater, item), strict=True):
        if touch:
            await page.tap(f"#{name} label:nth-child({grade})")
        else:
            await page.keyboard.press(str(grade % 10))
    if touch:
        await page.tap("#send")
    else:
        await page.keyboard.press("Enter")
    await _wait_for_another(page, item)
    return item


async def test_three_raters_and_a_crash(folder: Path, tmp_path: Path) -> None:
    study = Study.open(folder)
    total = len(study.items)
    assert total == 12
    seen: dict[str, list[str]] = {"anna": [], "berta": [], "carla": []}
    with _served(folder) as server:
        async with Chromium() as chromium:
            page = await chromium.open(server.address)
            assert "secret" not in page.url
            await _enter(page, "anna")
            await page.screenshot(path=tmp_path / "desktop.png")
            for _ in range(total):
                seen["anna"].append(await _rate(page, "anna"))
            assert await page.is_visible("#end")

            phone = await chromium.open(
                server.address, viewport={"width": 320, "height": 640}, has_touch=True, color_scheme="dark"
            )
            await _enter(phone, "berta")
            await phone.screenshot(path=tmp_path / "phone.png", full_page=True)
            print(tmp_path)
            assert await phone.evaluate("document.documentElement.scrollWidth") <= 320
            sizes = await phone.eval_on_selector_all(
                ".grades label", "all => all.map((it) => Math.min(it.offsetWidth, it.offsetHeight))"
            )
            assert min(sizes) >= 24
            for _ in range(total):
                seen["berta"].append(await _rate(phone, "berta", touch=True))

            page = await chromium.open(server.address)
            await _enter(page, "carla")
            for _ in range(4):
                seen["carla"].append(await _rate(page, "carla"))
            item = await _watch(page)
            server.kill()
            for grade in _grades("carla", item):
                await page.keyboard.press(str(grade % 10))
            await page.keyboard.press("Enter")
            await expect(page.locator("#problem")).to_contain_text("does not answer")
            assert [error for error in chromium.errors if "net::ERR_" not in error] == []
            chromium.errors.clear()
            server.start()
            await page.keyboard.press("Enter")  # her grades are still there
            await _wait_for_another(page, item)
            seen["carla"].append(item)
            assert await page.inner_text("#count") == "5 of 12 videos rated"
            await page.context.close()  # her browser is gone, too
            page = await chromium.open(server.address)
            await _enter(page, "carla")
            while await page.is_visible("#rating"):
                seen["carla"].append(await _rate(page, "carla"))
            assert chromium.errors == []

    ids = sorted(item.id for item in study.items)
    for rater, items in seen.items():
        assert sorted(items) == ids and items == [item.id for item in study.order(rater)]
    expected = [Rating(rater, item, *_grades(rater, item)) for rater in sorted(seen) for item in ids]
    with Store(folder / "ratings.sqlite") as store:
        assert store.ratings() == expected

    result = CliRunner().invoke(app, ["study", "report", str(folder), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "table2.json").read_text())
    assert len(table["rows"]) == 6 and [row["data"] for row in table["agreement"]] == ["grid", "lrw", "all"]
    for row in table["rows"]:
        own = [item.id for item in study.items if (item.data, item.system) == (row["data"], row["system"])]
        assert row["ratings"] == 3 * len(own) == 6
        for place, scale in enumerate(("realism", "sync")):
            by_hand = np.mean([_grades(rater, item)[place] for rater in seen for item in own])
            assert row[scale] == pytest.approx(by_hand)


async def test_grades_wait_for_the_end_and_can_be_taken_back(folder: Path) -> None:
    with _served(folder) as server:
        async with Chromium() as chromium:
            page = await chromium.open(server.address)
            code = await page.input_value("#code")
            assert len(code) >= 4
            await page.keyboard.press("Tab")
            await _enter(page, "dora")
            await _watch(page)
            await page.keyboard.press("Enter")
            assert await page.is_disabled("#send")
            for key in ("3", "Backspace", "0", "7"):
                await page.keyboard.press(key)
            assert await page.is_checked("input[name=realism][value='10']")
            assert await page.is_checked("input[name=sync][value='7']")
            await page.evaluate(REPLAYED)
            await page.keyboard.press("r")
            assert await page.evaluate("window.replayed") == 0
            assert await page.is_enabled("#send")
            assert chromium.errors == []
    with Store(folder / "ratings.sqlite") as store:
        assert store.rated("dora") == set()
