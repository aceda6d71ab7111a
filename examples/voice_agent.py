#!/usr/bin/env python3
"""A voice agent with a face: its speech comes in bursts, faster than it is spoken, and is cut off mid-sentence.

    python examples/voice_agent.py        # writes out/agent.mp4

The voice is espeak-ng's where that is installed, else the default speech clip; put your own synthesis in ``say``.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import time
import wave
from pathlib import Path

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection
from far_end import RATE, FarEnd, reachable

import streamhead
from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.microphone import PushSource
from streamhead.audio.resample import as_float_mono

OUTPUT = Path("out/agent.mp4")
LONG = "I could go on about this for quite a while, for there is really no end of things to say about it, as you know."
SHORT = "Oh, sorry. Please, go ahead."


def say(text: str) -> tuple[np.ndarray, int]:
    """Speech ``(n,)`` and its sample rate."""
    if shutil.which("espeak-ng"):
        made = subprocess.run(["espeak-ng", "--stdout", text], capture_output=True, check=True).stdout
        with wave.open(io.BytesIO(made)) as file:
            return np.frombuffer(file.readframes(-1), np.int16), file.getframerate()
    samples, rate = load_audio(default_speech())
    return as_float_mono(samples)[: len(text) * rate // 15], rate


async def main() -> None:
    """One call: the agent speaks, is interrupted, and says something else."""
    reachable()
    (long, rate), (short, _) = await asyncio.gather(*(asyncio.to_thread(say, text) for text in (LONG, SHORT)))
    head = await asyncio.to_thread(streamhead.load)
    voice = PushSource(rate)
    track = streamhead.TalkingHeadTrack(head, voice)
    agent, user = (RTCPeerConnection(RTCConfiguration([])) for _ in range(2))
    OUTPUT.parent.mkdir(exist_ok=True)
    far = FarEnd(user, OUTPUT)
    try:
        streamhead.attach(agent, track)
        await agent.setLocalDescription(await agent.createOffer())
        await user.setRemoteDescription(agent.localDescription)
        await user.setLocalDescription(await user.createAnswer())
        await agent.setRemoteDescription(user.localDescription)
        await asyncio.wait_for(far.picture.wait(), 20)

        speaking = asyncio.create_task(voice.push(long))  # waits where more than two seconds are not yet spoken
        await asyncio.sleep(3)
        cut = time.monotonic()
        track.interrupt()  # and everything that was still to be said is forgotten, in sound and picture
        await speaking
        await asyncio.sleep(1.5)
        again = time.monotonic()
        await voice.push(short)
        await asyncio.sleep(len(short) / rate + 0.5)
    finally:
        await track.close()
        await asyncio.gather(agent.close(), user.close())
        await far.save()

    loud = np.abs(far.received_sound()[:, 0].astype(int)) > 300
    heard = np.array([instant for instant, _ in far.audio.arrived]).repeat(RATE // 50)[: len(loud)]
    last = heard[(heard < again) & loud[: len(heard)]].max()
    first = next(instant for instant, _ in far.video.arrived if instant > cut)
    print(f"interrupted after 3 s: the next picture came {1e3 * (first - cut):.0f} ms later,")
    print(f"the last of the speech {1e3 * (last - cut):.0f} ms after it (what was on its way through the network)")
    print(f"look at it: {OUTPUT}")


if __name__ == "__main__":
    asyncio.run(main())
