"""Whatever people give as a portrait either works or is refused in one clear line, exit code 2, nothing written."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageDraw, ImageFilter
from skimage import data
from typer.testing import CliRunner

from streamhead.cli.app import app
from streamhead.face.align import eye_centres
from streamhead.face.portrait import MAX_SIDE, Portrait

ASTRONAUT = Image.fromarray(data.astronaut())
DEFAULT = Image.fromarray(Portrait.default().image)
Maker = Callable[[Path], object]


def png_header(path: Path, width: int, height: int) -> None:
    """A picture of a few bytes that claims to be huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b""))


def heic(path: Path, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = ASTRONAUT if orientation == 1 else ASTRONAUT.rotate(90, expand=True)
    pillow_heif.from_pillow(picture).save(path, quality=90, exif=exif.tobytes())


def deep_tiff(path: Path) -> None:
    Image.fromarray(np.asarray(ASTRONAUT.convert("L"), np.uint16) * 257).save(path)


def animated(path: Path) -> None:
    later = [Image.new("RGB", ASTRONAUT.size, (10 * k, 0, 0)) for k in range(4)]
    ASTRONAUT.save(path, save_all=True, append_images=later, duration=40)


def see_through(path: Path) -> None:
    """A head cut out of its background."""
    picture = ASTRONAUT.convert("RGBA")
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).ellipse((120, 0, 330, 230), fill=255)
    picture.putalpha(mask)
    picture.save(path)


def large(path: Path, side: int) -> None:
    ASTRONAUT.resize((side, side), Image.Resampling.BILINEAR).save(path, quality=85)


def far_away(path: Path) -> None:
    """A small head in an 8000 px photo, which has more of it than the reduced picture."""
    photo = Image.new("RGB", (8000, 4000), (120, 140, 150))
    photo.paste(DEFAULT.resize((960, 540)), (5000, 1700))
    photo.save(path, quality=90)


def cartoon(path: Path) -> None:
    picture = Image.new("RGB", (600, 600), (250, 240, 200))
    pencil = ImageDraw.Draw(picture)
    pencil.ellipse((150, 100, 450, 500), fill=(255, 220, 180), outline=0, width=6)
    for x in (230, 370):
        pencil.ellipse((x - 28, 230, x + 28, 280), fill="white", outline=0, width=5)
        pencil.ellipse((x - 10, 245, x + 10, 268), fill=0)
    pencil.line((300, 280, 285, 350, 310, 350), fill=0, width=5)
    pencil.arc((230, 350, 370, 430), 20, 160, fill=(180, 30, 40), width=8)
    picture.save(path)


def two_faces(path: Path) -> None:
    Image.fromarray(np.concatenate([data.astronaut()[:300, 80:380]] * 2, axis=1)).save(path)


