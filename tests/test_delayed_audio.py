"""Sound played as late as the picture. The PortAudio here is a mock, for what no real device shows when asked to; real
ones are in tests/e2e/test_audio_out.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamhead.errors import DeviceError
from streamhead.output import delayed_audio
from streamhead.output.delayed_audio import DelayedAudio
from streamhead.stream.delay_line import DelayLine

DELAY = 0.15
AHEAD = 0.04
FREQUENCY = 440


class MockPortAudioError(Exception):
    pass


class MockPortAudio:
    """PortAudio with one cable, whose clock begins at 1000 s and whose callbacks come when the test says."""

    PortAudioError = MockPortAudioError

    def __init__(self, rates: tuple[int, ...] = (44100, 48000), channels: int = 2) -> None:
        self.rates = rates
        self.stream: MockStream | None = None
        self.opened: dict[str, Any] = {}
        self._device = {
            "index": 3,
            "name": "Mock Cable Input",
            "max_output_channels": channels,
            "max_input_channels": 0,
            "default_samplerate": float(rates[0]) if rates else 48000.0,
        }

    def query_devices(self) -> list[dict[str, Any]]:
        return [self._device]

    def OutputStream(self, **options: Any) -> MockStream:
        if options["samplerate"] not in self.rates:
            raise MockPortAudioError("Invalid sample rate\n [PaErrorCode -9997]")
        self.opened = options
        self.stream = MockStream(options)
        return self.stream


class MockStream:
    latency = AHEAD

    def __init__(self, options: dict[str, Any]) -> None:
        self.started = self.closed = False
        self.time = 1000.0
        self._options = options

    def start(self) -> None:
        self.started = True

    def abort(self, ignore_errors: bool) -> None:
        self._options["finished_callback"]()

    def close(self, ignore_errors: bool) -> None:
        self.closed = True

    def call(self, ahead: float, called_late: float = 0.0, underflow: bool = False) -> np.ndarray:
        """One block, heard in ``ahead`` s; the callback comes ``called_late`` s after PortAudio's call."""
        count, channels = self._options["blocksize"], self._options["channels"]
        out = np.full((count, channels), np.nan, np.float32)
        clock = SimpleNamespace(currentTime=self.time - called_late, outputBufferDacTime=self.time + ahead)
        self._options["callback"](out, count, clock, SimpleNamespace(output_underflow=underflow))
        return out


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., MockPortAudio]:
    def install(*arguments: Any, **options: Any) -> MockPortAudio:
        module = MockPortAudio(*arguments, **options)
        monkeypatch.setattr(delayed_audio, "portaudio", lambda: module)
        return module

    return install


def _play(
    module: MockPortAudio,
    line: DelayLine,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float = 3.0,
    report: Callable[[float], float] = lambda ahead: ahead,
) -> tuple[np.ndarray, float, float]:
    """Play a sine captured from instant 50 on: what the device got, at which rate, and the instant of its first sample.

    Args:
        report: what the driver says, of what is so.
    """
    rate, block = line.sample_rate, line.sample_rate // 100
    now, parts, heard_from = 50.0, [], None
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with DelayedAudio(line, "mock cable") as sound:
        assert module.stream is not None
        assert not module.stream.started
        sound.start()
        assert module.stream.started
        for index in range(round(100 * seconds)):
            sine = 0.5 * np.sin(2 * np.pi * FREQUENCY * np.arange(index * block, (index + 1) * block) / rate)
            pcm = sine if line.channels == 1 else np.stack([sine] + [0 * sine] * (line.channels - 1), axis=1)
            now = 50.0 + (index + 1) / 100
            line.write(pcm, now - 0.01)
            heard_from = heard_from or now + AHEAD
            parts.append(module.stream.call(report(AHEAD)))
        rate_of_device = float(sound.sample_rate)
    return np.concatenate(parts), rate_of_device, heard_from or 0.0


