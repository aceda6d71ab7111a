"""Features of sound: the paper's MFCC patches and the ``call`` preset's log-mel bands with energy.

One row every 10 ms from a 25 ms window. A live stream computes four new rows from each 640 samples, always with the
same shapes, so that nothing depends on how the sound was cut; :func:`extract` runs the same code over a whole clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from streamhead.timebase import HOP, SAMPLE_RATE

__all__ = ["ROWS_PER_FRAME", "FeatureExtractor", "FeatureSpec", "FeatureState", "extract", "feature_spec", "patches"]

Samples = NDArray[np.float32]
Rows = NDArray[np.float32]
Reals = NDArray[np.float64]

WINDOW: Final = 400
STRIDE: Final = 160
NFFT: Final = 512
ROWS_PER_FRAME: Final = HOP // STRIDE
FLOOR: Final = 1e-8
"""Power added before the logarithm of log-mel rows; -80 dB of full scale a band."""
MEL_BANDS: Final = 40
MEL_RANGE: Final = (60.0, 7600.0)
MFCC_FILTERS: Final = 26
MFCC_LIFTER: Final = 22
PRE_EMPHASIS: Final = 0.97


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Which features, and which of them belong to a video frame.

    Row ``i`` of a stream covers samples ``[start + 160 i, start + 160 i + 400)``, zeros outside it; the patch of frame
    ``t`` is rows ``4 t + first_row .. 4 t + first_row + rows - 1``.

    Attributes:
        kind: ``log-mel`` (40 bands and energy, natural logarithms) or ``mfcc`` (paper section 3.1: c1..c12).
        rows: rows of a patch.
        first_row: of frame 0's patch.
        start: first sample of row 0.
        dims: values a row.
        look_ahead: frames of sound after its own that a frame's patch needs.
    """

    kind: Literal["log-mel", "mfcc"]
    rows: int
    first_row: int
    start: int
    dims: int
    look_ahead: int

    def silence_row(self) -> Rows:
        """``(dims,)``: the row of digital silence."""
        return np.full(self.dims, np.log(FLOOR) if self.kind == "log-mel" else 0.0, np.float32)

    def silence_patch(self) -> Rows:
        """``(rows, dims)``: the patch of digital silence."""
        return np.tile(self.silence_row(), (self.rows, 1))

    def amplify(self, rows: Rows, offset: float) -> Rows:
        """Rows of the same sound made louder.

        Exact: silence stays silence and what lay under the floor comes up from it. MFCC without c0 know no loudness and
        come back as they are.

        Args:
            rows: ``(..., dims)``.
            offset: natural logarithm of the power gain, ``2 ln(gain)``.
        """
        if self.kind == "mfcc":
            return rows
        silence = np.exp(self.silence_row().astype(np.float64))
        power = np.maximum(np.exp(rows.astype(np.float64)) - silence, 0.0)
        return np.asarray(np.log(power * np.exp(offset) + FLOOR), np.float32)


def feature_spec(kind: Literal["log-mel", "mfcc"], look_ahead: int) -> FeatureSpec:
    """The features of a preset.

    Args:
        kind: ``log-mel``: 120 ms before the frame's end and the look-ahead after it. ``mfcc``: the paper's 28 rows,
            which end 132 ms after the frame does.
        look_ahead: frames; ``mfcc`` needs four.

    Raises:
        ValueError: a look-ahead the features cannot have.
    """
    if kind == "log-mel":
        if look_ahead < 0:
            raise ValueError(f"look-ahead of {look_ahead} frames; log-mel takes 0 or more")
        return FeatureSpec(kind, 4 * (3 + look_ahead), -8, -240, MEL_BANDS + 1, look_ahead)
    if look_ahead != 4:
        raise ValueError(f"look-ahead of {look_ahead} frames; the paper's MFCC patch needs 4")
    return FeatureSpec(kind, 28, 0, -1965, 12, look_ahead)


def _mel(hertz: Reals | float) -> Reals:
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


def _hertz(mel: Reals) -> Reals:
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))