def profile(path: Path) -> None:
    """A head turned away, roughly: one half of the face is a sliver."""
    face = DEFAULT.crop((280, 0, 1000, 720))
    half = face.width // 2
    sliver = face.crop((0, 0, half, 720)).resize((half // 5, 720))
    turned = Image.new("RGB", (half // 5 + half, 720))
    turned.paste(sliver, (0, 0))
    turned.paste(face.crop((half, 0, 2 * half, 720)), (half // 5, 0))
    turned.save(path)


def broken(path: Path, picture: Image.Image, keep: float, kind: str) -> None:
    whole = io.BytesIO()
    picture.save(whole, kind)
    path.write_bytes(whole.getvalue()[: int(keep * len(whole.getvalue()))])


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("word/document.xml", "<w/>")


SVG = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>'
WORK: dict[str, Maker] = {
    "phone.heic": heic,
    "phone on its side.heic": lambda path: heic(path, 6),
    "modern.avif": lambda path: ASTRONAUT.save(path, quality=80),
    "animated.webp": animated,
    "animated.gif": animated,
    "animated.png": animated,
    "print.tiff": lambda path: ASTRONAUT.convert("CMYK").save(path),
    "deep.tiff": deep_tiff,
    "lab.tiff": lambda path: ASTRONAUT.convert("LAB").save(path),
    "palette.png": lambda path: ASTRONAUT.quantize(64).save(path),
    "grey.bmp": lambda path: ASTRONAUT.convert("L").save(path),
    "cut out.png": see_through,
    "progressive.jpg": lambda path: ASTRONAUT.save(path, progressive=True),
    "a png named.jpg": lambda path: ASTRONAUT.save(path, "PNG"),
    "no ending": lambda path: ASTRONAUT.save(path, "JPEG"),
    "ünïcödé 顔.jpg": lambda path: ASTRONAUT.save(path),
    "4000.jpg": lambda path: large(path, 4000),
    "8000.jpg": lambda path: large(path, 8000),
    "far away.jpg": far_away,
}
REFUSED: dict[str, tuple[Maker, str]] = {
    "40.png": (lambda path: ASTRONAUT.resize((40, 40)).save(path), "too small (40x40 px)"),
    "line.png": (lambda path: Image.new("RGB", (5000, 1)).save(path), "too small (5000x1 px)"),
    "black.png": (lambda path: Image.new("RGB", (400, 400)).save(path), "no face found"),
    "one bit.png": (lambda path: Image.new("1", (400, 400)).save(path), "no face found"),
    "landscape.jpg": (lambda path: Image.fromarray(data.coffee()).save(path), "no face found"),
    "fog.jpg": (lambda path: ASTRONAUT.filter(ImageFilter.GaussianBlur(30)).save(path), "no face found"),
    "two.png": (two_faces, "--pick 1..2"),
    "profile.png": (profile, "; use"),
    "truncated.jpg": (lambda path: broken(path, ASTRONAUT, 0.3, "JPEG"), "damaged"),
    "truncated.webp": (lambda path: broken(path, ASTRONAUT, 0.3, "WEBP"), "damaged"),
    "truncated.tiff": (lambda path: broken(path, ASTRONAUT, 0.3, "TIFF"), "damaged"),
    "truncated.gif": (lambda path: broken(path, ASTRONAUT, 0.01, "GIF"), "damaged"),
    "truncated.heic": (lambda path: (heic(path), path.write_bytes(path.read_bytes()[:3000])), "cannot read"),
    "zero bytes.jpg": (lambda path: path.touch(), "empty"),
    "text.jpg": (lambda path: path.write_text("not a picture"), "no picture"),
    "drawing.svg": (lambda path: path.write_text(SVG), "SVG"),
    "paper.pdf": (lambda path: Image.new("RGB", (50, 50)).save(path, "PDF"), "PDF"),
    "drawing.eps": (lambda path: Image.new("RGB", (50, 50)).save(path, "EPS"), "PostScript"),
    "page.html": (lambda path: path.write_text("<!doctype html><p>me</p>"), "web page"),
    "letter.docx": (archive, "office document"),
    "bomb.png": (lambda path: png_header(path, 12000, 12000), "million pixels"),
    "huge bomb.png": (lambda path: png_header(path, 2**31 - 1, 2**31 - 1), "too large"),
    "claims.png": (lambda path: png_header(path, 5000, 5000), "damaged"),
    "folder.jpg": (lambda path: path.mkdir(), "directory"),
    "missing.jpg": (lambda path: None, "No such file"),
    "sound.mp4": (lambda path: path.write_bytes(b"ID3\x04" + bytes(500)), "as a video"),
    "broken.json": (lambda path: path.write_text("{"), "no prepared portrait"),
}


@pytest.mark.parametrize("name", WORK)
def test_works(name: str, tmp_path: Path) -> None:
    WORK[name](tmp_path / name)
    portrait = Portrait.open(tmp_path / name)
    assert max(portrait.image.shape) <= MAX_SIDE
    left, right = eye_centres(portrait.landmarks)
    if name == "far away.jpg":
        assert right[0] - left[0] > 70  # the photo's own detail: reduced whole it had 22 px
        return
    size = portrait.image.shape[0] / 512
    assert np.abs(np.concatenate((left, right)) / size - (203, 101, 244, 99)).max() < 6  # measured by hand


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    make(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["render", "--face", str(tmp_path / name), "-o", str(tmp_path / "out.mp4")])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and words.lower() in line.lower() and ";" in line, line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cartoon_works_or_is_refused(tmp_path: Path) -> None:
    """Which of the two is the detector's to say."""
    cartoon(tmp_path / "cartoon.png")
    done = CliRunner().invoke(app, ["portrait", "check", str(tmp_path / "cartoon.png")])
    assert (done.exit_code, done.output.count("will work") + 2 * done.output.count("will not work")) in ((0, 1), (2, 2))
