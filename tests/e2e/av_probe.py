"""An instrument for the offset between picture and sound at a WebRTC receiver: Chromium reads both.

The picture carries the number of its frame in black and white cells; the sound carries short tones. The browser notes
when each number is shown (requestVideoFrameCallback's expectedDisplayTime) and when each tone begins to be heard (its
sample's place in an AudioContext, put on the same clock by getOutputTimestamp, which counts the output's latency in).
What an AudioContext's inlet adds to the way that a <video>'s sound takes is measured beside it, with a local track that
carries tones of known place, and taken off. What is left of the instrument's own error is seen with two plain tracks
that are sent in step (test_av_offset.py): read a figure against theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame
from playwright.async_api import Page, Route

from streamhead.timebase import FPS

__all__ = [
    "ADDED",
    "Alternating",
    "Observed",
    "connect",
    "observe",
    "open_probe",
    "paint",
    "read",
    "tone_onsets",
    "tones",
]

BITS, CELL = 16, 40  # cells in one row from the top left corner, pixels each
RATE = 48_000
TONE = 0.03  # s
ADDED = 5  # blocks of 20 ms by which :class:`Alternating` makes tones late
LOUD = 0.05  # of full scale; the tones have ten times as much

_PAGE = """<!doctype html><title>probe</title><video id="head" muted playsinline></video>"""

_WORKLET = """
class Onsets extends AudioWorkletProcessor {
  quiet = 0;

