"""Level normalisation: quiet and loud talkers end up alike, silence changes nothing, the gain has bounds."""

from __future__ import annotations

import numpy as np
import pytest

from streamhead.audio.level import TARGET_DB, LevelNormaliser, LevelState
from streamhead.timebase import HOP

NORMALISER = LevelNormaliser()


def hops(level_db: float, count: int, seed: int = 0) -> np.ndarray:
    """Noise whose level wanders by +-6 dB, as syllables do, around a mean square of ``level_db``."""
    rng = np.random.default_rng(seed)
    loud = 10 ** (rng.uniform(-6, 6, (count, 1)) / 20)
    sound = rng.standard_normal((count, HOP)) * loud / np.sqrt((loud**2).mean())
    return (sound * 10 ** (level_db / 20)).astype(np.float32)


def run(sound: np.ndarray, state: LevelState, *, speech: bool = True) -> tuple[list[float], LevelState]:
    gains = []
    for hop in sound:
        gain, state = NORMALISER.step(hop, speech, state)
        gains.append(gain)
    return gains, state


@pytest.mark.parametrize("level_db", [-50.0, -36.0, -26.0, -12.0])
def test_every_talker_reaches_the_target(level_db: float) -> None:
    gains, _ = run(hops(level_db, 100), NORMALISER.init_state())
    assert level_db + gains[-1] == pytest.approx(TARGET_DB, abs=1.5)
    wanted = TARGET_DB - level_db
    assert abs(gains[11] - wanted) < 0.3 * abs(wanted) + 2.0  # half a second of speech does most of it


def test_the_first_hop_is_taken_with_doubt() -> None:
    # An onset is mostly silence: its level says little of the talker's.
    gains, _ = run(hops(-50.0, 1), NORMALISER.init_state())
    assert 0.0 < gains[0] < 10.0


def test_silence_changes_nothing() -> None:
    gains, state = run(hops(-40.0, 50), NORMALISER.init_state())
    after, same = run(hops(-70.0, 250), state, speech=False)
    assert same == state
    assert set(after) == {gains[-1]}
    assert NORMALISER.step(np.zeros(HOP, np.float32), False, NORMALISER.init_state())[0] == 0.0


def test_the_gain_has_bounds() -> None:
    assert run(hops(-80.0, 200), NORMALISER.init_state())[0][-1] == pytest.approx(30.0, abs=1.0)
    assert max(run(hops(-80.0, 200), NORMALISER.init_state())[0]) <= 30.0
    assert min(run(hops(20.0, 200), NORMALISER.init_state())[0]) >= -30.0
    gains, _ = run(np.zeros((5, HOP), np.float32), NORMALISER.init_state())
    assert np.isfinite(gains).all()


def test_a_new_level_is_learnt_in_some_seconds_not_at_once() -> None:
    gains, state = run(hops(-40.0, 200), NORMALISER.init_state())
    louder, _ = run(hops(-20.0, 250, seed=1), state)
    assert gains[-1] - louder[0] < 8.0
    assert -20.0 + louder[-1] == pytest.approx(TARGET_DB, abs=2.0)


def test_a_microphones_offset_is_no_level() -> None:
    assert run(hops(-40.0, 50) + np.float32(0.1), NORMALISER.init_state())[0][-1] == pytest.approx(
        run(hops(-40.0, 50), NORMALISER.init_state())[0][-1], abs=0.1
    )
