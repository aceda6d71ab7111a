"""The package: its public names, quick to import, whole when built."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import streamhead
from streamhead.errors import StreamheadError
from streamhead.model.checkpoint import read_header, shipped_weights

ROOT = Path(__file__).parent.parent
HEAVY = {"aiohttp", "aiortc", "av", "cv2", "mediapipe", "numpy", "pyvirtualcam", "scipy", "sounddevice", "torch"}


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(out.stdout.split())


@pytest.mark.parametrize("module", ["streamhead", "streamhead.cli.app"])
def test_importing_is_light(module: str) -> None:
    loaded = _modules_after(f"import {module}")
    assert module in loaded
    assert not loaded & HEAVY


def test_a_lazy_name_brings_what_it_needs_and_stays() -> None:
    assert "torch" in _modules_after("from streamhead import load")
    assert streamhead.Frame is streamhead.Frame
    assert "Frame" in vars(streamhead)


def test_every_public_name_is_there() -> None:
    assert len(set(streamhead.__all__)) == len(streamhead.__all__)
    assert {"load", "TalkingHead", "Session", "Frame", "Portrait", "StreamheadError"} <= set(streamhead.__all__)
    for name in streamhead.__all__:
        assert getattr(streamhead, name) is not None, name
    assert set(streamhead.__all__) <= set(dir(streamhead))
    assert not hasattr(streamhead, "no_such_name")


def test_all_errors_are_one_family() -> None:
    errors = [getattr(streamhead, name) for name in streamhead.__all__ if name.endswith("Error")]
    assert len(errors) > 1
    assert all(issubclass(error, StreamheadError) for error in errors)


def test_one_version_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", streamhead.__version__)
    assert metadata.version("streamhead") == streamhead.__version__
    assert f"## [{streamhead.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_typed_and_complete() -> None:
    package = resources.files("streamhead")
    assets = ("assets/portrait.jpg", "assets/portrait.json", "assets/speech.ogg")
    for name in ("py.typed", "face/mean_face.npy", *assets):
        assert package.joinpath(name).is_file(), name


@pytest.mark.parametrize("name", ["call", "paper-thin"])
def test_shipped_weights_are_small_and_have_a_card(name: str) -> None:
    path = shipped_weights(name)
    assert path.stat().st_size <= 16_000_000
    header = read_header(path)
    assert header.network.preset == name and header.steps > 0 and "GRID" in header.data
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert all(word in card for word in ("3625687", "CC BY 4.0", "**Limits.**", "**Use.**", "**Training.**"))


def test_the_lock_pins_every_dependency_within_its_range() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    locked = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name != "streamhead":
            assert requirement.specifier.contains(locked[name]), requirement
