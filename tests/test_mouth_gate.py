"""In silence the mouth comes to rest and stays there; the rest of the face is left alone."""

import torch

from streamhead.model.face_update import FaceUpdate
from streamhead.stream.mouth_gate import MouthGate, next_ease


def _update(value: float) -> FaceUpdate:
    return FaceUpdate(
        torch.full((1, 2, 128, 128), value), torch.full((1, 1, 128, 128), value), torch.full((1, 3, 128, 128), value)
    )


def test_silence_closes_in_two_frames_and_speech_opens_at_once() -> None:
    ease, course = 0.0, []
    for speech in (False, False, False, False, True, True, False):
        ease = next_ease(ease, speech)
        course.append(round(ease, 3))
    assert course == [0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.5]


def test_at_rest_the_mouth_is_rest_and_the_eyes_are_the_models() -> None:
    gate = MouthGate.of(_update(0.0))
    shut = gate.apply(_update(1.0), 1.0)
    for part in (shut.flow, shut.mask, shut.rgb):
        assert (part[..., 74:122, 30:98] == 0).all()
        assert (part[..., :64, :] == 1).all()
    assert gate.apply(_update(1.0), 0.5).mask[0, 0, 98, 64] == 0.5


def test_an_open_gate_changes_nothing() -> None:
    update = _update(0.7)
    assert MouthGate.of(_update(0.0)).apply(update, 0.0) is update


def test_the_border_is_soft() -> None:
    mask = MouthGate.of(_update(0.0)).apply(_update(1.0), 1.0).mask[0, 0]
    assert torch.diff(mask, dim=0).abs().max() < 0.25 and torch.diff(mask, dim=1).abs().max() < 0.25
