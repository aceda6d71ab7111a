"""The page of ``streamhead serve --webrtc`` as people use it: a real browser, a real server.

STREAMHEAD_E2E_SECONDS=60 makes the long run of the release check out of the short one; STREAMHEAD_E2E_JSON=FILE keeps
its figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e.chromium import Chromium
from e2e.serving import Served, free_port, serve
from PIL import Image
from playwright.async_api import Page, Response, Route, expect
from servers import until

from streamhead.assets import default_speech
from streamhead.face.portrait import Portrait
from streamhead.timebase import FPS

SECONDS = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10"))
LONG = SECONDS >= 60
PORTRAIT = default_speech().with_name("portrait.jpg")

# What is on screen, as grey levels of a part of the picture: every new frame for so many seconds, and
# so many at least.
WATCH = """([seconds, least, box, columns, rows]) => new Promise((resolve) => {
  const video = document.getElementById('head');
  const canvas = Object.assign(document.createElement('canvas'), { width: columns, height: rows });
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const frames = [], began = performance.now();
  let passed = 0;
  const look = () => {
    const [w, h] = [video.videoWidth, video.videoHeight];
    pen.drawImage(video, box[0] * w, box[1] * h, box[2] * w, box[3] * h, 0, 0, columns, rows);
    const { data } = pen.getImageData(0, 0, columns, rows);
    frames.push(Array.from({ length: columns * rows }, (_, i) =>
      Math.round((data[4*i] + data[4*i + 1] + data[4*i + 2]) / 3)));
    passed = (performance.now() - began) / 1000;
    if (passed < seconds || frames.length < least) video.requestVideoFrameCallback(look);
    else resolve({ frames, passed });
  };
  video.requestVideoFrameCallback(look);
})"""

INBOUND = """async () => {
  const pc = window.connections.at(-1);
  const report = [...(await pc.getStats()).values()].filter((entry) => entry.type === 'inbound-rtp');
  return Object.fromEntries(report.map((entry) => [entry.kind, entry]));
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that all tests of this file share."""
    with serve(tmp_path_factory.mktemp("server") / "serve.log", free_port()) as served:
        yield served


@pytest.fixture
def address(server: Served) -> Iterator[str]:
    """Where it is; afterwards it has to give account."""
    yield server.address
    print(server.account())  # which pytest shows of a test that failed
    server.assert_no_head_stopped()


async def _live(page: Page, connection: int = 1) -> None:
    """Wait for a picture on the page's first connection, or a later one."""
    # The page's CSP forbids playwright's wait_for_function.
    while await page.evaluate("window.connections.length") < connection:
        await page.wait_for_timeout(50)
    await page.wait_for_selector("body[data-state=live]")


async def _start(page: Page) -> None:
    await page.focus("#start")
    await page.keyboard.press("Enter")
    await _live(page)


async def _press(page: Page, button: str, key: str = "Enter") -> None:
    await page.focus(f"#{button}")
    await page.keyboard.press(key)


WHOLE = (0.0, 0.0, 1.0, 1.0)


async def _frames(
    page: Page, seconds: float, least: int, box: tuple[float, ...] = WHOLE, columns: int = 64
) -> tuple[np.ndarray, float]:
    """``(n, rows, columns)`` grey levels of what is shown, and the seconds that it took.

    Args:
        page: a live one.
        seconds: of watching, at least.
        least: frames, at least.
        box: left, top, width, height in the picture.
        columns: of the result.
    """
    rows = 36
    seen = await page.evaluate(WATCH, [seconds, least, list(box), columns, rows])
    return np.asarray(seen["frames"], np.float32).reshape(-1, rows, columns), seen["passed"]


async def _frame(page: Page) -> np.ndarray:
    """The next frame, small and grey."""
    return (await _frames(page, 0, 1))[0][0]


def _lips() -> tuple[float, ...]:
    """Where the default portrait's lips are in its picture."""
    portrait = Portrait.default()
    height, width = portrait.image.shape[:2]
    inverse = np.linalg.inv(np.vstack((portrait.to_canonical, (0, 0, 1))))
    (left, top), (right, bottom) = ((inverse @ (*corner, 1))[:2] / (width, height) for corner in ((46, 82), (82, 112)))
    return (float(left), float(top), float(right - left), float(bottom - top))


async def _restlessness(page: Page) -> float:
    """How much the lips change within 0.2 s, grey levels, pooled over blocks so that the codec's noise averages out."""
    seen, seconds = await _frames(page, 3, 20, _lips())
    pooled = seen.reshape(len(seen), 9, 4, 16, 4).mean((2, 4))
    apart = max(1, round(0.2 * len(seen) / seconds))
    return float(np.abs(pooled[apart:] - pooled[:-apart]).mean())


def _likeness(frame: np.ndarray, picture: Image.Image) -> float:
    """Correlation of a frame of ``_frames`` with a picture of the video's shape."""
    small = np.asarray(picture.convert("L").resize(frame.shape[::-1], Image.Resampling.BOX), np.float32)
    return float(np.corrcoef(frame.ravel(), small.ravel())[0, 1])


async def test_a_call(chromium: Chromium, address: str) -> None:
    page = await chromium.open(address)
    await _start(page)
    first = await page.evaluate("performance.getEntriesByName('first-frame')[0].duration / 1000")
    before = await page.evaluate(INBOUND)
    await page.wait_for_timeout(1000 * SECONDS)
    after = await page.evaluate(INBOUND)
    for name in ("fps", "delay", "hold", "drops"):
        await expect(page.locator(f"#{name}")).to_have_text(re.compile(r"\d"))
    shown = {name: await page.inner_text(f"#{name}") for name in ("fps", "delay", "hold", "offset", "drops", "voice")}
    video, seconds = after["video"], (after["video"]["timestamp"] - before["video"]["timestamp"]) / 1000
    emitted = video["jitterBufferEmittedCount"] - before["video"]["jitterBufferEmittedCount"]
    figures: dict[str, Any] = {
        "first_frame_s": round(first, 3),
        "seconds": round(seconds, 2),
        "fps": round((video["framesDecoded"] - before["video"]["framesDecoded"]) / seconds, 2),
        "freezes": video["freezeCount"],
        "dropped": video["framesDropped"],
        "hold_ms": round(1e3 * (video["jitterBufferDelay"] - before["video"]["jitterBufferDelay"]) / emitted, 1),
        "size": [video["frameWidth"], video["frameHeight"]],
        "kbit_per_s": round((video["bytesReceived"] - before["video"]["bytesReceived"]) / 125 / seconds),
        "page": shown,
    }
    print(json.dumps(figures))
    if path := os.environ.get("STREAMHEAD_E2E_JSON"):
        await asyncio.to_thread(Path(path).write_text, json.dumps({**figures, "inbound": after}, indent=1))
    await _press(page, "start")
    await page.wait_for_selector("body[data-state=idle]")
    assert await page.evaluate("window.connections.at(-1).connectionState") == "closed"

    assert figures["size"] == [1280, 720]
    assert figures["fps"] > 0  # it plays; how well, only a machine to itself can tell
    assert after["audio"]["totalSamplesReceived"] > before["audio"]["totalSamplesReceived"]
    assert chromium.errors == []
    if LONG:  # the release check has a machine to itself
        assert first <= 1.5
        assert figures["fps"] == pytest.approx(FPS, abs=0.2)
        assert figures["freezes"] == 0


async def test_the_portrait_speaks_and_rests(chromium: Chromium, address: str) -> None:
    page = await chromium.open(address)
    await _start(page)
    with Image.open(PORTRAIT) as picture:
        assert _likeness(await _frame(page), picture) > 0.95
    moved = [await _restlessness(page)]
    for pressed in ("true", "false"):
        await _press(page, "mute")
        assert await page.get_attribute("#mute", "aria-pressed") == pressed
        await page.wait_for_timeout(3000)  # longer than what was said before is on its way
        moved.append(await _restlessness(page))
    speaking, resting, again = moved
    print(json.dumps(moved))
    assert speaking > 2 * resting
    assert again > 2 * resting
    assert chromium.errors == []


async def test_everything_by_keyboard(chromium: Chromium, address: str) -> None:
    page = await chromium.open(address)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))

    def asked() -> list[tuple[str, str, str | None]]:
        return [(one.request.method, one.url.removeprefix(address), one.request.post_data) for one in answers]

    def wishes() -> list[dict[str, Any]]:
        return [json.loads(body or "") for method, _, body in asked() if method == "PATCH"]

    # In the order in which they are read, and never lost.
    order = []
    for _ in range(20):
        await page.keyboard.press("Tab")
        name = await page.evaluate("document.activeElement.id")
        if not name:
            break
        order.append(name)
        ring = await page.evaluate(
            "getComputedStyle(document.activeElement.id === 'picture' ? document.querySelector('label[for=picture]')"
            " : document.activeElement).outlineStyle"
        )
        assert ring == "solid", name
    assert order == ["start", "hear", "full", "picture", "seed", "another", "temperature"]

    await _start(page)
    assert await page.inner_text("#start") == "Stop"
    seed = await page.input_value("#seed")
    await _press(page, "another", "Space")
    assert await page.input_value("#seed") != seed
    await _press(page, "temperature", "ArrowRight")
    await until(lambda: {"temperature": 1.05} in wishes())
    await _press(page, "interrupt")
    await expect(page.locator("#status")).to_have_text("Interrupted")
    await _press(page, "hear")
    assert not await page.evaluate("document.getElementById('head').muted")
    await _press(page, "mute")
    await expect(page.locator("#voice")).to_have_text("muted")
    await _press(page, "reconnect")
    await _live(page, connection=2)
    assert await page.inner_text("#status") == "Live, muted"
    assert await page.evaluate("document.activeElement.id") == "reconnect"
    await until(lambda: wishes().count({"muted": True}) == 2)  # the second connection is told too
    await _press(page, "start")
    await page.wait_for_selector("body[data-state=idle]")
    await until(lambda: sum(method == "DELETE" for method, *_ in asked()) == 2)  # no session is left behind

    assert [answer.url for answer in answers if answer.status >= 400] == []
    assert {"seed": int(await page.input_value("#seed"))} in wishes()
    offers = [json.loads(body) for _, path, body in asked() if path == "offer"]
    assert [offer["temperature"] for offer in offers] == [1.0, 1.05]
    assert sum(path.endswith("/interrupt") for _, path, _ in asked()) == 1
    assert wishes().count({"muted": True}) == 2
    assert sum(method == "DELETE" for method, *_ in asked()) == 2
    assert chromium.errors == []


