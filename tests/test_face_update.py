"""FaceUpdate: identity at zero, flow in pixels and in the right direction."""

import torch

from streamhead.model.face_update import FaceUpdate, warp


def test_zero_update_is_the_identity() -> None:
    square = torch.randint(0, 256, (2, 3, 128, 128)) / 255.0
    out = FaceUpdate.identity(2).apply(square)
    assert (out - square).abs().max() < 1e-4
    assert torch.equal((out * 255).round(), (square * 255).round())


def test_flow_says_where_a_pixel_comes_from() -> None:
    image = torch.zeros(1, 1, 128, 128)
    image[0, 0, 40, 60] = 1.0
    flow = torch.zeros(1, 2, 128, 128)
    flow[0, 0], flow[0, 1] = 5.0, -3.0
    out = warp(image, flow)
    assert out[0, 0, 43, 55] > 0.999
    assert abs(float(out.sum()) - 1.0) < 1e-3


def test_full_mask_paints_everything() -> None:
    rgb = torch.rand(1, 3, 128, 128)
    assert torch.allclose(FaceUpdate.from_rgb(rgb).apply(torch.rand(1, 3, 128, 128)), rgb)


def test_row_keeps_the_batch_axis() -> None:
    update = FaceUpdate(torch.rand(3, 2, 128, 128), torch.rand(3, 1, 128, 128), torch.rand(3, 3, 128, 128))
    row = update.row(1)
    assert row.flow.shape[0] == 1 and torch.equal(row.mask[0], update.mask[1])
