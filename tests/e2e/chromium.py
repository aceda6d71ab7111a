"""A real Chromium without a screen, whose microphone is a sound file."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono

__all__ = ["Chromium", "speech_file", "write_wav"]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
)

PATIENCE = 60_000
"""Milliseconds that a page may take for anything: on a busy machine a browser is slow, and no test is about that."""

# Keeps every connection a page opens, so that a test can ask for its getStats, and tells breaches of the CSP.
_WATCH = """
window.connections = [];
window.RTCPeerConnection = class extends window.RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
document.addEventListener('securitypolicyviolation', (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """``(n,)`` floats in [-1, 1] as 16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def speech_file(path: Path) -> Path:
    """The default speech as a WAV file."""
    samples, rate = load_audio(default_speech())
    return write_wav(path, as_float_mono(samples), rate)


class Chromium:
    """A running browser; skips the test where there is none.

    Args:
        microphone: the WAV file it hears, over and over; None for Chromium's own beeps.
        allowed: whether the user lets pages have the microphone.

    Attributes:
        errors: what pages threw, wrote to the console as errors, or broke of their content security policy; each with
            the address that it is about.
    """

    def __init__(self, microphone: Path | None = None, *, allowed: bool = True) -> None:
        self._program = shutil.which("chromium") or shutil.which("google-chrome")
        if self._program is None:
            pytest.skip("needs Chromium (Debian: apt-get install chromium)")
        self._flags = [*FLAGS, "--use-fake-ui-for-media-stream" if allowed else "--deny-permission-prompts"]
        if microphone is not None:
            self._flags.append(f"--use-file-for-fake-audio-capture={microphone.resolve()}")
        self.errors: list[str] = []

    async def __aenter__(self) -> Self:
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(executable_path=self._program, args=self._flags)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._browser.close()
        await self._playwright.stop()

    async def open(self, address: str, **options: Any) -> Page:
        """A page in a context of its own; the options are those of playwright's ``new_context``."""
        context = await self._browser.new_context(**options)
        await context.add_init_script(_WATCH)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        await page.goto(address)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} [{message.location['url']}]")
