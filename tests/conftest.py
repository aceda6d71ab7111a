"""What all tests share."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports torch or numpy: one thread, so that sums come out the same and tests do not get in each
# other's way. Programs that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# What a script starts in its background ignores interrupts, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Nothing is remembered from one test, or of one change, to the next.
os.environ["STREAMHEAD_NO_PORTRAIT_CACHE"] = "1"

# The same examples on every run: a red run then means that the code changed, not the dice (STREAMHEAD_FUZZ=1 throws).
settings.register_profile("fixed", derandomize=True)
settings.load_profile("default" if os.environ.get("STREAMHEAD_FUZZ") else "fixed")

ROOT = Path(__file__).resolve().parent.parent
E2E = ROOT / "tests" / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def grid() -> Path:
    """Real talking faces, a part of the GRID corpus that lies beside the repository on some machines."""
    path = ROOT.parent / "shared" / "data" / "grid"
    if not path.is_dir():
        pytest.skip(f"no GRID clips at {path}")
    return path


@pytest.fixture(scope="session")
def split(grid: Path) -> dict[str, dict[str, list[str]]]:
    """Which clips of ``grid`` train, tune and test: split -> talker -> clip names."""
    parsed: dict[str, dict[str, list[str]]] = json.loads((grid.parent / "split.json").read_text(encoding="utf-8"))
    return parsed
