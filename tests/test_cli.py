"""The command line: errors in one line, interrupts, and what `devices` lists."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import streamhead
from streamhead.cli.app import app
from streamhead.cli.devices import Camera, cameras, sound_devices
from streamhead.errors import DeviceError

COMMANDS = ("render", "serve", "prepare", "train", "evaluate", "devices", "doctor", "portrait")


def _streamhead(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{before}\nfrom streamhead.cli.app import main\nmain()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_version() -> None:
    command = [sys.executable, "-m", "streamhead", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"streamhead {streamhead.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert f"{command} [OPTIONS]" in done.output


def test_no_command_shows_them_all() -> None:
    done = CliRunner().invoke(app, [])
    for command in COMMANDS:
        assert command in done.output


def test_a_mendable_error_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = _streamhead("render", str(tmp_path / "nowhere.wav"), "-o", str(tmp_path / "out.mp4"))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "nowhere.wav" in line
    assert not list(tmp_path.iterdir())


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    done = _streamhead("--debug", "render", str(tmp_path / "nowhere.wav"), "-o", str(tmp_path / "out.mp4"))
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "AudioError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_a_wrong_option_is_no_traceback() -> None:
    done = _streamhead("render", "--colour", "green")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    recipe = ("train", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"))
    done = _streamhead(*recipe, before="import sys; sys.modules['tensorboard'] = None")
    assert done.returncode == 2
    assert done.stderr == "error: this needs tensorboard; pip install 'streamhead[train]'\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_interrupt_is_exit_130(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    os.mkfifo(recipe)
    command = [sys.executable, "-m", "streamhead", "train", str(recipe), "--out", str(tmp_path / "run")]
    # Opening the pipe returns once the command has begun to read.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, recipe.open("w"):
        time.sleep(1)  # it waits in the read by now: a signal that comes just before one does not end it
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_devices_prints_json() -> None:
    done = CliRunner().invoke(app, ["devices", "--json"])
    assert done.exit_code == 0
    listed = json.loads(done.stdout)
    assert set(listed) == {"microphones", "outputs", "cameras", "note"}
    try:
        inputs, _ = sound_devices()
    except DeviceError as error:
        assert listed["note"] == str(error)
    else:
        assert [one["name"] for one in listed["microphones"]] == [one.name for one in inputs]
        assert listed["note"] is None


def test_devices_prints_tables() -> None:
    done = CliRunner().invoke(app, ["devices"])
    assert done.exit_code == 0
    for title in ("Microphones", "Sound outputs", "Cameras"):
        assert title in done.stdout


def test_cameras_are_read_from_the_system(tmp_path: Path) -> None:
    listed = tmp_path / "class" / "video4linux"
    listed.mkdir(parents=True)
    for node, kind, name in (("video10", "virtual", "streamhead\n"), ("video2", "pci0000:00", "Webcam: HD\n")):
        device = tmp_path / "devices" / kind / "video4linux" / node
        device.mkdir(parents=True)
        (device / "name").write_text(name)
        (listed / node).symlink_to(device)
    assert cameras(listed) == [
        Camera("/dev/video2", "Webcam: HD", virtual=False),
        Camera("/dev/video10", "streamhead", virtual=True),
    ]
    assert cameras(tmp_path / "nothing") == []
