"""Resampling: any rate, any cut, the same bits; delay taken off; goes on in another process. And sound of any type."""

from __future__ import annotations

import subprocess
import sys
from math import gcd
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import speech

from streamhead.audio.resample import StreamResampler, as_float, as_float_mono, resample
from streamhead.errors import AudioError
from streamhead.timebase import SAMPLE_RATE

RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]
ODD_RATES = [6000, 12345, 47999, 88200, 192_000]
EXACT_PHASES = 1024  # libswresample interpolates between filter phases where a ratio needs more
each_rate = pytest.mark.parametrize("rate", RATES + ODD_RATES)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def in_pieces(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(samples[at : at + size])
        at += size
    return [*pieces, samples[at:]]


@each_rate
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_same_bits_however_the_stream_is_cut(rate: int, data: st.DataObject) -> None:
    samples = noise(rate + data.draw(st.integers(0, 999)))
    few = st.lists(st.integers(1, rate), max_size=5)
    many = st.lists(st.integers(1, 40), max_size=60)
    sizes = data.draw(many) + data.draw(few) + data.draw(many)
    moves = data.draw(st.sets(st.integers(0, len(sizes)), max_size=3))
    stream, out = StreamResampler(rate), []
    for number, piece in enumerate(in_pieces(samples, sizes)):
        if number in moves:
            stream = StreamResampler.restore(stream.snapshot())
        out.append(stream.push(piece))
    out.append(stream.flush())
    whole = resample(samples, rate)
    if SAMPLE_RATE // gcd(rate, SAMPLE_RATE) <= EXACT_PHASES:
        assert np.array_equal(np.concatenate(out), whole)
    else:
        np.testing.assert_allclose(np.concatenate(out), whole, rtol=0, atol=1e-6)


@each_rate
def test_length_and_time_are_exact(rate: int) -> None:
    for count in (1, 2, 17, rate // 3, rate):
        assert len(resample(noise(count), rate)) == round(count * SAMPLE_RATE / rate)
    t_in, t_out = np.arange(rate) / rate, np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for frequency in (100.0, 1000.0, 2500.0):
        out = resample(np.sin(2 * np.pi * frequency * t_in).astype(np.float32), rate)
        error = out - np.sin(2 * np.pi * frequency * t_out)
        assert np.abs(error[800:-800]).max() < 2e-3  # a delay of one sample would make .04 at the lowest frequency


@each_rate
def test_out_comes_within_5_ms(rate: int) -> None:
    stream, given_out, worst = StreamResampler(rate), 0, 0.0
    piece = max(1, rate // 1000)
    for number in range(1, 300):
        given_out += len(stream.push(noise(piece, number)))
        worst = max(worst, number * piece / rate - given_out / SAMPLE_RATE)
    assert worst < (0.005 if rate >= 8000 else 0.008)


def test_above_the_new_nyquist_nothing_is_left() -> None:
    t = np.arange(48_000) / 48_000
    out = resample(np.sin(2 * np.pi * 11_000.0 * t).astype(np.float32), 48_000)
    assert np.abs(out[200:-200]).max() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_a_snapshot_is_small(rate: int) -> None:
    stream = StreamResampler(rate)
    sizes = []
    for number in range(50):
        stream.push(noise(rate // 37 + number))
        sizes.append(len(stream.snapshot()))
    assert max(sizes) < 10_000


@pytest.mark.parametrize("rate", [11025, 44100, 48000])
def test_a_snapshot_goes_on_in_another_process(rate: int, tmp_path: Path) -> None:
    samples = speech(1.0, rate)
    cut = rate // 2 + 37
    stream = StreamResampler(rate)
    before = stream.push(samples[:cut])
    (tmp_path / "state").write_bytes(stream.snapshot())
    np.save(tmp_path / "rest.npy", samples[cut:])
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from streamhead.audio.resample import StreamResampler\n"
        "folder = Path(sys.argv[1]); stream = StreamResampler.restore((folder / 'state').read_bytes())\n"
        "rest = np.load(folder / 'rest.npy')\n"
        "out = [stream.push(rest[:100]), stream.push(rest[100:]), stream.flush()]\n"
        "np.save(folder / 'out.npy', np.concatenate(out))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=Path(__file__).parents[1])
    after = np.load(tmp_path / "out.npy")
    assert np.array_equal(np.concatenate((before, after)), resample(samples, rate))


def test_no_snapshot_of_something_else() -> None:
    for data in (b"", b"something else", b"x" * 100):
        with pytest.raises(AudioError, match="take a new one"):
            StreamResampler.restore(data)


@pytest.mark.parametrize("rate", [0, -16_000, 10, 44_100.5, 10_000_000])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(AudioError, match="between 1000 and 768000"):
        StreamResampler(rate)
    with pytest.raises(AudioError, match="between 1000 and 768000"):
        resample(noise(100), rate)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.float32, [0.0, -0.5, 1.0], [0.0, -0.5, 1.0]),
        (np.float64, [0.0, -0.5, 1.7], [0.0, -0.5, 1.7]),
        (np.int16, [0, -32768, 16384], [0.0, -1.0, 0.5]),
        (np.int32, [0, -(2**31), 2**30], [0.0, -1.0, 0.5]),
        (np.uint8, [128, 0, 192], [0.0, -1.0, 0.5]),
    ],
)
def test_usual_types_become_float(dtype: type, values: list[float], expected: list[float]) -> None:
    samples = as_float(np.array(values, dtype))
    assert samples.dtype == np.float32
    assert np.array_equal(samples, np.array(expected, np.float32))
    stereo = np.stack([np.array(values, dtype)] * 2, axis=1)
    assert as_float(stereo).shape == (3, 2)
    assert np.array_equal(as_float_mono(stereo), samples)


def test_stereo_is_averaged() -> None:
    assert np.array_equal(as_float_mono(np.array([[0.5, -0.5], [1.0, 0.0]])), np.array([0.0, 0.5], np.float32))


def test_clipped_sound_is_used() -> None:
    clipped = np.clip(noise(1000) * 50, -1, 1)
    assert np.array_equal(as_float(clipped), clipped)


@pytest.mark.parametrize(
    ("pcm", "mend"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros((0, 2), np.float32), "at least one sample"),
        (np.float32(0.5), "(samples,) or (samples, channels)"),
        (np.zeros((2, 3, 4), np.float32), "(samples,) or (samples, channels)"),
        (np.zeros((2, 16_000), np.float32), "transposed"),
        (np.array([0.0, np.nan], np.float32), "nan_to_num"),
        (np.array([0.0, -np.inf]), "nan_to_num"),
        (np.array([0.0, 12_000.0]), "int16"),
        (np.zeros(10, np.complex64), "give float32"),
        (np.zeros(10, np.int64), "give float32"),
        (np.array(["a", "b"]), "give float32"),
    ],
)
def test_unusable_sound_is_refused_with_its_mend(pcm: np.ndarray, mend: str) -> None:
    for convert in (as_float, as_float_mono):
        with pytest.raises(AudioError) as caught:
            convert(pcm)
        assert mend in str(caught.value)
        assert "\n" not in str(caught.value)