  process([input]) {
    const samples = input[0];
    if (samples) samples.forEach((value, i) => {
      if (Math.abs(value) < LOUD) { this.quiet += 1; return; }
      if (this.quiet > 0.2 * sampleRate) this.port.postMessage((currentFrame + i) / sampleRate);
      this.quiet = 0;
    });
    return true;
  }
}
registerProcessor('onsets', Onsets);
""".replace("LOUD", str(LOUD))

_OFFER = """async (worklet) => {
  const pc = window.pc = new RTCPeerConnection();
  pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.addTransceiver('video', { direction: 'recvonly' });
  const video = document.getElementById('head');
  const stream = new MediaStream();
  const context = window.context = new AudioContext({ latencyHint: 'interactive', sampleRate: 48000 });
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], { type: 'text/javascript' })));
  window.shown = []; window.heard = [];
  pc.ontrack = ({ track }) => {
    stream.addTrack(track);
    video.srcObject = stream; // Chromium decodes sound only for an element that plays it
    video.play().catch(() => {}); // the second track interrupts the first's
    if (track.kind !== 'audio') return;
    const node = new AudioWorkletNode(context, 'onsets');
    node.port.onmessage = ({ data }) => {
      const { contextTime, performanceTime } = context.getOutputTimestamp();
      window.heard.push(performanceTime / 1000 + data - contextTime);
    };
    context.createMediaStreamSource(new MediaStream([track])).connect(node).connect(context.destination);
  };
  const local = context.createMediaStreamDestination();
  const back = new AudioWorkletNode(context, 'onsets');
  window.sent = []; window.back = [];
  back.port.onmessage = ({ data }) => window.back.push(data);
  context.createMediaStreamSource(local.stream).connect(back);
  for (let i = 0; i < 5; i += 1) {
    const tone = new OscillatorNode(context, { frequency: 2000 });
    const at = context.currentTime + 1 + 0.5 * i;
    tone.connect(local);
    tone.start(at);
    tone.stop(at + 0.03);
    window.sent.push(at);
  }
  const [bits, cell] = [BITS, CELL];
  const canvas = new OffscreenCanvas(bits * cell, cell);
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const look = (now, { expectedDisplayTime }) => {
    pen.drawImage(video, 0, 0, bits * cell, cell, 0, 0, bits * cell, cell);
    const { data } = pen.getImageData(0, cell / 2, bits * cell, 1);
    let number = 0;
    for (let bit = 0; bit < bits; bit += 1) number = 2 * number + (data[4 * (bit + 0.5) * cell] > 127);
    window.shown.push([number, expectedDisplayTime / 1000]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  await pc.setLocalDescription();
  await new Promise((done) => {
    if (pc.iceGatheringState === 'complete') done();
    pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
  });
  return pc.localDescription.sdp;
}""".replace("BITS", str(BITS)).replace("CELL", str(CELL))

_OBSERVED = """async () => {
  const inbound = [...(await window.pc.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
  const [audio, video] = ['audio', 'video'].map((kind) => inbound.find((entry) => entry.kind === kind));
  return { shown: window.shown, heard: window.heard, sent: window.sent, back: window.back,
    latency: window.context.outputLatency,
    estimate: audio.estimatedPlayoutTimestamp - video.estimatedPlayoutTimestamp };
}"""


def paint(image: np.ndarray, number: int) -> None:
    """Write a frame's number into the top of ``(height, width, 3)`` uint8, in place."""
    for bit in range(BITS):
        image[:CELL, bit * CELL : (bit + 1) * CELL] = 255 if number >> (BITS - 1 - bit) & 1 else 0


def read(grey: np.ndarray) -> int:
    """The number in ``(height, width)`` luma of which every fourth row and column was kept."""
    cells = grey[CELL // 8, CELL // 8 :: CELL // 4][:BITS] > 127
    return int("".join(map(str, cells.astype(int))), 2)


def tones(seconds: float, seed: int = 0) -> np.ndarray:
    """``(n,)`` float32 at 48 kHz: 2 kHz tones, 0.6 to 1.2 s apart, so that their spacing tells which is which."""
    sound = np.zeros(int(seconds * RATE), np.float32)
    tone = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(int(TONE * RATE)) / RATE)
    at, spacing = 0.5, np.random.default_rng(seed)
    while at < seconds - TONE:
        start = int(at * RATE)
        sound[start : start + len(tone)] = tone
        at += spacing.uniform(0.6, 1.2)
    return sound


def tone_onsets(sound: np.ndarray, before: float = 1.0) -> list[int]:
    """Where tones begin in ``(n,)``: loud samples after 0.2 s of quiet; ``before`` is the quiet ahead of it, s."""
    onsets, last = [], -int(before * RATE)
    for place in np.flatnonzero(np.abs(sound) >= LOUD):
        if place - last > 0.2 * RATE:
            onsets.append(int(place))
        last = place
    return onsets


class Alternating(MediaStreamTrack):
    """A sound track whose every other tone is made late by a known time: its samples move, its timestamps do not.

    It changes over in the quiet after a tone. So the reading is proved while it is made, whatever the browser's own
    buffer does meanwhile.
    """

    kind = "audio"

    def __init__(self, track: MediaStreamTrack) -> None:
        super().__init__()
        self._passed: list[
            tuple[float, bool]
        ] = []  # of each tone: timestamp of its block, s, and whether it was made late
        self._track = track
        self._waiting: list[np.ndarray] = []
        self._delaying = False
        self._quiet = 0  # blocks since the last tone

    async def recv(self) -> AudioFrame:
        frame = await self._track.recv()
        assert isinstance(frame, AudioFrame)
        block = frame.to_ndarray()
        if np.abs(block).max() > 0.1 * np.iinfo(np.int16).max:
            if self._quiet > 5:
                self._passed.append((float(frame.pts * frame.time_base), self._delaying))
            self._quiet = 0
        else:
            self._quiet += 1
        if self._passed and self._quiet == 2 * ADDED:
            self._delaying = not self._delaying
            self._waiting = [np.zeros_like(block)] * ADDED if self._delaying else []
        self._waiting.append(block)
        moved = AudioFrame.from_ndarray(self._waiting.pop(0), frame.format.name, frame.layout.name)
        moved.pts, moved.time_base, moved.sample_rate = frame.pts, frame.time_base, frame.sample_rate
        return moved

    def late(self, onsets: np.ndarray) -> np.ndarray:
        """For each tone, 1 if it was made late, 0 if not, NaN if it did not pass: a busy machine leaves some out.

        Args:
            onsets: ``(n,)`` where tones begin, s from any origin; their spacing tells which is which.
        """
        passed, late = np.array(self._passed, float).reshape(-1, 2).T
        apart = passed[:, None] - onsets
        shift = max(apart[:3].ravel(), key=lambda shift: np.count_nonzero(np.abs(apart - shift) < 0.2))
        found, tone = np.nonzero(np.abs(apart - shift) < 0.2)
        known = np.full(len(onsets), np.nan)
        known[tone] = late[found]
        return known


async def open_probe(page: Page) -> None:
    """Load the instrument, an empty page at an address where browsers allow an AudioWorklet."""

    async def blank(route: Route) -> None:
        await route.fulfill(body=_PAGE, content_type="text/html")

    await page.route("http://localhost/probe", blank)
    await page.goto("http://localhost/probe")


async def connect(page: Page, pc: RTCPeerConnection) -> None:
    """Let the page receive what was added to ``pc``."""
    await pc.setRemoteDescription(RTCSessionDescription(await page.evaluate(_OFFER, _WORKLET), "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    await page.evaluate("(sdp) => window.pc.setRemoteDescription({ type: 'answer', sdp })", pc.localDescription.sdp)


@dataclass(frozen=True)
class Observed:
    """What the browser saw and heard, on its own clock in seconds.

    Attributes:
        shown: ``(n, 2)``: frame number, when it is shown.
        heard: ``(m,)``: when tones begin to be heard.
        inlet: what was taken off ``heard``, s.
        latency: of the AudioContext's output, s.
        estimate_ms: the browser's own figure at the end, picture after sound.
    """

    shown: np.ndarray
    heard: np.ndarray
    inlet: float
    latency: float
    estimate_ms: float

    def offsets(self, onsets: np.ndarray) -> np.ndarray:
        """Picture after sound for each tone that was heard, ``(k, 2)``: number of the tone, and offset, s.

        Args:
            onsets: ``(n,)`` where tones begin, seconds of the stream's pts.
        """
        number, when = self.shown[np.concatenate(([True], np.diff(self.shown[:, 0]) != 0))].T
        # A tone's picture: that of the frame whose interval it begins in, as far into the interval.
        seen = onsets + np.interp(onsets, number / FPS, when - number / FPS)
        best = np.zeros((0, 2))
        for skipped in range(1 - len(self.heard), len(onsets)):  # the spacing tells which tone is which
            heard = self.heard[max(0, -skipped) :]
            tone = seen[max(0, skipped) :][: len(heard)]
            offset = tone - heard[: len(tone)]
            enough = len(offset) >= max(3, len(self.heard) // 2)
            if enough and (not len(best) or _spread(offset) < _spread(best[:, 1])):
                best = np.column_stack((max(0, skipped) + np.arange(len(offset)), offset))
        assert len(best), f"{len(self.heard)} of {len(onsets)} tones heard"
        return best


def _spread(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values))))


async def observe(page: Page) -> Observed:
    """What there is so far."""
    seen = await page.evaluate(_OBSERVED)
    inlet = float(np.median(np.subtract(seen["back"], seen["sent"][: len(seen["back"])])))
    return Observed(
        np.asarray(seen["shown"], float).reshape(-1, 2),
        np.asarray(seen["heard"], float) - inlet,
        inlet,
        seen["latency"],
        seen["estimate"],
    )
