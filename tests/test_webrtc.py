"""A talking head in a call between two real aiortc peers, over loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import numpy as np
import pytest
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack
from calls import RATE, Received, Voice, negotiate, two_peers
from heads import head
from sounds import speech

import streamhead
from streamhead.audio.microphone import PushSource
from streamhead.output.webrtc import QUEUE, TalkingHeadTrack, attach
from streamhead.stream.session import Session

SIZE = (320, 180)


def session(seed: int = 0) -> Session:
    return head().session(seed, size=SIZE)


async def until(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def loudness(sound: np.ndarray) -> np.ndarray:
    """Per 20 ms."""
    mono = sound.reshape(len(sound), -1)[:, 0].astype(float)
    return np.sqrt(np.mean(mono[: len(mono) // 960 * 960].reshape(-1, 960) ** 2, axis=1))


def lag(sent: np.ndarray, received: np.ndarray) -> tuple[float, float]:
    """By how many blocks of 20 ms ``received`` is behind, and how alike they are then: medians over pieces of 1.5 s.

    In pieces, for the delay follows what the machine can do.
    """
    found = []
    for start in range(50, min(len(received), len(sent)) - 75, 25):
        piece = received[start : start + 75]
        shifts = range(min(start, 40))
        alike = [float(np.corrcoef(sent[start - shift : start - shift + 75], piece)[0, 1]) for shift in shifts]
        found.append((int(np.argmax(alike)), max(alike)))
    shift, alike = np.median(found, axis=0)
    return float(shift), float(alike)


async def test_a_caller_speaks_and_gets_a_face_and_the_own_voice() -> None:
    voice = speech(4.0, RATE)
    async with two_peers() as (caller, answerer):
        caller.addTrack(Voice(voice))
        caller.addTransceiver("video", direction="recvonly")
        received = Received(caller)
        track = attach(answerer, session())
        await negotiate(caller, answerer)
        await until(lambda: len(received.video) > 80)  # sooner or later, whatever the machine is doing
        await until(lambda: len(received.audio) > 250)
        # Timestamps tell the pace.
        steps = np.diff([pts for _, pts, _ in received.video])
        assert np.all(steps > 0)
        assert np.median(steps / np.maximum(1, np.round(steps / 3600))) == pytest.approx(3600, abs=90)
        assert received.video[0][2].shape == (SIZE[1] // 4, SIZE[0] // 4)
        packets = np.diff([pts for _, pts, _ in received.audio]) / 960
        assert np.all(packets == packets.astype(int)) and np.all(packets > 0) and np.median(packets) == 1
        # The voice comes back whole, and later than it was said by no less than the picture's delay.
        shift, alike = lag(loudness(np.tile(voice, 3)), loudness(received.sound))
        assert alike > 0.9
        assert shift >= 4
        await until(lambda: abs(track.delay_line.offset_ms) <= 100)  # it goes to where it should be, or jumps there
        await asyncio.gather(caller.close(), answerer.close())
        await until(lambda: track.readyState == "ended" and track.audio.readyState == "ended")
        await track.close()
        await asyncio.gather(*received.tasks)


async def test_nothing_is_left_behind() -> None:
    before = len(asyncio.all_tasks())
    for _ in range(3):
        async with two_peers() as (caller, answerer):
            caller.addTrack(Voice(speech(1.0, RATE)))
            caller.addTransceiver("video", direction="recvonly")
            received = Received(caller)
            attach(answerer, session())
            await negotiate(caller, answerer)
            await until(lambda: received.video and received.audio)  # noqa: B023
    await until(lambda: len(asyncio.all_tasks()) == before)


async def test_an_offer_may_come_before_the_head_is_attached() -> None:
    async with two_peers() as (caller, answerer):
        caller.addTrack(Voice(speech(1.0, RATE)))
        caller.addTransceiver("video", direction="recvonly")
        received = Received(caller)
        await caller.setLocalDescription(await caller.createOffer())
        await answerer.setRemoteDescription(caller.localDescription)
        track = attach(answerer, session())
        await answerer.setLocalDescription(await answerer.createAnswer())
        await caller.setRemoteDescription(answerer.localDescription)
        await until(lambda: received.video and received.audio and np.abs(received.sound).max() > 300)
        assert track.pipeline.stats.frames


async def test_silence_keeps_the_face_alive_until_a_caller_comes() -> None:
    track = TalkingHeadTrack(session())
    frames = [await track.recv() for _ in range(12)]
    assert np.any(frames[0].to_ndarray() != frames[-1].to_ndarray())
    sound = [await track.audio.recv() for _ in range(5)]
    assert not any(frame.to_ndarray().any() for frame in sound)
    track.listen(Voice(np.full(RATE, 0.2, np.float32)))
    for _ in range(1000):
        if (await track.audio.recv()).to_ndarray().any():
            break
    else:
        pytest.fail("the caller is not heard")
    await track.close()
    with pytest.raises(MediaStreamError):
        await track.recv()
    with pytest.raises(MediaStreamError):
        await track.audio.recv()


async def test_interrupt_mid_sentence() -> None:
    source = PushSource(24_000)
    track = TalkingHeadTrack(session(), source)
    sound: list[tuple[float, int]] = []
    pictures: list[float] = []

    async def hear() -> None:
        while True:
            frame = await track.audio.recv()
            sound.append((time.monotonic(), int(np.abs(frame.to_ndarray()).max())))

    async def see() -> None:
        while True:
            await track.recv()
            pictures.append(time.monotonic())

    async def speak() -> None:
        await source.push(np.full(24_000 * 8, 0.3, np.float32))

    tasks = [asyncio.create_task(job()) for job in (hear, see, speak)]
    await until(lambda: sound and sound[-1][1] > 5000)
    await asyncio.sleep(0.5)
    called = time.monotonic()
    track.interrupt()
    assert source.waiting == 0.0
    # The face lives on, and so does the sound, but not with a packet of the rest of the sentence.
    await until(lambda: sound[-1][0] > called + 0.6 and sum(instant > called for instant in pictures) > 5)
    after = [peak for instant, peak in sound if instant > called + 0.04]
    assert len(after) > 10
    assert max(after) == 0
    await source.push(np.full(12_000, 0.3, np.float32))
    await until(lambda: sound[-1][1] > 5000)  # what is said next is heard
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await track.close()


async def test_frames_that_no_sender_takes_are_dropped_and_counted() -> None:
    track = TalkingHeadTrack(session())
    track.start()
    await until(lambda: track.dropped > 3)
    assert track._frames.qsize() <= QUEUE
    await track.close()


async def test_a_source_that_ends_ends_the_track() -> None:
    source = PushSource(16_000)
    track = TalkingHeadTrack(session(), source)
    await source.push(np.zeros(8_000, np.float32))
    source.close()
    frames = 0
    with pytest.raises(MediaStreamError):
        while True:
            await track.recv()
            frames += 1
    assert frames >= 10
    assert track.audio.readyState == "ended"
    await track.close()


async def test_a_failing_session_ends_the_track_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    failing = session()

    async def step(skip: int = 0) -> None:
        raise RuntimeError("no more power")

    failing.step = step  # type: ignore[method-assign, assignment]
    track = TalkingHeadTrack(failing)
    with pytest.raises(MediaStreamError):
        await track.recv()
    assert "no more power" in caplog.text
    await track.close()


async def test_two_viewers_see_one_head() -> None:
    track, relay = TalkingHeadTrack(session()), MediaRelay()
    one, two = relay.subscribe(track), relay.subscribe(track)
    for _ in range(5):
        first, second = await asyncio.gather(one.recv(), two.recv())
        assert first.pts == second.pts
    for viewer in (one, two):
        viewer.stop()
    await track.close()


def test_without_aiortc_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['aiortc'] = None\n"
        "import streamhead\n"
        "try: streamhead.TalkingHeadTrack\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "streamhead[webrtc]" in said
    assert streamhead.TalkingHeadTrack is TalkingHeadTrack


async def test_what_a_caller_sends_besides_a_voice_does_not_pile_up() -> None:
    async with two_peers() as (caller, answerer):
        caller.addTrack(Voice(speech(1.0, RATE)))
        caller.addTrack(VideoStreamTrack())
        received = Received(caller)
        track = attach(answerer, session())
        await negotiate(caller, answerer)
        await until(lambda: len(received.video) > 30)
        (inbound,) = (one.track for one in answerer.getReceivers() if one.track.kind == "video")
        assert inbound._queue.qsize() < 10
        assert track.listens


async def test_an_agent_with_a_voice_of_its_own() -> None:
    source = PushSource(24_000)
    async with two_peers() as (agent, user):
        received = Received(user)
        track = attach(agent, TalkingHeadTrack(session(), source))
        assert not track.listens
        await negotiate(agent, user)
        await source.push(speech(2.0, 24_000))
        await until(lambda: received.video and received.audio and np.abs(received.sound).max() > 300)
