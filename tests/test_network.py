"""The networks: shapes, streaming equals the vectorised path, skip halves and folding change nothing."""

import pytest
import torch

from streamhead.model.config import NetworkConfig, preset
from streamhead.model.decoder import WarpDecoder
from streamhead.model.face_update import FaceUpdate
from streamhead.model.image_encoder import skip_channels
from streamhead.model.layers import SkipConvBlock, fold_batch_norm
from streamhead.model.network import TalkingHeadNetwork

SMALL = {
    "call": preset("call"),
    "paper-thin": preset("paper-thin", width=0.125),
    "paper": preset("paper", width=0.125),
}


def _patch(config: NetworkConfig, *lead: int) -> torch.Tensor:
    rows = 28 if config.features == "mfcc" else 4 * (3 + config.look_ahead)
    return torch.randn(*lead, rows, 12 if config.features == "mfcc" else 41)


def _network(config: NetworkConfig) -> TalkingHeadNetwork:
    torch.manual_seed(3)
    network = TalkingHeadNetwork(config)
    network.initialise()
    # Running statistics as after some training, so that folding is not the identity.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_stepping_equals_the_vectorised_path(name: str) -> None:
    network = _network(SMALL[name])
    patches = _patch(network.config, 2, 9)
    start = network.audio_posterior.initial_state(2)
    whole, _ = network.listen(patches, start)
    state = start
    means = []
    for t in range(9):
        q, state = network.listen(patches[:, t : t + 1], state)
        means.append(q.mean)
    assert (torch.cat(means, 1) - whole.mean).abs().max() < 1e-5

    codes, latents = torch.randn(2, 9, network.config.code_size), torch.randn(2, 9, network.config.z_size)
    at_once, _ = network.predictor.step(codes, latents, network.predictor.initial_state(2))
    state = network.predictor.initial_state(2)
    outs = []
    for t in range(9):
        out, state = network.predictor.step(codes[:, t : t + 1], latents[:, t : t + 1], state)
        outs.append(out)
    assert (torch.cat(outs, 1) - at_once).abs().max() < 1e-5


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_folding_changes_nothing(name: str) -> None:
    network = _network(SMALL[name])
    square, code = torch.rand(2, 3, 128, 128), torch.randn(2, network.config.code_size)

    def draw() -> FaceUpdate:
        reference = network.encode_reference(square)
        return network.decode(code, reference)

    before = draw()
    fold_batch_norm(network)
    assert not any(
        isinstance(block.norm, torch.nn.BatchNorm2d) for block in network.modules() if isinstance(block, SkipConvBlock)
    )
    after = draw()
    assert (before.rgb - after.rgb).abs().max() < 1e-4
    assert (before.flow - after.flow).abs().max() < 1e-3


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_skip_halves_equal_one_convolution_over_the_concatenation(name: str) -> None:
    network = _network(SMALL[name])
    skips = network.image_encoder(torch.rand(2, 3, 128, 128))[1]
    assert tuple(s.shape[1] for s in skips) == skip_channels(network.config)
    decoder = network.decoder
    pairs = list(zip(decoder.skip_blocks, reversed(skips), strict=False))
    if isinstance(decoder, WarpDecoder):
        pairs += [(painter.block, skips[0][:, :, *painter.region]) for painter in decoder.painters]
    else:
        assert len(decoder.skip_blocks) == len(skips)
    assert network.config.backbone == "dcgan" or sum(block.doubles for block, _ in pairs) >= 4
    for block, skip in pairs:
        assert isinstance(block, SkipConvBlock)
        x = torch.randn(2, block.inputs, *(side // 2 if block.doubles else side for side in skip.shape[-2:]))
        assert (block(x, block.skip_half(skip)) - block.plain(x, skip)).abs().max() < 1e-4


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_drawing_in_half_the_width_is_within_a_grey_level_or_two(name: str) -> None:
    network = _network(SMALL[name])
    fold_batch_norm(network)
    square, code = torch.rand(1, 3, 128, 128), torch.randn(1, network.config.code_size)
    reference = network.encode_reference(square)
    full = network.decode(code, reference).apply(square)
    network.draw_in(torch.bfloat16)
    reference = network.encode_reference(square)
    assert {half.dtype for half in reference.halves} == {torch.bfloat16}
    half = network.decode(code, reference).apply(square)
    assert half.dtype == torch.float32
    assert ((full - half).abs() * 255).mean() < 1.5


@torch.no_grad()
def test_only_the_first_frame_feeds_the_call_preset() -> None:
    network = _network(SMALL["call"])
    reference = network.encode_reference(torch.rand(1, 3, 128, 128))
    state = network.initial_state(reference)
    for _ in range(3):
        _, _, state = network.step(_patch(network.config, 1), torch.randn(1, 24), 1.0, state)
        assert state.code is reference.code


@torch.no_grad()
def test_the_unimodal_model_is_deaf() -> None:
    network = _network(preset("paper-thin", width=0.125, prior="standard-normal"))
    reference = network.encode_reference(torch.rand(1, 3, 128, 128))
    eps = torch.randn(1, 24)
    one, _, _ = network.step(_patch(network.config, 1), eps, 1.0, network.initial_state(reference))
    two, _, _ = network.step(_patch(network.config, 1), eps, 1.0, network.initial_state(reference))
    assert torch.equal(one, two)


def test_published_sizes() -> None:
    with torch.device("meta"):
        network = TalkingHeadNetwork(preset("paper"))
    assert skip_channels(network.config) == (64, 128, 256, 512, 512)
    assert (network.config.z_size, network.config.code_size, network.config.hidden_size) == (24, 128, 256)
    flat = [m for m in network.audio_encoder.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in flat] == [(6144, 2048), (2048, 128)]


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="paper-thin"):
        preset("papper")
