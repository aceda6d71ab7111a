"""Videos and cameras as portraits: the frame chosen is one that shows the face well."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from streamhead.errors import DeviceError, PortraitError
from streamhead.face import footage
from streamhead.face.align import eye_centres
from streamhead.face.portrait import Portrait

REST = Image.fromarray(Portrait.default().image).resize((640, 360), Image.Resampling.LANCZOS)
BLACK = Image.new("RGB", REST.size)
BLURRED = REST.filter(ImageFilter.GaussianBlur(4))
TALKING = Image.new("RGB", REST.size, (90, 90, 90))
TALKING.paste(Image.fromarray(data.astronaut()[:300, 80:380]), (170, 30))  # her mouth is open


def video(path: Path, scenes: list[tuple[Image.Image, int]], aspect: int = 1) -> Path:
    """Pictures, each shown for so many frames, 25 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height = scenes[0][0].size
        stream.pix_fmt = "yuv420p"
        if aspect != 1:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect, 1)
        for picture, count in scenes:
            for _ in range(count):
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path


def test_the_first_good_frame_is_taken(tmp_path: Path) -> None:
    path = video(tmp_path / "me.mp4", [(BLACK, 12), (BLURRED, 13), (TALKING, 15), (REST, 20), (TALKING, 10)])
    assert 40 <= footage.good_frame(path) < 60
    portrait = Portrait.open(path)
    assert portrait.name == "me"
    expected = Portrait.from_image(np.asarray(REST))
    assert eye_centres(portrait.landmarks) == pytest.approx(eye_centres(expected.landmarks), abs=2.0)
    assert np.abs(portrait.image.astype(int) - expected.image).mean() < 6


def test_where_none_is_good_the_best_is_taken(tmp_path: Path) -> None:
    path = video(tmp_path / "me.mkv", [(BLACK, 10), (TALKING, 20)])
    assert 10 <= footage.good_frame(path) < 30


def test_only_the_beginning_is_looked_through(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="none of the 51 frames looked at will do: no face found in late"):
        footage.good_frame(video(tmp_path / "late.mp4", [(BLACK, 255), (REST, 10)]))


def test_wide_pixels_become_square(tmp_path: Path) -> None:
    path = video(tmp_path / "wide.mp4", [(REST.resize((320, 360)), 5)], aspect=2)
    assert footage.frame_at(path, 0).shape == (360, 640, 3)


def test_a_phones_video_is_turned_upright(tmp_path: Path) -> None:
    """Phones store it lying on its side, and beside it the matrix that turns it a quarter clockwise."""
    path = video(tmp_path / "phone.mp4", [(REST.rotate(90, expand=True), 5)])
    as_stored = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 640 << 16, 0, 1 << 30)
    content = path.read_bytes()
    at = content.index(as_stored, content.index(b"tkhd"))
    path.write_bytes(content[:at] + clockwise + content[at + len(clockwise) :])
    assert np.abs(footage.frame_at(path, 0).astype(int) - np.asarray(REST)).mean() < 6


def test_a_frame_is_found_again_by_its_number(tmp_path: Path) -> None:
    path = video(tmp_path / "count.mp4", [(Image.new("RGB", (64, 64), (20 * k, 0, 0)), 1) for k in range(12)])
    for number in (0, 5, 11):
        assert abs(int(footage.frame_at(path, number)[32, 32, 0]) - 20 * number) < 6
    with pytest.raises(PortraitError, match="no frame 12"):
        footage.frame_at(path, 12)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_no_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "me.mp4").write_bytes(content)
    with pytest.raises(PortraitError, match=r"cannot read .*me\.mp4 as a video") as caught:
        Portrait.open(tmp_path / "me.mp4")
    assert "\n" not in str(caught.value)


def test_a_real_talker_is_taken_at_rest(grid: Path) -> None:
    clip = next(iter(sorted((grid / "s1").glob("*.mp4"))))
    portrait = Portrait.open(clip)
    lips = portrait.landmarks[13] - portrait.landmarks[14]
    assert np.hypot(*lips) < 0.06 * np.hypot(*np.subtract(*eye_centres(portrait.landmarks)))


def test_webcams_are_told_by_their_name() -> None:
    assert [footage.camera_number(name) for name in ("webcam", "webcam:2", Path("webcam:0"))] == [0, 2, 0]
    assert [footage.camera_number(name) for name in ("webcam.png", "./webcam", "webcam:", "webcam:x")] == [None] * 4


def test_a_look_into_a_camera_keeps_the_best(tmp_path: Path) -> None:
    """OpenCV reads a file as it reads a camera."""
    path = video(tmp_path / "camera.mp4", [(BLACK, 14), (BLURRED, 2), (TALKING, 4), (REST, 3), (TALKING, 4)])
    image = footage.snapshot(str(path))
    assert np.abs(image.astype(int) - np.asarray(REST)).mean() < 6


def test_a_camera_that_shows_nobody(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="gives no picture, or a black one"):
        footage.snapshot(str(video(tmp_path / "dark.mp4", [(BLACK, 20)])))
    with pytest.raises(PortraitError, match="no face found"):
        footage.snapshot(str(video(tmp_path / "wall.mp4", [(Image.new("RGB", (320, 240), (90, 120, 90)), 16)])))


def test_no_camera_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match=r"no webcam 97 .* streamhead devices"):
        Portrait.open("webcam:97")
    assert capfd.readouterr().err == ""  # OpenCV's own complaints stay out of sight
