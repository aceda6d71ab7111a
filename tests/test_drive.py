"""The gauge reads mouths as landmarks do, and whoever opens the mouth too little is driven further."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamhead.assets import default_speech
from streamhead.face.align import EYE_DISTANCE
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import shipped_weights
from streamhead.model.mouth_gauge import shipped_gauge
from streamhead.model.network import TalkingHeadNetwork
from streamhead.stream.drive import MOST, DriveMeter
from streamhead.stream.engine import Engine
from streamhead.stream.talking_head import TalkingHead
from streamhead.training.geometry import distances


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(shipped_weights("call"))


@pytest.fixture(scope="module")
def meter(engine: Engine) -> DriveMeter:
    assert isinstance(engine.network, TalkingHeadNetwork)
    return DriveMeter(engine.network)


def _square(portrait: Portrait) -> torch.Tensor:
    return torch.from_numpy(np.array(portrait.square())).permute(2, 0, 1)[None].float() / 255


def test_the_gauge_reads_what_landmarks_tell() -> None:
    portrait = Portrait.default()
    points = portrait.landmarks @ portrait.to_canonical[:, :2].T + portrait.to_canonical[:, 2]
    real = distances(points[None].astype(np.float32))[0, :3] / EYE_DISTANCE
    read = shipped_gauge()(_square(portrait))[0].numpy()
    assert np.abs(read - real).max() < 0.06


def test_light_and_colour_do_not_matter() -> None:
    square = _square(Portrait.default())
    gauge = shipped_gauge()
    assert torch.allclose(gauge(square), gauge(0.6 * square + 0.1), atol=0.02)


def test_a_further_latent_opens_the_mouth_further(engine: Engine, meter: DriveMeter) -> None:
    reference = engine.reference(Portrait.default())
    plain, most = meter.opening(reference), meter.opening(reference, MOST)
    assert most > 1.02 * plain > 0
    assert meter.opening(reference, 0.0) < 0.3 * plain  # nothing but rest


def test_only_who_falls_short_is_driven(engine: Engine, meter: DriveMeter) -> None:
    assert isinstance(engine.network, TalkingHeadNetwork)
    reference = engine.reference(Portrait.default())
    plain, most = meter.opening(reference), meter.opening(reference, MOST)
    drives = [DriveMeter(engine.network, natural).drive(reference) for natural in (0.0, plain, (plain + most) / 2, 9.0)]
    assert drives == [1.0, 1.0, 1.5, MOST]


def test_the_drive_reaches_the_picture(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine.network, TalkingHeadNetwork)
    shown = []
    for natural in (0.0, 9.0):
        monkeypatch.setattr(engine, "_meter", DriveMeter(engine.network, natural))
        head = TalkingHead(engine, Portrait.default())
        frames = list(head.render(default_speech(), temperature=0.0, view="face", still=True))[:120]
        squares = torch.from_numpy(np.stack([frame.image for frame in frames])).permute(0, 3, 1, 2).float() / 255
        shown.append(float(shipped_gauge()(squares)[:, 0].std()))
    assert shown[1] > 1.02 * shown[0]
