"""The sound beside the picture: late by what it is asked to be, and never a click."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest

from streamhead.stream.delay_line import BEND, JUMP, MEMORY, DelayLine

RATE = 48_000
PACKET = 960


def tone(count: int, hertz: float, rate: float = RATE) -> np.ndarray:
    return np.float32(0.5 * np.sin(2 * np.pi * hertz * np.arange(count) / rate))


def run(
    line: DelayLine,
    sound: np.ndarray,
    *,
    jitter: float = 0.0,
    capture_ppm: float = 0.0,
    play_ppm: float = 0.0,
    delay_after: tuple[float, float] | None = None,
) -> tuple[np.ndarray, list[float]]:
    """Write and read in step, 20 ms at a time; all that was read, and every packet's offset in ms."""
    random = np.random.default_rng(0)
    heard, offsets = [], []
    for packet in range(len(sound) // PACKET):
        instant = 100 + packet * PACKET / RATE * (1 + capture_ppm * 1e-6) + jitter * random.uniform(-1, 1)
        line.write(sound[packet * PACKET :][:PACKET], instant)
        due = 100 + packet * PACKET / RATE * (1 + play_ppm * 1e-6) + 0.02
        if delay_after and due - 100 >= delay_after[0]:
            line.delay = delay_after[1]
        heard.append(line.read(PACKET, due))
        offsets.append(line.offset_ms)
    return np.concatenate(heard), offsets


def purity(sound: np.ndarray, hertz: float) -> float:
    """Of a tone that may waver by a few cents: its power over that of everything else, dB."""
    spectrum = np.abs(np.fft.rfft(sound * np.blackman(len(sound)))) ** 2
    place = round(hertz * len(sound) / RATE)
    width = 6 + round(2 * BEND * place)
    own = slice(max(0, place - width), place + width)
    power = spectrum[own].sum()
    return float(10 * np.log10(power / (spectrum.sum() - power)))


def roughness(sound: np.ndarray) -> float:
    """The largest step of the slope: a click in a low tone."""
    return float(np.abs(np.diff(sound, 2, axis=0)).max())


def steepness(sound: np.ndarray) -> float:
    """The largest step."""
    return float(np.abs(np.diff(sound, axis=0)).max())


def test_what_was_captured_is_read_one_delay_later() -> None:
    random = np.random.default_rng(1)
    sound = np.float32(random.normal(0, 0.1, RATE * 2))
    heard, _ = run(DelayLine(RATE, 1, 0.1), sound)
    # Read at instant t: what was captured at t - 100 ms; the first read was for 20 ms after the first capture.
    late = round(0.08 * RATE)
    assert not heard[: late - 240].any()
    np.testing.assert_allclose(heard[late + 240 : RATE], sound[240 : RATE - late], atol=2e-5)


def test_a_tone_stays_pure() -> None:
    for hertz in (1_000, 10_000):
        heard, _ = run(DelayLine(RATE, 1, 0.1003), tone(RATE * 2, hertz))
        assert purity(heard[RATE // 2 :], hertz) > 60


def test_jitter_of_the_capture_instants_is_not_heard() -> None:
    heard, offsets = run(DelayLine(RATE, 1, 0.1), tone(RATE * 6, 1_000), jitter=0.008)
    assert purity(heard[RATE * 2 :], 1_000) > 60
    assert np.abs(offsets[100:]).max() < 2.0


@pytest.mark.parametrize("ppm", [-300, 300])
def test_clocks_that_differ_are_followed(ppm: int) -> None:
    for clocks in ({"capture_ppm": ppm}, {"play_ppm": ppm}):
        heard, offsets = run(DelayLine(RATE, 1, 0.1), tone(RATE * 30, 1_000), **clocks)
        # Without following, 300 ppm are 9 ms after half a minute.
        assert np.abs(offsets).max() < 1.5
        steady = heard[-RATE * 5 :]
        assert purity(steady, 1_000) > 60
        assert np.abs(steady).max() == pytest.approx(0.5, abs=0.005)


def test_a_changed_delay_is_followed_without_a_click() -> None:
    sound = tone(RATE * 10, 200)
    line = DelayLine(RATE, 1, 0.1)
    heard, offsets = run(line, sound, delay_after=(2.0, 0.13))
    assert roughness(heard[RATE:]) < 1.1 * roughness(sound)
    assert min(offsets) == pytest.approx(-30, abs=1)
    assert abs(offsets[-1]) < 2
    gone = [index for index, offset in enumerate(offsets) if offset < -5]
    assert (gone[-1] - gone[0]) / 50 > 0.025 / BEND * 0.9  # it takes its time


def test_a_large_change_is_jumped_with_a_cross_fade() -> None:
    sound = tone(RATE * 4, 200)
    line = DelayLine(RATE, 1, 0.1)
    heard, offsets = run(line, sound, delay_after=(2.0, 0.1 + 1.5 * JUMP))
    assert np.abs(offsets).max() < 1
    # A cut in the middle of a wave is a step of up to 1; of a cross-fade over 5 ms the steps are small.
    assert np.abs(np.diff(heard[RATE:])).max() < 0.5 * 2 / (0.005 * RATE) + 0.5 * 2 * np.pi * 200 / RATE * 1.05


def test_a_gap_becomes_silence_of_its_length() -> None:
    line = DelayLine(RATE, 1, 0.1)
    sound = tone(RATE, 440)
    heard = []
    for packet in range(100):
        if not 40 <= packet < 60:
            line.write(sound[packet * PACKET % RATE :][:PACKET], 100 + packet / 50)
        heard.append(line.read(PACKET, 100.02 + packet / 50))
    level = np.array([np.abs(packet).max() for packet in heard])
    assert np.all(level[10:43] > 0.4)
    assert np.all(level[45:63] == 0)
    assert np.all(level[65:] > 0.4)
    assert steepness(np.concatenate(heard)[RATE // 2 :]) < 1.1 * steepness(sound)


def test_where_no_sound_comes_in_time_it_dies_away_and_returns() -> None:
    line = DelayLine(RATE, 1, 0.1)
    sound = tone(RATE * 3, 440)
    heard = []
    for packet in range(100):
        if packet == 60:  # all that was held up, at once
            for held in range(30, 61):
                line.write(sound[held * PACKET :][:PACKET], 100 + held / 50)
        elif not 30 <= packet < 60:
            line.write(sound[packet * PACKET :][:PACKET], 100 + packet / 50)
        heard.append(line.read(PACKET, 100.02 + packet / 50))
    level = np.array([np.abs(packet).max() for packet in heard])
    assert np.all(level[36:59] == 0)
    assert np.all(level[62:] > 0.4)
    assert steepness(np.concatenate(heard)[RATE // 2 :]) < 1.1 * steepness(sound)
    np.testing.assert_allclose(heard[-1], sound[95 * PACKET :][:PACKET], atol=1e-3)


def test_cleared_sound_is_never_heard() -> None:
    line = DelayLine(RATE, 1, 0.1)
    for packet in range(50):
        line.write(tone(PACKET, 500), 100 + packet / 50)
        line.read(PACKET, 100.02 + packet / 50)
    line.clear()
    for packet in range(50, 70):
        line.write(tone(PACKET, 500), 100 + packet / 50)
        heard = line.read(PACKET, 100.02 + packet / 50)
        if packet == 50:
            assert heard[:100].any()
            assert not heard[480:].any()
        else:
            assert bool(np.abs(heard).max() > 0.1) == (packet >= 54)


def test_time_that_was_set_back_is_followed() -> None:
    line = DelayLine(RATE, 1, 0.1)
    for start in (100.0, 50.0):
        for packet in range(20):
            line.write(tone(PACKET, 500), start + packet / 50)
            heard = line.read(PACKET, start + 0.02 + packet / 50)
        assert np.abs(heard).max() > 0.4


def test_memory_is_bounded_and_any_count_is_served() -> None:
    line = DelayLine(RATE, 2, 0.1)
    size = line._ring.nbytes
    for second in range(20):
        line.write(np.ones((RATE, 2), np.float32), 100.0 + second)
    line.write(np.ones((10 * RATE, 2), np.float32), 120.0)
    line.write(np.zeros((0, 2), np.float32), 130.0)
    assert line._ring.nbytes == size
    assert line.read(7, 129.0).shape == (7, 2)
    assert np.all(line.read(1, 129.0) > 0.9)
    assert not line.read(480, 130.0 - 2.5 * MEMORY)[-240:].any()
    assert line.read(0, 129.0).shape == (0, 2)


def test_nothing_written_is_silence() -> None:
    line = DelayLine(16_000, 1)
    assert not line.read(320, 5.0).any()
    assert line.offset_ms == 0.0


def test_two_threads() -> None:
    line = DelayLine(RATE, 1, 0.1)

    def write() -> None:
        for packet in range(500):
            line.write(np.full(PACKET, 0.25, np.float32), 100 + packet / 50)

    writer = Thread(target=write)
    writer.start()
    while writer.is_alive():
        heard = line.read(PACKET, 100.0)
        assert heard.shape == (PACKET,)
        assert np.abs(heard).max() < 0.26
    writer.join()


def test_silence_is_mended_by_the_sound_that_it_stood_in_for() -> None:
    line, sound = DelayLine(RATE, 1, 0.12), tone(40 * PACKET, 200)
    heard = []
    for packet in range(40):
        piece = sound[packet * PACKET :][:PACKET]
        late = 10 <= packet < 20  # these come three packets late
        line.write(np.zeros(PACKET, np.float32) if late else piece, 100 + packet * PACKET / RATE)
        if 13 <= packet < 23:
            line.mend(sound[(packet - 3) * PACKET :][:PACKET], 4 * PACKET)
        heard.append(line.read(PACKET, 100 + (packet + 1) * PACKET / RATE))
    out = np.concatenate(heard)[round(0.1 * RATE) :]  # read when it is written, 120 ms late
    told = out[5 * PACKET : -8 * PACKET]
    assert steepness(told) < 1.2 * steepness(sound)
    assert np.abs(told).reshape(-1, RATE // 100).max(1).min() > 0.45  # no hole


def test_what_was_read_is_not_mended() -> None:
    line = DelayLine(RATE, 1, 0.02)
    line.write(np.zeros(10 * PACKET, np.float32), 100.0)
    before = line.read(5 * PACKET, 100.0 + 0.02)
    line.mend(tone(10 * PACKET, 200), 10 * PACKET)
    after = line.read(4 * PACKET, 100.0 + 0.02 + 5 * PACKET / RATE)
    assert not before.any()
    assert np.abs(after[:PACKET]).max() > 0.3
    assert steepness(np.concatenate((before, after))) < 1.2 * steepness(tone(PACKET, 200))
