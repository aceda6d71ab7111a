"""Life: bounded, without drift, blinks as people do, the same however a stream is cut, and nothing of it with still."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from heads import head
from sounds import speech

import streamhead
from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.face.letterbox import letterbox
from streamhead.face.pose import MAX_SHIFT
from streamhead.output.frame import Frame
from streamhead.stream.life import Life, LifeState
from streamhead.timebase import FPS, HOP

MINUTE = 60 * FPS
SIZE = (192, 128)


@cache
def _lived(seed: int, spoken: bool, minutes: int = 10) -> np.ndarray:
    """``(T, 6)``: roll, shift, turn, lids."""
    life, state, out = Life(seed), LifeState(), []
    for t in range(minutes * MINUTE):
        state = life.step(t, state, spoken)
        pose = life.pose(t, state)
        out.append((pose.roll, *pose.shift, *pose.turn, pose.lids))
    return np.array(out)


def _blinks(lids: np.ndarray) -> list[tuple[int, int]]:
    """First frame and number of frames of each run of closing lids."""
    edges = np.diff(np.concatenate(([0], (lids > 0.03).astype(int), [0])))
    return [(int(a), int(b - a)) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_head_never_wanders(seed: int) -> None:
    sway = _lived(seed, True)[:, :5]
    assert np.abs(sway[0]).max() < 1e-3  # begins as the portrait
    assert np.abs(sway).max() < 2.5
    assert 0.2 < sway[:, 0].std() < 0.7  # degrees
    assert np.abs(sway.mean(0)).max() < 0.2
    drift = sway[-2 * MINUTE :].mean(0) - sway[: 2 * MINUTE].mean(0)
    postures = 2 * 60 / 3.4  # independent ones in two minutes; three standard errors of a difference of means
    assert np.abs(drift).max() < 3 * np.sqrt(2 / postures) * sway.std(0).max()
    # The farthest point of a head is some 180 canonical pixels from the foot of its neck.
    reach = np.radians(np.abs(sway[:, 0])) * 180 + np.abs(sway[:, 1:3]).max(1) + np.abs(sway[:, 3:]).max(1)
    assert reach.max() < MAX_SHIFT
    assert np.abs(np.diff(sway, axis=0)).max() < 0.2  # smooth: a fifth of a canonical pixel a frame at most


def test_speech_is_livelier_than_silence() -> None:
    spoken, silent = (np.abs(np.diff(_lived(1, speaks)[:, :5], axis=0)).mean(0) for speaks in (True, False))
    assert (spoken > 1.5 * silent).all() and (silent > 0).all()


def test_blinks_come_as_peoples_do() -> None:
    rates = {}
    for spoken in (True, False):
        runs = [_blinks(_lived(seed, spoken)[:, 5]) for seed in (0, 1, 7)]
        rates[spoken] = np.mean([len(blinks) / 10 for blinks in runs])
        starts = [np.diff([start for start, _ in blinks]) / FPS for blinks in runs]
        between = np.concatenate(starts)
        assert between.min() >= 0.9 and between.std() > 0.4 * between.mean()  # apart, and irregular
        lengths = np.concatenate([[length for _, length in blinks] for blinks in runs]) / FPS
        assert lengths.min() >= 0.2 and lengths.max() <= 0.4 and lengths.mean() == pytest.approx(0.27, abs=0.05)
        for seed, blinks in zip((0, 1, 7), runs, strict=True):
            lids = _lived(seed, spoken)[:, 5]
            assert min(lids[a : a + n].max() for a, n in blinks[:-1]) > 0.85
    assert 15 <= rates[True] <= 20
    assert 6 <= rates[False] <= 0.75 * rates[True]


def test_seeds_live_differently() -> None:
    a, b = (_lived(seed, True)[:, :5] for seed in (0, 1))
    assert all(abs(np.corrcoef(a[:, part], b[:, part])[0, 1]) < 0.3 for part in range(5))


def _frames(cuts: list[int], sound: np.ndarray) -> list[Frame]:
    session, out, place, index = head().session(3, size=SIZE), [], 0, 0
    while place < len(sound):
        session.push(sound[place : place + cuts[index % len(cuts)]], 16000)
        out.extend(session.frames())
        place, index = place + cuts[index % len(cuts)], index + 1
    session.flush()
    return [*out, *session.frames()]


def test_streamed_or_rendered_the_same_bits() -> None:
    sound = speech(3.2, 16000)
    offline = list(head().render(sound, 16000, seed=3, size=SIZE))
    for cuts in ([160], [9999, 7, 640]):
        for one, two in zip(offline, _frames(cuts, sound), strict=True):
            assert np.array_equal(one.image, two.image), one.pts


@pytest.mark.parametrize("still", [False, True])
def test_a_snapshot_goes_on_bit_for_bit(still: bool) -> None:
    sound = np.concatenate((speech(2.0, 16000), np.zeros(16000, np.float32)))
    whole = list(head().render(sound, 16000, seed=3, size=SIZE, still=still))
    life, state, blink = Life(3), LifeState(), None
    for frame in whole:
        state = life.step(frame.pts // HOP, state, frame.speech)
        if state.blink == 1 and blink is None:
            blink = frame.pts // HOP
    middle = blink or 30  # in the middle of a blink, if there is one
    first = head().session(3, size=SIZE, still=still)
    first.push(sound[: HOP * (middle + 1 + first.look_ahead)], 16000)
    taken = list(first.frames())
    second = head().restore(first.snapshot())
    assert second.stage.still is still
    second.push(sound[HOP * (middle + 1 + first.look_ahead) :], 16000)
    second.flush()
    for expected, frame in zip(whole, [*taken, *second.frames()], strict=True):
        assert np.array_equal(expected.image, frame.image), frame.pts


async def test_late_frames_live_on_undrawn() -> None:
    sound = speech(2.0, 16000)
    expected = list(head().render(sound, 16000, seed=3, size=SIZE))
    session = head().session(3, size=SIZE)
    session.push(sound, 16000)
    for skip, number in ((4, 4), (11, 16), (20, 37)):
        frame = await session.step(skip)
        assert frame is not None and np.array_equal(frame.image, expected[number].image)


def test_still_is_still() -> None:
    """Outside the face's window every byte is the letterboxed portrait's; with life all but the border moves."""
    base = letterbox(head().portrait.image, SIZE).frame
    sound = speech(3.0, 16000)
    left = (SIZE[0] - SIZE[1]) // 2
    for frame in head().render(sound, 16000, seed=3, size=SIZE, still=True):
        outside = np.ones(SIZE[::-1], bool)
        outside[1:-1, left + 1 : left + SIZE[1] - 1] = False  # this portrait is its own square
        assert np.array_equal(frame.image[outside], base[outside])
    edges = np.ones(SIZE[::-1], bool)
    edges[1:-1, left + 1 : left + SIZE[1] - 1] = False
    for frame in head().render(sound, 16000, seed=3, size=SIZE):
        assert np.abs(frame.image[edges].astype(int) - base[edges]).max() <= 1


@pytest.mark.slow
def test_after_a_minute_of_talk_the_mouth_rests_where_it_rested_at_first() -> None:
    """By the shipped weights: half an hour is measured by scripts/measure_long_stream.py."""
    talker = streamhead.load(device="cpu")
    talk, rate = load_audio(default_speech())
    quiet = np.zeros((3 * rate, *talk.shape[1:]), np.float32)
    sound = np.concatenate((quiet, *(talk, quiet) * 5))
    frames = [frame.image for frame in talker.render(sound, rate, seed=4, view="face")]
    assert len(frames) > MINUTE
    first, last = (image[80:116, 38:90] for image in (frames[2 * FPS], frames[-1]))
    assert np.array_equal(first, last)
    assert any(not np.array_equal(first, image[80:116, 38:90]) for image in frames)


def test_the_bare_square_has_no_life() -> None:
    sound = speech(3.0, 16000)
    plain = head().render(sound, 16000, seed=3, view="face", still=True)
    for one, two in zip(plain, head().render(sound, 16000, seed=3, view="face"), strict=True):
        assert np.array_equal(one.image, two.image)
