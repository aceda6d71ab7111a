"""Checkpoints: exact round trip in half precision, every damage found."""

from pathlib import Path

import pytest
import torch

from streamhead.errors import CheckpointError
from streamhead.model.checkpoint import Header, load_network, read_header, save_network, shipped_weights
from streamhead.model.config import preset
from streamhead.model.network import TalkingHeadNetwork


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, TalkingHeadNetwork]:
    network = TalkingHeadNetwork(preset("paper-thin", width=0.125))
    path = tmp_path / "some.safetensors"
    save_network(path, network.state_dict(), Header(network=network.config, steps=5, data="none"))
    return path, network


def test_round_trip(saved: tuple[Path, TalkingHeadNetwork]) -> None:
    path, network = saved
    loaded, header = load_network(path, "paper-thin")
    assert header.steps == 5 and not loaded.training
    for name, value in loaded.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, network.state_dict()[name].half().float()), name
    assert list(path.parent.iterdir()) == [path]


def test_every_flipped_byte_is_found(saved: tuple[Path, TalkingHeadNetwork]) -> None:
    path, _ = saved
    whole = path.read_bytes()
    for place in (9, 200, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_network(path)


def test_wrong_files_are_refused_in_one_line(saved: tuple[Path, TalkingHeadNetwork], tmp_path: Path) -> None:
    path, _ = saved
    with pytest.raises(CheckpointError, match="preset 'paper-thin', not 'call'"):
        load_network(path, "call")
    with pytest.raises(CheckpointError, match="no weights at"):
        read_header(tmp_path / "absent.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no weights are shipped"):
        shipped_weights("unheard-of")
