"""The virtual camera: the unmodified pyvirtualcam on a recording device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from e2e.camera_shim import CameraShim

from streamhead.errors import DeviceError, OutputError
from streamhead.output.frame import Frame
from streamhead.output.virtual_camera import VirtualCamera

WIDTH, HEIGHT = 320, 180


def _run(camera: CameraShim, script: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-c", script, *arguments], env={**os.environ, **camera.environment}, check=True, timeout=200
    )


def _frame(width: int = WIDTH, height: int = HEIGHT) -> Frame:
    return Frame(np.zeros((height, width, 3), np.uint8), 0, np.zeros(0, np.float32), 16_000, False)


def test_i420_arrives_byte_for_byte(tmp_path: Path) -> None:
    """The ground the other tests stand on: the wheel and the shim change nothing."""
    camera = CameraShim(tmp_path, keep=5)
    sent = np.random.default_rng(1).integers(0, 256, (5, HEIGHT * 3 // 2, WIDTH), np.uint8)
    np.save(tmp_path / "sent.npy", sent)
    _run(
        camera,
        "import sys, numpy, pyvirtualcam\n"
        f"camera = pyvirtualcam.Camera({WIDTH}, {HEIGHT}, 25, fmt=pyvirtualcam.PixelFormat.I420)\n"
        "for frame in numpy.load(sys.argv[1]): camera.send(frame)\n"
        "camera.close()",
        str(tmp_path / "sent.npy"),
    )
    assert np.array_equal(camera.frames(WIDTH, HEIGHT), sent)
    assert camera.events == ["open", f"format {WIDTH} {HEIGHT} YU12 {WIDTH * HEIGHT * 3 // 2}", "close"]


def test_frames_keep_their_colours_and_the_device_is_released(tmp_path: Path) -> None:
    camera = CameraShim(tmp_path, keep=4)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    sent = np.stack([np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, 60 * t + 0 * x], 2) for t in range(4)])
    np.save(tmp_path / "sent.npy", sent.astype(np.uint8))
    _run(
        camera,
        "import sys, numpy\n"
        "from streamhead.output.frame import Frame\n"
        "from streamhead.output.virtual_camera import VirtualCamera\n"
        f"with VirtualCamera(({WIDTH}, {HEIGHT})) as camera:\n"
        f"    assert camera.device == {camera.device!r}\n"
        "    for t, image in enumerate(numpy.load(sys.argv[1])):\n"
        "        camera.send(Frame(image, 640 * t, numpy.zeros(640, numpy.float32), 16000, True))\n"
        "assert camera.device == ''\n"
        "try:\n"
        f"    with VirtualCamera(({WIDTH}, {HEIGHT}), {camera.device!r}) as camera: raise ValueError\n"
        "except ValueError: pass",
        str(tmp_path / "sent.npy"),
    )
    for image, planes in zip(sent, camera.frames(WIDTH, HEIGHT), strict=True):
        seen = av.VideoFrame.from_ndarray(planes, format="yuv420p").to_ndarray(format="rgb24").astype(int)
        assert np.abs(seen - image).max() <= 10
        assert np.abs(seen - image).mean() <= 2
    assert len(camera.shots) == 4
    assert [event.split()[0] for event in camera.events] == ["open", "format", "close"] * 2


def test_no_camera_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(DeviceError) as caught, VirtualCamera((WIDTH, HEIGHT), "/dev/video-of-nobody"):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("no virtual camera (")
    if sys.platform == "linux":
        assert "/dev/video-of-nobody does not exist" in message
        assert "modprobe v4l2loopback exclusive_caps=1" in message


def test_frames_of_another_size_and_a_camera_not_open() -> None:
    camera = VirtualCamera((WIDTH, HEIGHT))
    with pytest.raises(OutputError, match="320x182 for a camera of 320x180"):
        camera.send(_frame(WIDTH, HEIGHT + 2))
    with pytest.raises(DeviceError, match="not open"):
        camera.send(_frame())
