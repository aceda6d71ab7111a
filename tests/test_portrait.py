"""Portraits: pictures as people have them, refusals in one line, the default and prepared portraits."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data

from streamhead.errors import OutputError, PortraitError
from streamhead.face import find
from streamhead.face.align import LEFT_EYE, RIGHT_EYE, eye_centres, mean_face, transform_points
from streamhead.face.judge import judge
from streamhead.face.portrait import MAX_SIDE, Portrait, read_picture

EYES = np.array([LEFT_EYE, RIGHT_EYE])


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def reference(astronaut: Image.Image) -> Portrait:
    return Portrait.from_image(np.asarray(astronaut))


def grey16_png(path: Path, grey: np.ndarray) -> None:
    Image.fromarray(grey.astype(np.uint16) * 257).save(path)


def rgb16_png(path: Path, rgb: np.ndarray) -> None:
    """A 48-bit PNG, which Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = rgb.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in (rgb.astype(">u2") * 257).astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def rotated_by_exif(path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side; to be shown turned clockwise
    picture.rotate(90, expand=True).save(path, quality=95, exif=exif)


def transparent(path: Path, picture: Image.Image) -> None:
    see_through = picture.convert("RGBA")
    see_through.putalpha(
        Image.fromarray(np.where(np.arange(512)[:, None] < 30, 0, np.full((512, 512), 255)).astype("u1"))
    )
    see_through.save(path)


def adobe_profile(path: Path, picture: Image.Image) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(path, quality=95, icc_profile=profile)


Writer = Callable[[Path, Image.Image], None]
WORKING: dict[str, Writer] = {
    "plain.jpg": lambda path, picture: picture.save(path, quality=95),
    "lossy.webp": lambda path, picture: picture.save(path, quality=90),
    "grey.png": lambda path, picture: picture.convert("L").save(path),
    "grey_alpha.png": lambda path, picture: picture.convert("LA").save(path),
    "grey16.png": lambda path, picture: grey16_png(path, np.asarray(picture.convert("L"))),
    "rgb16.png": lambda path, picture: rgb16_png(path, np.asarray(picture)),
    "float.tiff": lambda path, picture: Image.fromarray(np.float32(picture.convert("L")) / 255).save(path),
    "cmyk.jpg": lambda path, picture: picture.convert("CMYK").save(path, quality=95),
    "alpha.png": transparent,
    "palette.gif": lambda path, picture: picture.save(path, save_all=True, append_images=[picture]),
    "on its side.jpg": rotated_by_exif,
    "profile.jpg": adobe_profile,
    "bad profile.jpg": lambda path, picture: picture.save(path, quality=95, icc_profile=b"no profile at all"),
}


@pytest.mark.parametrize("name", WORKING)
def test_pictures_as_people_have_them(name: str, tmp_path: Path, astronaut: Image.Image, reference: Portrait) -> None:
    path = tmp_path / name
    WORKING[name](path, astronaut)
    portrait = Portrait.open(path)
    assert portrait.image.dtype == np.uint8 and portrait.image.shape == (512, 512, 3)
    assert portrait.name == path.stem
    assert eye_centres(portrait.landmarks) == pytest.approx(eye_centres(reference.landmarks), abs=3.0)
    grey = {"grey": True, "float": True}.get(name[:5].rstrip("_.1"), False)
    ours, theirs = portrait.square().astype(float), reference.square().astype(float)
    if grey:
        ours, theirs = ours.mean(-1), theirs @ np.array([0.299, 0.587, 0.114])
    assert np.abs(ours - theirs).mean() < 12  # the right brightness and colours, the right way up


def test_what_is_transparent_shows_light_grey(tmp_path: Path, astronaut: Image.Image) -> None:
    transparent(tmp_path / "a.png", astronaut)
    assert (read_picture(tmp_path / "a.png")[:30] == 224).all()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    grey16_png(tmp_path / "g.png", ramp)
    assert np.array_equal(read_picture(tmp_path / "g.png")[..., 1], ramp)


def test_the_square_puts_the_eyes_in_their_places(reference: Portrait) -> None:
    assert reference.square().shape == (128, 128, 3)
    moved = transform_points(reference.to_canonical, eye_centres(reference.landmarks))
    assert moved == pytest.approx(EYES, abs=2.0)


def test_a_face_that_fills_the_picture_is_found(reference: Portrait) -> None:
    portrait = Portrait.from_image(reference.image[56:184, 154:294].copy())
    there = eye_centres(reference.landmarks) - np.array([154.0, 56.0])
    assert eye_centres(portrait.landmarks) == pytest.approx(there, abs=4.0)


def test_a_huge_photo_is_reduced(tmp_path: Path, astronaut: Image.Image, reference: Portrait) -> None:
    astronaut.resize((4600, 4600)).save(tmp_path / "huge.jpg")
    portrait = Portrait.open(tmp_path / "huge.jpg")
    assert portrait.image.shape == (MAX_SIDE, MAX_SIDE, 3)
    scale = MAX_SIDE / 512
    assert (eye_centres(portrait.landmarks) + 0.5) / scale - 0.5 == pytest.approx(
        eye_centres(reference.landmarks), abs=3.0
    )


def two(astronaut: Image.Image) -> np.ndarray:
    """Two people, the darker one on the right."""
    left = np.asarray(astronaut)[:300, 80:380]
    return np.concatenate([left, (left * 0.6).astype(np.uint8)], 1)


def test_several_faces_ask_for_a_choice(tmp_path: Path, astronaut: Image.Image) -> None:
    Image.fromarray(two(astronaut)).save(tmp_path / "pair.png")
    with pytest.raises(PortraitError, match=r"2 faces found in pair\.png; choose one with --pick 1\.\.2"):
        Portrait.open(tmp_path / "pair.png")
    for pick in (1, 2):
        portrait = Portrait.open(tmp_path / "pair.png", pick=pick)
        assert 300 * (pick - 1) < portrait.landmarks[:, 0].mean() < 300 * pick
    for pick in (0, 3, -1):
        with pytest.raises(PortraitError, match=rf"--pick {pick}, but 2 faces"):
            Portrait.open(tmp_path / "pair.png", pick=pick)


def noise(path: Path, picture: Image.Image) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(path)


def truncated(path: Path, picture: Image.Image) -> None:
    picture.save(path)
    path.write_bytes(path.read_bytes()[:9000])


def flipped_byte(path: Path, picture: Image.Image) -> None:
    picture.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


REFUSED: dict[str, tuple[Writer, str]] = {
    "noise.png": (noise, "no face found in noise.png"),
    "truncated.jpg": (truncated, "cannot read .*truncated.jpg"),
    "truncated.png": (truncated, "cannot read .*truncated.png"),
    "flipped.png": (flipped_byte, "cannot read .*flipped.png"),
    "text.jpg": (lambda path, _: path.write_text("not a picture") and None, "cannot read .*text.jpg"),
    "empty.png": (lambda path, _: path.touch(), "empty.png is empty, no picture"),
    "missing.png": (lambda path, _: None, "cannot open .*missing.png .No such file"),
    "folder.png": (lambda path, _: path.mkdir(), "cannot open .*folder.png .Is a directory"),
    "tiny.png": (lambda path, picture: picture.resize((40, 40)).save(path), r"tiny.png is too small \(40x40 px\)"),
    "far.png": (
        lambda path, picture: picture.resize((200, 200)).save(path),
        r"far.png is too small \(eyes 1\d px apart",
    ),
    "lying.png": (
        lambda path, picture: (
            picture.crop((60, 0, 400, 300)).rotate(65, expand=True, fillcolor=(90, 90, 90)).save(path)
        ),
        "tilted by 6[0-9] degrees|no face found",
    ),
    "cut.png": (lambda path, picture: picture.crop((100, 0, 400, 128)).save(path), "cut off by the picture's edge"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_names_the_mend(name: str, tmp_path: Path, astronaut: Image.Image) -> None:
    write, message = REFUSED[name]
    write(tmp_path / name, astronaut)
    with pytest.raises(PortraitError, match=message) as caught:
        Portrait.open(tmp_path / name)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


@pytest.mark.parametrize(("degrees", "accepted"), [(-40, False), (-18, True), (0, True), (18, True), (40, False)])
def test_a_turned_head_is_told_by_its_nose(degrees: float, accepted: bool) -> None:
    """The mean face with its nose pushed forward, turned in space."""
    points = mean_face().astype(np.float64) * 3
    depth = np.zeros(len(points))
    depth[[1, 4]] = 0.65 * 42 * 3
    t = np.radians(degrees)
    centre = points[[33, 133, 362, 263]].mean(0)
    turned = points.copy()
    turned[:, 0] = centre[0] + (points[:, 0] - centre[0]) * np.cos(t) + depth * np.sin(t)
    if accepted:
        judge(np.zeros((500, 500, 3), np.uint8), turned.astype(np.float32)).check("x")
    else:
        with pytest.raises(PortraitError, match=r"turned about (3[5-9]|4[0-5]) degrees"):
            judge(np.zeros((500, 500, 3), np.uint8), turned.astype(np.float32)).check("x")


def test_prepared_and_loaded_is_the_same(tmp_path: Path, reference: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    reference.save(tmp_path / "me.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.json", "me.png"]
    monkeypatch.setattr(find, "LandmarkFinder", None)  # nothing may be looked for again
    loaded = Portrait.open(tmp_path / "me.json")
    assert np.array_equal(loaded.image, reference.image) and loaded.name == reference.name
    assert np.array_equal(loaded.to_canonical, reference.to_canonical)
    assert np.abs(loaded.landmarks - reference.landmarks).max() <= 0.006
    assert np.array_equal(loaded.square(), reference.square())


def test_saving_overwrites_no_photo_and_leaves_nothing_half(tmp_path: Path, reference: Portrait) -> None:
    photo = tmp_path / "me.png"
    Image.fromarray(reference.image[::2, ::2]).save(photo)
    before = photo.read_bytes()
    with pytest.raises(OutputError, match="would be overwritten"):
        reference.save(tmp_path / "me.json")
    with pytest.raises(OutputError, match=r"kept as \.json"):
        reference.save(tmp_path / "me.npz")
    with pytest.raises(OutputError, match="cannot write"):
        reference.save(tmp_path / "no such folder" / "me.json")
    assert list(tmp_path.iterdir()) == [photo] and photo.read_bytes() == before


def test_a_damaged_preparation_is_refused(tmp_path: Path, reference: Portrait) -> None:
    path = tmp_path / "me.json"
    reference.save(path)
    facts = json.loads(path.read_text())
    for change in ({"format": "other"}, {"landmarks": [[1, 2]]}, {"to_canonical": [[1, 0, 0], [0, float("nan"), 0]]}):
        path.write_text(json.dumps(facts | change))
        with pytest.raises(PortraitError, match="prepare it again"):
            Portrait.load(path)
    path.write_text("{")
    with pytest.raises(PortraitError, match="no prepared portrait"):
        Portrait.load(path)
    path.write_text(json.dumps(facts))
    Image.fromarray(reference.image[::-1]).save(tmp_path / "me.png")
    with pytest.raises(PortraitError, match="has changed"):
        Portrait.load(path)
    (tmp_path / "me.png").unlink()
    with pytest.raises(PortraitError, match=r"me\.png is missing"):
        Portrait.load(path)


def test_a_square_is_a_portrait_as_it_is() -> None:
    square = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    portrait = Portrait.from_square(square)
    assert np.array_equal(portrait.square(), square)
    assert np.array_equal(portrait.to_canonical, np.eye(2, 3))
    with pytest.raises(PortraitError, match="canonical square"):
        Portrait.from_square(square[:64])


def test_the_default_needs_no_landmark_model_and_holds_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(find, "LandmarkFinder", None)
        portrait = Portrait.default()
    assert portrait.image.shape == (720, 1280, 3)
    moved = transform_points(portrait.to_canonical, eye_centres(portrait.landmarks))
    assert moved == pytest.approx(EYES, abs=2.0)
    again = Portrait.from_image(portrait.image)
    assert np.abs(again.landmarks - portrait.landmarks).max() < 3.0
    lips = np.hypot(*(again.landmarks[13] - again.landmarks[14])) / np.hypot(
        *np.subtract(*eye_centres(again.landmarks))
    )
    assert lips < 0.02  # its mouth is shut
