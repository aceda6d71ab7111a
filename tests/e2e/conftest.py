"""Devices for end-to-end tests."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from e2e.camera_shim import CameraShim
from e2e.chromium import Chromium, speech_file
from e2e.sound_server import SoundServer


@pytest.fixture
def camera(tmp_path: Path) -> CameraShim:
    """A camera that records what it is shown."""
    return CameraShim(tmp_path)


@pytest.fixture
def sound() -> Iterator[SoundServer]:
    """A virtual microphone."""
    with tempfile.TemporaryDirectory(prefix="sound-") as folder, SoundServer(Path(folder)) as server:
        yield server


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Chromium]:
    """A browser whose microphone hears the default speech, over and over."""
    async with Chromium(speech_file(tmp_path / "speech.wav")) as browser:
        yield browser