def _lateness(heard: np.ndarray, rate: float, start: float) -> float:
    """How late the sine is, s, within half a period."""
    at = start + np.arange(len(heard)) / rate - 50.0
    phase = np.angle(np.sum(heard * np.exp(-2j * np.pi * FREQUENCY * at)) * 1j)
    late = (-phase / (2 * np.pi * FREQUENCY) - DELAY) * FREQUENCY
    return float(DELAY + (late - np.round(late)) / FREQUENCY)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_sound_is_heard_one_delay_after_it_was_captured(
    mock: Callable[..., MockPortAudio], monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    line = DelayLine(rate, 1, DELAY)
    module = mock((44100, 48000))
    out, at_rate, start = _play(module, line, monkeypatch)
    assert module.opened["samplerate"] == at_rate == rate
    assert np.array_equal(out[:, 0], out[:, 1])  # mono on both sides
    settled = slice(rate, None)
    assert _lateness(out[settled, 0], rate, start + 1.0) == pytest.approx(DELAY, abs=0.0002)
    assert np.abs(out[settled]).max() == pytest.approx(0.5, abs=0.01)


def test_a_device_that_only_has_its_own_rate(
    mock: Callable[..., MockPortAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rate, start = _play(mock((48000,)), DelayLine(44100, 1, DELAY), monkeypatch)
    assert rate == 48000
    heard = out[48000:, 0]
    assert _lateness(heard, rate, start + 1.0) == pytest.approx(DELAY, abs=0.001)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    peak = np.argmax(spectrum)
    assert peak * rate / len(heard) == pytest.approx(FREQUENCY, abs=1)
    spectrum[peak - 4 : peak + 5] = 0
    assert spectrum.max() < 1e-3 * 0.25 * len(heard)  # no seam between blocks


@pytest.mark.parametrize(
    ("channels", "of_device", "left", "right"), [(2, 2, 0.5, 0.0), (2, 1, 0.25, None), (4, 2, 0.125, 0.125)]
)
def test_channels(
    mock: Callable[..., MockPortAudio],
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
    of_device: int,
    left: float,
    right: float | None,
) -> None:
    out, rate, _ = _play(mock((48000,), channels=of_device), DelayLine(48000, channels, DELAY), monkeypatch)
    peaks = np.abs(out[int(rate) :]).max(axis=0)
    assert peaks == pytest.approx([left] if right is None else [left, right], abs=0.01)


@pytest.mark.parametrize("nonsense", [0.0 - 1000, 5.0, float("nan")])
def test_a_driver_that_does_not_tell_the_time(
    mock: Callable[..., MockPortAudio], monkeypatch: pytest.MonkeyPatch, nonsense: float
) -> None:
    out, rate, start = _play(mock(), DelayLine(48000, 1, DELAY), monkeypatch, report=lambda ahead: nonsense)
    assert _lateness(out[48000:, 0], rate, start + 1.0) == pytest.approx(DELAY, abs=0.0002)


def test_instants_that_jitter_are_not_heard(
    mock: Callable[..., MockPortAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    jitter = np.random.default_rng(0)
    out, rate, start = _play(
        mock(), DelayLine(48000, 1, DELAY), monkeypatch, 10.0, report=lambda ahead: ahead + jitter.uniform(-0.01, 0.01)
    )
    heard = out[48000:, 0].astype(float)
    assert _lateness(heard, rate, start + 1.0) == pytest.approx(DELAY, abs=0.0008)
    rest = heard[2:] + heard[:-2] - 2 * np.cos(2 * np.pi * FREQUENCY / rate) * heard[1:-1]
    assert np.abs(rest).max() < 1e-3  # a click of 0.2 % of full scale would show


def test_the_time_that_python_takes_to_come_round_does_not_count(
    mock: Callable[..., MockPortAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = DelayLine(48000, 1, DELAY)
    read_at: list[float] = []
    monkeypatch.setattr(line, "read", lambda count, at: (read_at.append(at), np.zeros(count, np.float32))[1])
    module = mock()
    monkeypatch.setattr(time, "monotonic", lambda: 70.0)
    with DelayedAudio(line, 3):
        assert module.stream is not None
        module.stream.call(AHEAD, called_late=0.03)
    assert read_at == [pytest.approx(70.0 + AHEAD)]


def test_underruns_count_from_the_first_sound_on(mock: Callable[..., MockPortAudio]) -> None:
    module, line = mock(), DelayLine(48000, 1, DELAY)
    with DelayedAudio(line, 3) as sound:
        assert module.stream is not None
        module.stream.call(AHEAD, underflow=True)
        assert sound.underruns == 0
        line.write(np.zeros(480), time.monotonic())
        for underflow in (True, False, True):
            module.stream.call(AHEAD, underflow=underflow)
        assert sound.figures["audio_underruns"] == sound.underruns == 2
        assert sound.figures["audio_delay_ms"] == pytest.approx(1000 * DELAY + sound.figures["audio_offset_ms"])


def test_a_device_that_goes_away(mock: Callable[..., MockPortAudio]) -> None:
    module = mock()
    with DelayedAudio(DelayLine(48000, 1), "cable") as sound:
        sound.check()
        module.opened["finished_callback"]()
        with pytest.raises(DeviceError, match=r"^sound output 'Mock Cable Input' went away; .* start anew$"):
            sound.check()
    assert module.stream is not None
    assert module.stream.closed


def test_a_device_that_does_not_open(mock: Callable[..., MockPortAudio]) -> None:
    mock(())
    with pytest.raises(DeviceError, match=r"'Mock Cable Input' does not open \(Invalid .*streamhead devices") as caught:
        DelayedAudio(DelayLine(48000, 1), "cable").__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a cable of this name is nowhere", "4711", 4711])
def test_a_missing_device_names_the_command_that_lists_them(name: str | int) -> None:
    with pytest.raises(DeviceError, match=r"streamhead devices.*streamhead doctor|PortAudio is missing") as caught:
        DelayedAudio(DelayLine(48000, 1), name)
    assert "\n" not in str(caught.value)