@lru_cache(maxsize=2)
def _hann() -> Reals:
    """Hann window scaled so that the one-sided power spectrum sums to the windowed mean square."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    return np.asarray(window / np.sqrt((window**2).sum() * NFFT / 2))


@lru_cache(maxsize=64)
def _mel_bank(vtln: float) -> Reals:
    """``(257, 41)``: triangles that share each bin's power among neighbouring bands; the last column takes it all."""
    bins = np.arange(NFFT // 2 + 1) * (SAMPLE_RATE / NFFT)
    # Piecewise linear, so that zero and the Nyquist frequency stay where they are (as HTK's and Kaldi's VTLN).
    knee = 7000.0 / max(vtln, 1.0)
    bins = np.interp(bins, [0.0, knee, SAMPLE_RATE / 2], [0.0, knee * vtln, SAMPLE_RATE / 2])
    low, high = _mel(MEL_RANGE[0]), _mel(MEL_RANGE[1])
    place = (_mel(bins) - low) / (high - low) * (MEL_BANDS + 1)
    triangles = np.maximum(1.0 - np.abs(place[:, None] - np.arange(1, MEL_BANDS + 1)), 0.0)
    return np.concatenate((triangles, np.ones((len(bins), 1))), axis=1)


@lru_cache(maxsize=64)
def _paper_bank(vtln: float) -> Reals:
    """``(257, 26)``: the triangles of python_speech_features, with corners on whole bins."""
    mels = np.linspace(0.0, float(_mel(SAMPLE_RATE / 2)), MFCC_FILTERS + 2)
    corners = np.floor((NFFT + 1) * _hertz(mels) / SAMPLE_RATE)
    bins = np.arange(NFFT // 2 + 1, dtype=np.float64)
    knee = 0.875 * bins[-1] / max(vtln, 1.0)
    bins = np.interp(bins, [0.0, knee, bins[-1]], [0.0, knee * vtln, bins[-1]])
    left, peak, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - left) / (peak - left)
    falling = (right - bins[:, None]) / (right - peak)
    bank = np.clip(np.minimum(rising, falling), 0.0, None)
    return np.asarray(bank)


@lru_cache(maxsize=1)
def _cepstra() -> Reals:
    """``(26, 12)``: the orthonormal DCT-II's c1..c12, liftered."""
    order = np.arange(1, 13)
    dct = np.cos(np.pi / MFCC_FILTERS * (np.arange(MFCC_FILTERS)[:, None] + 0.5) * order) * np.sqrt(2 / MFCC_FILTERS)
    return np.asarray(dct * (1.0 + MFCC_LIFTER / 2 * np.sin(np.pi * order / MFCC_LIFTER)))


def _margin(spec: FeatureSpec) -> int:
    """Samples before its window that a row needs (pre-emphasis)."""
    return 1 if spec.kind == "mfcc" else 0


def _rows(windows: NDArray[np.floating], spec: FeatureSpec, vtln: float) -> Rows:
    """Windows ``(n, margin + 400)`` -> rows ``(n, dims)``. In float64: rows must not depend on how many there are."""
    x = windows.astype(np.float64)
    if spec.kind == "log-mel":
        # A microphone's constant offset is no sound. No pre-emphasis: on log bands it is a constant.
        x -= x.mean(axis=1, keepdims=True)
        spectrum = np.fft.rfft(x * _hann(), NFFT, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log(power @ _mel_bank(vtln) + FLOOR).astype(np.float32)
    x = x[:, 1:] - PRE_EMPHASIS * x[:, :-1]
    spectrum = np.fft.rfft(x, NFFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) / NFFT
    bands = power @ _paper_bank(vtln)
    logs = np.log(np.where(bands == 0.0, np.finfo(np.float64).eps, bands))
    # c1..c12 know no common offset; taking one band off first makes silence exactly zero.
    return ((logs - logs[:, :1]) @ _cepstra()).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureState:
    """What a stream of features remembers.

    Attributes:
        tail: the samples before the next hop that rows to come still need, float32.
        rows: ``(history, dims)``: the last rows; from the first one of the next ready frame's patch on.
    """

    tail: Samples
    rows: Rows


class FeatureExtractor:
    """The streaming kernel: 640 new samples -> four new rows, always with the same shapes. Holds no state."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        # The last row that is complete after hop h is 4 h + newest.
        newest = (HOP - WINDOW - spec.start) // STRIDE
        self._history = newest - spec.first_row + ROWS_PER_FRAME * spec.look_ahead + 1
        oldest_start = spec.start + STRIDE * (newest - ROWS_PER_FRAME + 1) - _margin(spec)
        self._tail = -oldest_start

    def init_state(self) -> FeatureState:
        """The state before the first sample: silence for ever."""
        return FeatureState(np.zeros(self._tail, np.float32), np.tile(self.spec.silence_row(), (self._history, 1)))

    def step(self, hop: Samples, state: FeatureState) -> tuple[Rows, FeatureState]:
        """Take the next 640 samples.

        Args:
            hop: ``(640,)`` float32.
            state: from :meth:`init_state` or the step before.

        Returns:
            The four new rows ``(4, dims)`` and the state after them. From hop number ``look_ahead`` on (counting from
            0), :meth:`patch` of that state is the patch of frame ``hop number - look_ahead``.
        """
        samples = np.concatenate((state.tail, hop))
        width = WINDOW + _margin(self.spec)
        windows = np.lib.stride_tricks.sliding_window_view(samples, width)[::STRIDE][:ROWS_PER_FRAME]
        new = _rows(windows, self.spec, 1.0)
        return new, FeatureState(samples[HOP:], np.concatenate((state.rows[ROWS_PER_FRAME:], new)))

    def patch(self, state: FeatureState) -> Rows:
        """``(rows, dims)``: the patch of the frame that has just become ready."""
        return state.rows[: self.spec.rows]


def extract(samples: Samples, spec: FeatureSpec, *, vtln: float = 1.0, tempo: float = 1.0) -> Rows:
    """All rows of a clip at once, for training.

    Args:
        samples: ``(n,)`` float32 at 16 kHz.
        spec: which features.
        vtln: move formants by this factor (vocal tract length), by reading the spectrum along a warped axis; 0.5 to 2.
        tempo: ``samples`` is the clip resampled to ``tempo`` times its length, which has moved pitch and formants. Rows
            are then taken where the clip's moments have gone, row ``i``'s centre at ``tempo`` times its old place, with
            windows as long as ever; so row and patch numbers still count the clip's own time.

    Returns:
        ``(4 (frames - 1) + spec.rows, dims)``: rows from ``spec.first_row`` on, for the ``ceil(n / tempo / 640)``
        frames that the clip has begun. Equal to the streamed rows to 1e-5.

    Raises:
        ValueError: ``vtln`` or ``tempo`` out of bounds.
    """
    if not (0.5 <= vtln <= 2.0 and 0.25 <= tempo <= 4.0):
        raise ValueError(f"vtln {vtln} must lie in 0.5..2 and tempo {tempo} in 0.25..4")
    frames = -(-round(len(samples) / tempo) // HOP)
    if not frames:
        return np.zeros((0, spec.dims), np.float32)
    number = spec.first_row + np.arange(ROWS_PER_FRAME * (frames - 1) + spec.rows)
    centres = spec.start + STRIDE * number + WINDOW // 2
    starts = np.rint(centres * tempo).astype(np.int64) - WINDOW // 2 - _margin(spec)
    width = WINDOW + _margin(spec)
    before = max(-int(starts[0]), 0)
    after = max(int(starts[-1]) + width - len(samples), 0)
    padded = np.pad(np.asarray(samples, np.float32), (before, after))
    return _rows(np.lib.stride_tricks.sliding_window_view(padded, width)[starts + before], spec, vtln)


def patches(rows: Rows, spec: FeatureSpec, t0: int, t1: int) -> Rows:
    """Patches of frames ``t0 .. t1 - 1``.

    Args:
        rows: from :func:`extract`.
        spec: the same.
        t0: first frame.
        t1: the frame after the last one.

    Returns:
        ``(t1 - t0, rows, dims)`` float32.

    Raises:
        ValueError: frames the rows do not cover.
    """
    last = ROWS_PER_FRAME * (t1 - 1) + spec.rows
    if not 0 <= t0 < t1 or last > len(rows):
        raise ValueError(f"frames {t0}..{t1} are not within the {len(rows)} rows given")
    index = ROWS_PER_FRAME * np.arange(t0, t1)[:, None] + np.arange(spec.rows)
    return np.asarray(rows[index])