MINE = f"{'a-long-name-' * 8}.jpg"


async def test_a_portrait_of_ones_own(chromium: Chromium, address: str, tmp_path: Path) -> None:
    with Image.open(PORTRAIT) as picture:
        # A mirrored face is a face; the darker left side tells it from the default one.
        shade = np.linspace(0.35, 1.0, picture.width)[None, :, None]
        mirrored = Image.fromarray(np.uint8(np.asarray(picture)[:, ::-1] * shade))
    mirrored.save(tmp_path / MINE, quality=92)
    Image.new("RGB", (640, 480), "steelblue").save(tmp_path / "wall.png")
    page = await chromium.open(address)
    await page.set_input_files("#picture", tmp_path / "wall.png")
    await expect(page.locator("#refusal")).not_to_be_empty()
    refusal = await page.inner_text("#refusal")
    print(refusal)
    assert "face" in refusal
    assert str(tmp_path) not in refusal
    assert await page.inner_text("#portrait-name") == "The default face"
    chromium.errors.clear()  # the browser itself notes the 422

    await _start(page)
    assert _likeness(await _frame(page), mirrored) < 0.9
    await page.set_input_files("#picture", tmp_path / MINE)
    await _live(page, connection=2)
    assert await page.inner_text("#refusal") == ""
    assert await page.evaluate("document.getElementById('preview').naturalWidth") == mirrored.width
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert _likeness(await _frame(page), mirrored) > 0.95
    await _press(page, "default-face")
    await _live(page, connection=3)
    assert _likeness(await _frame(page), mirrored) < 0.9
    assert chromium.errors == []


