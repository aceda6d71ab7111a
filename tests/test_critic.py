"""The critics of drawn patches: what they learn, whom they teach, and a run with them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from made_up import make_clips, small_config
from safetensors.torch import load_file
from torch import Tensor

from streamhead.face.align import EYES, MOUTH
from streamhead.training.critic import Critics
from streamhead.training.loop import export, train
from streamhead.training.run_folder import RunFolder


def _pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rough pictures and the same blurred."""
    rng = torch.Generator().manual_seed(seed)
    rough = torch.rand(count, 3, 128, 128, generator=rng)
    return F.avg_pool2d(rough, 5, 1, 2), rough


def test_critics_learn_what_blur_is_and_would_have_it_undone() -> None:
    torch.manual_seed(0)
    critics = Critics()
    optimiser = torch.optim.Adam(critics.parameters(), 1e-3, betas=(0.5, 0.9))
    for step in range(40):
        teaching, _ = critics(*_pictures(4, step))
        optimiser.zero_grad()
        teaching.backward()
        optimiser.step()
    critics.eval()
    blurred, rough = _pictures(4, 100)
    with torch.no_grad():
        for critic, region in zip(critics.critics, critics.regions, strict=True):
            assert critic(rough[:, :, *region]).mean() > critic(blurred[:, :, *region]).mean() + 0.5
        towards = [float(critics(torch.lerp(blurred, rough, share), rough)[1]) for share in (0.0, 0.5, 1.0)]
    assert towards == sorted(towards, reverse=True)


def test_each_is_taught_its_own_part() -> None:
    critics = Critics()
    image, target = _pictures(2, 0)
    image.requires_grad_()
    teaching, fooling = critics(image, target)
    (seen,) = torch.autograd.grad(fooling, image, retain_graph=True)
    outside = seen.clone()
    for region in (MOUTH, EYES):
        assert seen[:, :, *region].abs().sum() > 0
        outside[:, :, *region] = 0
    assert not outside.any()
    parameters = tuple(critics.parameters())
    assert torch.autograd.grad(teaching, image, retain_graph=True, allow_unused=True) == (None,)
    assert set(torch.autograd.grad(fooling, parameters, retain_graph=True, allow_unused=True)) == {None}
    assert all(gradient is not None for gradient in torch.autograd.grad(teaching, parameters))


def test_a_run_with_critics_is_resumed_and_ships_none_of_them(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = small_config(make_clips(tmp_path / "prepared"), "call")
    config = config.model_copy(update={"loss": config.loss.model_copy(update={"adversary": 1e-3})})
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(config.model_copy(update={"steps": 4}), straight)
    train(config.model_copy(update={"steps": 2}), broken)
    train(config.model_copy(update={"steps": 4}), broken)
    one, two = load_file(straight.state), load_file(broken.state)
    assert any(name.startswith("model/critics.") for name in one)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
    shipped = tmp_path / "w.safetensors"
    export(config, straight, shipped)
    assert not any("critic" in name for name in load_file(shipped))
