"""`streamhead portrait check`: says whether a picture will do and why not, and draws what it found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from skimage import data
from typer.testing import CliRunner, Result

from streamhead.cli.app import app
from streamhead.face.align import mean_face
from streamhead.face.judge import judge
from streamhead.face.portrait import Portrait

ASTRONAUT = Image.fromarray(data.astronaut())
DEFAULT = Image.fromarray(Portrait.default().image)


def check(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["portrait", "check", *map(str, arguments)])


def facts(path: Path, *arguments: Any) -> tuple[int, dict[str, Any]]:
    done = check(path, "--json", *arguments)
    found: dict[str, Any] = json.loads(done.stdout)
    return done.exit_code, found


def saved(path: Path, picture: Image.Image) -> Path:
    picture.save(path)
    return path


def test_a_good_portrait(tmp_path: Path) -> None:
    path = saved(tmp_path / "me.png", DEFAULT)
    code, found = facts(path, "--out", tmp_path / "seen.png")
    assert code == 0
    assert found["works"] and found["refusal"] is None and found["remarks"] == [] and found["faces"] == 1
    assert found["size"] == [1280, 720]
    assert found["measures"]["eye_distance"] == pytest.approx(115, abs=2)
    assert abs(found["measures"]["tilt"]) < 2 and found["measures"]["mouth"] < 0.02
    drawing = np.asarray(Image.open(tmp_path / "seen.png")).astype(int)
    assert drawing.shape == (720, 2000, 3)
    green = (np.abs(drawing[:, :1280] - (60, 200, 90)).sum(-1) < 40).sum()
    assert green > 478  # points and the outline of the square
    square = Image.fromarray(Portrait.default().square()).resize((720, 720))
    assert np.abs(drawing[:, 1280:] - np.asarray(square)).mean() < 8
    done = check(path)
    assert done.exit_code == 0 and done.stdout.strip().splitlines()[-1] == "will work"


def covered(colour: tuple[int, int, int]) -> Image.Image:
    """The default portrait with something oval before its mouth."""
    picture = DEFAULT.copy()
    x, y = Portrait.default().landmarks[[13, 14]].mean(0)
    ImageDraw.Draw(picture).ellipse((x - 80, y - 50, x + 80, y + 50), colour)
    return picture.filter(ImageFilter.GaussianBlur(0.7))


POOR = {
    "cover": covered((46, 44, 47)),
    "mouth": ASTRONAUT,
    "blur": DEFAULT.filter(ImageFilter.GaussianBlur(2.5)),
    "light": ImageEnhance.Brightness(DEFAULT).enhance(0.2),
    "size": DEFAULT.resize((360, 202), Image.Resampling.LANCZOS),
}


@pytest.mark.parametrize("about", POOR)
def test_poor_ones_work_with_a_remark(about: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "me.png", POOR[about])
    code, found = facts(path)
    assert code == 0 and found["works"]
    assert about in [remark["about"] for remark in found["remarks"]]
    done = check(path)
    assert "will work, with what is said above" in done.stdout


def test_a_hand_before_the_mouth_is_told_and_a_grey_picture_is_not_blamed() -> None:
    def about(picture: Image.Image) -> list[str]:
        image = np.asarray(picture)
        return [remark.about for remark in judge(image, Portrait.default().landmarks).remarks]

    assert "cover" in about(covered((205, 152, 126)))
    assert "cover" not in about(DEFAULT.convert("L").convert("RGB"))
    assert "cover" not in about(ImageEnhance.Brightness(DEFAULT).enhance(0.3))


def test_glare_is_told(tmp_path: Path) -> None:
    bright = Image.fromarray((255 - (255 - np.asarray(DEFAULT).astype(float)) * 0.2).astype(np.uint8))
    _, found = facts(saved(tmp_path / "me.png", bright))
    assert any("overexposed" in remark["text"] for remark in found["remarks"])


def test_shut_eyes_are_told() -> None:
    points = mean_face() * np.float32(3)
    image = np.full((400, 400, 3), 128, np.uint8)
    assert "eyes" not in [remark.about for remark in judge(image, points).remarks]
    shut = points.copy()
    shut[145] = shut[159] + (0, 2)  # one lid falls
    assert "eyes" in [remark.about for remark in judge(image, shut).remarks]


def test_several_faces_are_numbered_in_the_drawing(tmp_path: Path) -> None:
    pair = Image.fromarray(np.concatenate([data.astronaut()[:300, 80:380]] * 2, axis=1))
    path = saved(tmp_path / "pair.png", pair)
    code, found = facts(path, "--out", tmp_path / "seen.jpg")
    assert code == 2 and found["faces"] == 2 and "--pick 1..2" in found["refusal"] and found["measures"] is None
    drawing = np.asarray(Image.open(tmp_path / "seen.jpg")).astype(int)
    red = np.abs(drawing - (230, 60, 60)).sum(-1) < 60
    half = drawing.shape[1] // 2
    assert red[:, :half].sum() > 300 and red[:, half:].sum() > 300
    assert facts(path, "--pick", 2)[0] == 0


def test_refusals_say_why(tmp_path: Path) -> None:
    tiny = saved(tmp_path / "tiny.png", ASTRONAUT.resize((200, 200)))
    code, found = facts(tiny)
    assert code == 2 and "too small" in found["refusal"] and found["measures"]["eye_distance"] < 24
    done = check(tiny)
    assert done.exit_code == 2
    assert done.stdout.strip().splitlines()[-1].startswith("will not work: the face in tiny.png is too small")
    (tmp_path / "text.jpg").write_text("no picture")
    code, found = facts(tmp_path / "text.jpg", "--out", tmp_path / "seen.png")
    assert code == 2 and found["size"] is None and not (tmp_path / "seen.png").exists()


def test_a_drawing_that_cannot_be_written(tmp_path: Path) -> None:
    path = saved(tmp_path / "me.png", DEFAULT)
    for out, words in (("seen.txt", "call it"), ("absent/seen.png", "cannot write")):
        done = check(path, "--out", tmp_path / out)
        assert done.exit_code == 2
        (line,) = done.stderr.strip().splitlines()
        assert words in line