NAMELESS = """() => [...document.querySelectorAll('button, input, video, canvas, img, output')]
  .filter((it) => it.checkVisibility() && !(it.ariaLabel || it.labels?.length || it.alt || it.textContent.trim()))
  .map((it) => it.outerHTML)"""
DRAWN = """() => {
  const { width, height } = document.getElementById('chart');
  return document.getElementById('chart').getContext('2d').getImageData(0, 0, width, height).data.some(Boolean);
}"""
SMALL = """() => [...document.querySelectorAll('button, label.button, input:not([type=file])')]
  .filter((it) => it.checkVisibility() && it.getBoundingClientRect().height < 24).map((it) => it.outerHTML)"""


@pytest.mark.parametrize(("width", "height", "scheme"), [(320, 640, "dark"), (1280, 900, "light")])
async def test_the_page_fits(
    chromium: Chromium, address: str, tmp_path: Path, width: int, height: int, scheme: str
) -> None:
    page = await chromium.open(
        address, viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    for state in ("idle", "live"):
        if state == "live":
            await _start(page)
            await expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("median"))
        await page.screenshot(path=tmp_path / f"{width}-{state}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate(NAMELESS) == []
        assert await page.evaluate(SMALL) == []
    print(tmp_path)
    assert "synthetic" in (await page.inner_text(".call")).lower()
    assert await page.is_visible("#badge")
    assert await page.evaluate(DRAWN)
    assert chromium.errors == []


async def test_without_a_microphone(address: str) -> None:
    async with Chromium(allowed=False) as chromium:
        page = await chromium.open(address)
        await _press(page, "start")
        await page.wait_for_selector("#problem:not([hidden])")
        assert "Allow it" in await page.inner_text("#problem")
        assert await page.inner_text("#start") == "Start"
        await _press(page, "silent")
        await _live(page)  # the face lives in silence
        await _frames(page, 3, 6)
        assert chromium.errors == []


async def test_words_for_what_goes_wrong(chromium: Chromium, address: str) -> None:
    """The server's refusals, played by the test: the real ones are the server's own tests' matter."""
    page = await chromium.open(f"{address}#token=secret")
    assert "secret" not in page.url
    seen: list[str | None] = []

    def refusal(status: int | None, error: str) -> Callable[[Route], Awaitable[None]]:
        async def refuse(route: Route) -> None:
            seen.append(await route.request.header_value("Authorization"))
            if status is None:
                await route.abort()
            else:
                await route.fulfill(status=status, json={"error": error} if error else {})

        return refuse

    for status, error, words in (
        (401, "no", "whole link"),
        (503, "", "as many callers"),
        (400, "the offer has no audio", "The offer has no audio"),
        (None, "", "does not answer"),
    ):
        await page.route("**/offer", refusal(status, error))
        await _press(page, "start")
        await page.wait_for_selector("#problem:not([hidden])")
        assert words in await page.inner_text("#problem-text")
        assert await page.get_attribute("body", "data-state") == "idle"
        await page.unroute("**/offer")
    assert seen == ["Bearer secret"] * 4
    await _start(page)
    assert not await page.is_visible("#problem")


async def test_a_network_that_comes_back(chromium: Chromium, address: str) -> None:
    page = await chromium.open(address)
    await _start(page)
    await page.context.set_offline(True)
    await page.wait_for_selector("body[data-state=lost]")
    assert "network is gone" in await page.inner_text("#status")
    # The first attempt to connect again is in vain: it is still gathering addresses when the page calls itself lost.
    while await page.evaluate("window.connections[1]?.connectionState") != "closed":
        await page.wait_for_timeout(50)
    await page.context.set_offline(False)
    await _live(page, connection=3)


async def test_a_server_that_comes_back(chromium: Chromium, tmp_path: Path) -> None:
    """The page finds the call gone, and the new server when there is one."""
    port = free_port()
    with serve(tmp_path / "serve.log", port) as served:
        page = await chromium.open(served.address)
        await _start(page)
    await page.wait_for_selector("body[data-state=lost]")
    with serve(tmp_path / "serve.log", port):  # blocks this loop while it starts; the browser lives elsewhere
        await page.wait_for_selector("body[data-state=live]")
        await _frames(page, 3, 6)
