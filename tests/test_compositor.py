"""Compositor: identity, what may be touched, where a flow moves things, the face view, letterbox geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamhead.errors import PortraitError, StreamheadError
from streamhead.face.align import mean_face, transform_points
from streamhead.face.compositor import Compositor, _double, _doubling_band, window
from streamhead.face.letterbox import letterbox
from streamhead.face.portrait import Portrait
from streamhead.model.face_update import SQUARE, FaceUpdate

SIZE = (640, 360)


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def placed(image: NDArray[np.uint8], scale: float, degrees: float, centre: tuple[float, float]) -> Portrait:
    """A portrait whose square lies with its centre at ``centre``, ``scale`` image pixels a canonical pixel, rotated."""
    a = np.exp(1j * np.radians(degrees)) * scale
    back = np.array([[a.real, -a.imag], [a.imag, a.real]])
    linear = np.linalg.inv(back)
    to_canonical = np.c_[linear, np.array([63.5, 63.5]) - linear @ centre]
    inverse = np.c_[back, np.array(centre) - back @ (63.5, 63.5)]
    return Portrait(image, transform_points(inverse, mean_face()), to_canonical, "placed")


PORTRAITS = [
    pytest.param(placed(texture(360, 640), 1.5, 0.0, (300.0, 170.0)), id="as it is"),
    pytest.param(placed(texture(720, 1280, 1), 3.1, 17.0, (640.5, 350.25)), id="rotated, reduced"),
    pytest.param(placed(texture(150, 140, 2), 0.8, -30.0, (70.0, 75.0)), id="small, enlarged, bars"),
    pytest.param(placed(texture(200, 200, 3), 1.4, 5.0, (80.0, 90.0)), id="square over the edge"),
]


def random_update(seed: int, flow: float = 4.0) -> FaceUpdate:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 2, 16, 16, generator=rng) * flow
    smooth = torch.nn.functional.interpolate(coarse, size=(SQUARE, SQUARE), mode="bicubic")
    return FaceUpdate(
        smooth, torch.rand(1, 1, SQUARE, SQUARE, generator=rng), torch.rand(1, 3, SQUARE, SQUARE, generator=rng)
    )


def test_doubling_is_a_transposed_convolution_with_the_cubic() -> None:
    planes = torch.rand(3, SQUARE, SQUARE)
    band = torch.from_numpy(_doubling_band())
    taps = torch.zeros(8)
    taps[1::2], taps[::2] = band[0, :4].flip(0), band[1, 1:5].flip(0)
    kernel = torch.outer(taps, taps)[None, None]
    expected = torch.nn.functional.conv_transpose2d(planes[:, None], kernel, stride=2, padding=3)[:, 0]
    assert torch.allclose(_double(planes, band), expected, atol=1e-6)
    assert _double(torch.ones(1, SQUARE, SQUARE), band)[0, 9:-9, 9:-9].sub(1).abs().max() < 1e-6


def canonical_of(portrait: Portrait) -> NDArray[np.float64]:
    """Canonical coordinates of every output pixel, ``(height, width, 2)``."""
    fitted = letterbox(portrait.image, SIZE)
    xs, ys = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    frame_to_image = np.linalg.inv(np.vstack([fitted.to_frame, (0, 0, 1)]))[:2]
    image = np.stack([xs, ys], -1) @ frame_to_image[:, :2].T + frame_to_image[:, 2]
    return image @ portrait.to_canonical[:, :2].T + portrait.to_canonical[:, 2]


@pytest.mark.parametrize("portrait", PORTRAITS)
def test_nothing_changes_nothing(portrait: Portrait) -> None:
    frame = Compositor(portrait, SIZE).compose(FaceUpdate.identity())
    assert frame.dtype == torch.uint8 and frame.shape == (SIZE[1], SIZE[0], 3)
    assert np.array_equal(frame.numpy(), letterbox(portrait.image, SIZE).frame)


@pytest.mark.parametrize("portrait", PORTRAITS)
def test_outside_the_square_every_byte_is_the_portraits(portrait: Portrait) -> None:
    base = letterbox(portrait.image, SIZE).frame
    compositor = Compositor(portrait, SIZE)
    canonical = canonical_of(portrait)
    outside = (canonical < 0.7).any(-1) | (canonical > SQUARE - 1.7).any(-1)
    inside = ((canonical > 30) & (canonical < 98)).all(-1)
    for update in (random_update(1), FaceUpdate.from_rgb(torch.zeros(1, 3, SQUARE, SQUARE))):
        frame = compositor.compose(update).numpy()
        assert np.array_equal(frame[outside], base[outside])
        changed = (frame != base).any(-1)
        assert changed[inside].mean() > 0.4  # where the square leaves the picture there are bars, never touched


def test_bars_are_never_touched() -> None:
    portrait = placed(texture(200, 200, 3), 1.4, 5.0, (80.0, 90.0))
    fitted = letterbox(portrait.image, SIZE)
    frame = Compositor(portrait, SIZE).compose(random_update(2)).numpy()
    left, _, width, _ = fitted.box
    assert np.array_equal(frame[:, :left], fitted.frame[:, :left])
    assert np.array_equal(frame[:, left + width :], fitted.frame[:, left + width :])


@pytest.mark.parametrize("degrees", [0.0, 25.0, -40.0])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_flow_moves_a_dot_where_it_should(degrees: float, scale: float) -> None:
    """Canonical pixel p shows the portrait at p + flow: a dot moves by minus the flow, turned and scaled."""
    portrait = placed(np.zeros((360, 640, 3), np.uint8), scale, degrees, (320.0, 180.0))
    ys, xs = np.mgrid[0:360, 0:640]
    dot = 255 * np.exp(-((xs - 320) ** 2 + (ys - 180) ** 2) / (2 * (2.0 * scale) ** 2))
    image = np.repeat(np.rint(dot)[..., None], 3, -1).astype(np.uint8)
    portrait = Portrait(image, portrait.landmarks, portrait.to_canonical, "dot")
    update = FaceUpdate.identity()
    update.flow[:, 0], update.flow[:, 1] = 5.0, -8.0
    frame = Compositor(portrait, SIZE).compose(update).numpy()[..., 0].astype(np.float64)
    found = np.array([(frame * xs).sum(), (frame * ys).sum()]) / frame.sum()
    a = scale * np.exp(1j * np.radians(degrees)) * complex(-5.0, 8.0)
    assert found == pytest.approx((320 + a.real, 180 + a.imag), abs=0.1)


def test_what_is_painted_lands_where_it_should() -> None:
    portrait = placed(np.full((720, 1280, 3), (100, 80, 70), np.uint8), 3.0, 20.0, (600.0, 400.0))
    update = FaceUpdate.identity()
    ys, xs = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    update.mask[0, 0] = torch.exp(-((xs - 80) ** 2 + (ys - 90) ** 2) / 18)
    update.rgb[:, 0] = 1.0
    frame = Compositor(portrait, SIZE).compose(update).numpy().astype(np.float64)
    weight = frame[..., 0] - 100
    canonical = canonical_of(portrait)
    assert (canonical * weight[..., None]).sum((0, 1)) / weight.sum() == pytest.approx((80, 90), abs=0.05)
    peak = frame[np.unravel_index(weight.argmax(), weight.shape)]
    assert peak[0] > 240 and peak[1] < 15 and peak[2] < 15


def test_a_diagonal_mask_edge_has_no_stair_steps() -> None:
    """Enlarged six times, the edge of a diagonal mask stays a straight line."""
    portrait = placed(np.zeros((720, 1280, 3), np.uint8), 5.0, 0.0, (640.0, 360.0))
    ys, xs = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    update = FaceUpdate.identity()
    update.mask[0, 0] = torch.sigmoid((xs - 64 - 0.5 * (ys - 64)) * 3)
    update.rgb[:] = 1.0
    frame = Compositor(portrait, (1280, 720)).compose(update).numpy()[..., 0]
    rows = np.arange(280, 440)
    edge = np.array([np.interp(127.5, frame[row, 500:780].astype(float), np.arange(500.0, 780.0)) for row in rows])
    line = np.polyval(np.polyfit(rows, edge, 1), rows)
    assert np.abs(edge - line).max() < 0.12 * 5.0  # an eighth of a canonical pixel


def test_colour_under_a_closed_mask_does_not_bleed() -> None:
    portrait = placed(np.full((360, 640, 3), 128, np.uint8), 2.0, 10.0, (320.0, 180.0))
    update = FaceUpdate.identity()
    update.mask[..., 40:80, 40:80] = 1.0
    update.rgb[:] = 1.0
    update.rgb[..., 40:80, 40:80] = 128.0 / 255.0
    frame = Compositor(portrait, SIZE).compose(update).numpy().astype(int)
    assert np.abs(frame - 128).max() <= 1


def test_the_face_view_is_the_bare_update() -> None:
    square = texture(SQUARE, SQUARE, 5)
    compositor = Compositor(Portrait.from_square(square), view="face")
    assert compositor.frame_size == (SQUARE, SQUARE)
    assert np.array_equal(compositor.compose(FaceUpdate.identity()).numpy(), square)
    update = random_update(3)
    expected = update.apply(torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255.0)
    expected = (expected * 255.0).round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
    difference = compositor.compose(update).int() - expected.int()
    assert difference.abs().max() <= 1  # halves may fall either way
    assert (difference != 0).float().mean() < 1e-3


def test_on_its_own_grid_the_call_view_agrees_with_the_update() -> None:
    """A square portrait shown at 128x128: inside the window the two views differ by the resampling only."""
    ys, xs = np.mgrid[0:128, 0:128]
    light = 0.5 + 0.2 * np.sin(xs / 9) + 0.2 * np.cos(ys / 7)
    square = (light[..., None] * (250, 200, 190)).astype(np.uint8)  # no greener in one place than in another
    portrait = Portrait.from_square(square)
    update = random_update(4, flow=2.0)
    smooth = torch.nn.functional.avg_pool2d(update.mask, 31, 1, 15)
    update = FaceUpdate(update.flow, smooth, update.rgb * 0 + 0.5)
    call = Compositor(portrait, (128, 128)).compose(update).numpy().astype(int)
    face = Compositor(portrait, view="face").compose(update).numpy().astype(int)
    inside = window() == 1.0
    assert np.abs(call - face)[inside].max() <= 4
    assert np.abs(call - face)[inside].mean() < 0.5


def test_half_precision_and_saturated_updates_stay_in_range() -> None:
    portrait = placed(texture(360, 640), 1.5, 8.0, (300.0, 170.0))
    compositor = Compositor(portrait, SIZE)
    update = FaceUpdate.from_rgb(torch.ones(1, 3, SQUARE, SQUARE, dtype=torch.bfloat16))
    frame = compositor.compose(update).numpy()
    centre = np.abs(canonical_of(portrait) - 63.5).max(-1) < 30
    assert (frame[centre] == 255).all()
    far = FaceUpdate(torch.full((1, 2, SQUARE, SQUARE), 500.0), *(torch.zeros(1, c, SQUARE, SQUARE) for c in (1, 3)))
    assert compositor.compose(far).shape == (360, 640, 3)


@pytest.mark.parametrize("turned", [0.0, 21.0])
def test_a_mouth_that_moves_half_a_pixel_keeps_the_portraits_fine_detail(turned: float) -> None:
    grain = np.random.default_rng(3).normal(0.0, 1.0, (360, 640))
    grain = torch.nn.functional.avg_pool2d(torch.from_numpy(grain)[None, None], 2, 1)[0, 0].numpy()  # as a lens draws
    image = np.repeat((120 + 30 * np.pad(grain, ((0, 1), (0, 1))))[..., None], 3, -1).clip(0, 255).astype(np.uint8)
    portrait = placed(image, 2.0, turned, (320.0, 180.0))
    update = FaceUpdate.identity()
    update.flow[:, 0] = update.flow[:, 1] = 0.25  # half a pixel of the picture both ways
    canonical = canonical_of(portrait)

    def sharpness(frame: NDArray[np.uint8], low: tuple[float, float], high: tuple[float, float]) -> float:
        light = frame[..., 0].astype(np.float64)
        edges = light[1:-1, :-2] + light[1:-1, 2:] + light[:-2, 1:-1] + light[2:, 1:-1] - 4 * light[1:-1, 1:-1]
        return float(edges[((canonical > low) & (canonical < high)).all(-1)[1:-1, 1:-1]].var())

    frame = Compositor(portrait, SIZE).compose(update).numpy()
    mouth, brow = ((44.0, 82.0), (84.0, 106.0)), ((44.0, 30.0), (84.0, 60.0))
    assert sharpness(frame, *mouth) / sharpness(image, *mouth) > 0.6
    assert sharpness(frame, *brow) / sharpness(image, *brow) < 0.4  # what plain sampling leaves


def test_painted_teeth_are_not_greener_than_the_skins_light_has_them() -> None:
    skin = (200, 150, 130)
    portrait = placed(np.full((360, 640, 3), skin, np.uint8), 2.0, 10.0, (320.0, 180.0))
    update = FaceUpdate.identity()
    update.mask[..., 88:100, 50:78] = 1.0
    update.rgb[:] = torch.tensor([0.6, 0.7, 0.5])[:, None, None]
    canonical = canonical_of(portrait)
    frame = Compositor(portrait, SIZE).compose(update).numpy().astype(float)
    red, green, blue = frame[((canonical > (54, 91)) & (canonical < (74, 97))).all(-1)].mean(0)
    assert (red, blue) == pytest.approx((153, 127.5), abs=1)
    assert 1.0 < (green / (red + blue)) / (skin[1] / (skin[0] + skin[2])) < 1.1
    update.rgb[:] = torch.tensor([0.8, 0.6, 0.55])[:, None, None]  # what is not green stays as it was painted
    frame = Compositor(portrait, SIZE).compose(update).numpy().astype(float)
    shown = frame[((canonical > (54, 91)) & (canonical < (74, 97))).all(-1)].mean(0)
    assert shown == pytest.approx((204, 153, 140.25), abs=1)


def test_a_black_and_white_portrait_stays_black_and_white() -> None:
    grey = np.repeat(texture(360, 640)[..., :1], 3, -1)
    frame = Compositor(placed(grey, 2.0, 10.0, (320.0, 180.0)), SIZE).compose(random_update(8)).numpy().astype(int)
    assert (frame != grey).any()
    assert np.ptp(frame, axis=-1).max() <= 1


def test_frames_are_their_own() -> None:
    compositor = Compositor(placed(texture(360, 640), 1.5, 8.0, (300.0, 170.0)), SIZE)
    first = compositor.compose(random_update(6))
    kept = first.clone()
    compositor.compose(random_update(7)).zero_()
    assert torch.equal(first, kept)
    assert torch.equal(compositor.compose(random_update(6)), kept)


def test_the_window_is_open_at_the_mouth_and_shut_at_the_rim() -> None:
    gate = window()
    assert gate.shape == (SQUARE, SQUARE)
    assert (gate[74:112, 30:98] == 1.0).all() and (gate[36:64, 26:102] == 1.0).all()
    for edge in (gate[:2], gate[-2:], gate[:, :2], gate[:, -2:]):
        assert (edge == 0.0).all()
    assert max(np.abs(np.diff(gate, axis=axis)).max() for axis in (0, 1)) < 0.14


@pytest.mark.parametrize(
    ("shape", "size"),
    [((720, 720), (1280, 720)), ((1000, 300), (640, 480)), ((301, 1001), (640, 480)), ((333, 517), (1280, 720))],
)
def test_letterbox_keeps_the_whole_picture(shape: tuple[int, int], size: tuple[int, int]) -> None:
    fitted = letterbox(texture(*shape), size)
    left, top, width, height = fitted.box
    assert fitted.frame.shape == (size[1], size[0], 3) and all(side % 2 == 0 for side in fitted.box)
    assert left >= 0 and top >= 0 and left + width <= size[0] and top + height <= size[1]
    assert width == size[0] or height == size[1]
    assert abs(2 * left + width - size[0]) <= 2 and abs(2 * top + height - size[1]) <= 2
    assert width / shape[1] == pytest.approx(height / shape[0], rel=0.02)
    corners = transform_points(fitted.to_frame, np.array([(-0.5, -0.5), (shape[1] - 0.5, shape[0] - 0.5)]))
    assert corners == pytest.approx(np.array([(left, top), (left + width, top + height)]) - 0.5, abs=1e-3)


def test_letterbox_transform_finds_a_mark() -> None:
    ys, xs = np.mgrid[0:500, 0:300]
    image = np.repeat((250 * np.exp(-((xs - 200) ** 2 + (ys - 140) ** 2) / 128.0))[..., None], 3, -1).astype(np.uint8)
    fitted = letterbox(image, (640, 360))
    left, top, width, height = fitted.box
    part = fitted.frame[top : top + height, left : left + width, 0].astype(float)
    part[part < 20] = 0
    ys, xs = np.mgrid[top : top + height, left : left + width]
    found = np.array([(part * xs).sum(), (part * ys).sum()]) / part.sum()
    assert found == pytest.approx(transform_points(fitted.to_frame, np.array([200.0, 140.0])), abs=0.05)


def test_wrong_sizes_and_places_are_refused() -> None:
    portrait = placed(texture(360, 640), 1.5, 0.0, (300.0, 170.0))
    for size in ((1281, 720), (1280, 0), (-2, 4)):
        with pytest.raises(StreamheadError, match="even"):
            Compositor(portrait, size)
    with pytest.raises(PortraitError, match="outside"):
        Compositor(placed(texture(360, 640), 1.0, 0.0, (3000.0, 170.0)), SIZE)
