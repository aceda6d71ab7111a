"""The voice beside a virtual camera: sound played into a device, a virtual cable as a rule, as late as the picture."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from streamhead.audio.portaudio import find, portaudio, pulse, pulse_sinks
from streamhead.errors import DeviceError
from streamhead.stream.delay_line import DelayLine

__all__ = ["DelayedAudio"]

BLOCKS: Final = 100
"""Callbacks a second."""
LATENCY: Final = 0.04
"""Seconds of sound that wait in the device: enough that it does not stumble, and in time, for the delay is longer."""
FARTHEST: Final = 1.0
"""A driver that says a block will be heard later than this, or was already, does not tell the time."""


class DelayedAudio:
    """A sound output that plays a delay line, from :meth:`start` to leaving the context.

    Every sample is read for the instant at which it will be heard. The device is opened at the line's rate, or at its
    own if that fails; mono is played on both sides of a stereo device.

    Args:
        line: what to play; read in PortAudio's thread.
        name: part of a device's name, or its number, as ``streamhead devices`` shows them; on Linux a sink of
            PulseAudio or PipeWire, too.

    Raises:
        DeviceError: no such device, or it does not open (on entering), or not start.
    """

    def __init__(self, line: DelayLine, name: str | int) -> None:
        self.line = line
        self.underruns = 0
        """Times the device ran out of sound, since there was any."""
        self._sounddevice = portaudio()
        self._pulse = {"PULSE_LATENCY_MSEC": str(round(1000 * LATENCY))}
        device = find(self._sounddevice, name, "output")
        if device is None and not str(name).isdecimal():
            device = self._find_sink(str(name))
        if device is None:
            raise DeviceError(
                f"no sound output called {str(name)!r}; `streamhead devices` lists them, "
                "`streamhead doctor` tells how to make a cable"
            )
        self.name: str = self._pulse.get("PULSE_SINK", device["name"])
        self.sample_rate = line.sample_rate
        """Of the device, Hz."""
        self.channels = min(2, device["max_output_channels"])
        self._layout = "mono" if self.channels == 1 else "stereo"
        self._device = device
        self._stream: Any = None
        self._resampler: Any = None
        self._waiting = np.zeros((0, self.channels), np.float32)  # resampled and not played yet
        self._gone = False

    def _find_sink(self, name: str) -> Any:
        """PortAudio's device for a sink of PulseAudio, all of which stand behind one."""
        sinks = [sink.name for sink in pulse_sinks() if name.casefold() in sink.name.casefold()]
        if not sinks:
            return None
        self._pulse["PULSE_SINK"] = min(sinks, key=lambda sink: sink.casefold() != name.casefold())
        device = find(self._sounddevice, "pulse", "output")
        if device is None:
            raise DeviceError(
                f"ALSA does not know the way to {name!r}; install it: sudo apt-get install libasound2-plugins"
            )
        return device

    def __enter__(self) -> Self:
        reason = ""
        for rate in dict.fromkeys((self.line.sample_rate, round(self._device["default_samplerate"]))):
            try:
                self._open(rate)
            except (self._sounddevice.PortAudioError, ValueError) as error:
                reason = str(error)
            else:
                return self
        raise self._unusable("open", reason)

    def _open(self, rate: int) -> None:
        self.sample_rate = rate
        if rate != self.line.sample_rate:
            self._resampler = AudioResampler("fltp", self._layout, rate)
        with pulse(self._pulse):
            self._stream = self._sounddevice.OutputStream(
                device=self._device["index"],
                samplerate=rate,
                channels=self.channels,
                blocksize=rate // BLOCKS,
                dtype="float32",
                latency=LATENCY,
                callback=self._play,
                finished_callback=self._finished,
            )

    def _unusable(self, what: str, reason: str) -> DeviceError:
        return DeviceError(
            f"sound output {self.name!r} does not {what} ({' '.join(reason.split())}); "
            "choose another of `streamhead devices`"
        )

    def start(self) -> None:
        """Begin to play. Apart from opening it, for a program that is busy loading lets a device run dry.

        Raises:
            DeviceError: it does not start.
        """
        try:
            with pulse(self._pulse):
                self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise self._unusable("start", str(error)) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)
            self._stream = None

    @property
    def figures(self) -> dict[str, float]:
        """For people and reports: the delay that the sound has now, how far that is from the one wished for, stumbles.

        Keys ``audio_delay_ms``, ``audio_offset_ms`` and ``audio_underruns``.
        """
        offset = self.line.offset_ms
        return {
            "audio_delay_ms": round(1000 * self.line.delay + offset, 2),
            "audio_offset_ms": round(offset, 2),
            "audio_underruns": self.underruns,
        }

    def check(self) -> None:
        """See whether the device still plays.

        Raises:
            DeviceError: it went away.
        """
        if self._gone:
            raise DeviceError(f"sound output {self.name!r} went away; see that it is there and start anew")

    def _finished(self) -> None:
        self._gone = True

    def _play(self, out: NDArray[np.float32], count: int, clock: Any, status: Any) -> None:
        # In PortAudio's own thread. Its clock has an origin of its own, and some time may have passed since the call.
        ahead = clock.outputBufferDacTime - self._stream.time
        at = time.monotonic() + (ahead if 0 <= ahead < FARTHEST else self._stream.latency)
        self.underruns += bool(status.output_underflow) and not self.line.empty
        out[:] = self._spread(self.line.read(count, at)) if self._resampler is None else self._resampled(count, at)

    def _spread(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n,)`` or ``(n, any)`` -> ``(n, channels)``, or ``(n, 1)``, which goes to all of them."""
        if sound.ndim == 1:
            return sound[:, None]
        return sound if sound.shape[1] == self.channels else sound.mean(axis=1, keepdims=True)

    def _resampled(self, count: int, at: float) -> NDArray[np.float32]:
        """``(count, channels)`` at the device's rate."""
        source = self.line.sample_rate
        while len(self._waiting) < count:
            sound = self._spread(self.line.read(source // BLOCKS, at + len(self._waiting) / self.sample_rate))
            planes = np.ascontiguousarray(np.broadcast_to(sound, (len(sound), self.channels)).T)
            frame = AudioFrame.from_ndarray(planes, "fltp", self._layout)
            frame.sample_rate = source
            self._waiting = np.concatenate(
                (self._waiting, *(part.to_ndarray().T for part in self._resampler.resample(frame)))
            )
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return out
