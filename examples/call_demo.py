#!/usr/bin/env python3
"""A whole call in one program, with no hardware and no arguments: a caller speaks, streamhead answers with a face.

    python examples/call_demo.py                      # writes out/call.mp4 and prints what the caller got
    python examples/call_demo.py --mic "" --face me.jpg
    python examples/call_demo.py --browser            # the real thing, in your browser

Both ends are real aiortc peers over loopback; the caller's records what it received and measures it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import AsyncGenerator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame, VideoFrame
from far_end import RATE, FarEnd, reachable
from rich.console import Console
from rich.table import Table
from scipy.signal import resample_poly

import streamhead
from streamhead.assets import default_speech
from streamhead.audio.microphone import AudioChunk, AudioSource, open_source
from streamhead.audio.resample import as_float_mono

COARSE = 2000
"""Samples a second that are enough to recognise a voice by its pitch."""


class Caller(MediaStreamTrack):
    """What the caller says, as an aiortc track."""

    kind = "audio"

    def __init__(self, source: AudioSource) -> None:
        super().__init__()
        self._rate = source.sample_rate
        self._chunks: AsyncGenerator[AudioChunk, None] = aiter(source)
        self._pts = 0

    async def recv(self) -> AudioFrame:
        """The next 20 ms or so, as soon as they are captured."""
        pcm = as_float_mono((await anext(self._chunks)).pcm)
        frame = AudioFrame.from_ndarray(np.int16(np.clip(pcm, -1, 1) * 32767)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._pts, Fraction(1, self._rate)
        self._pts += len(pcm)
        return frame


class Sent:
    """What an answering track hears, and which of it each picture shows: noted as it passes.

    Attributes:
        shows: by a picture's timestamp, the instant at which the sound it shows came in.
        sound: what came in, in pieces ``(n, channels)``.
        came: the instant at which each piece began.
    """

    def __init__(self, track: streamhead.TalkingHeadTrack) -> None:
        self.shows: dict[int, float] = {}
        self.sound: list[np.ndarray] = []
        self.came: list[float] = []
        recv, write = track.recv, track.delay_line.write

        async def noted_recv() -> VideoFrame:
            frame = await recv()
            self.shows[frame.pts] = track.epoch + frame.time - track.pipeline.delay
            return frame

        def noted_write(pcm: np.ndarray, captured_at: float) -> None:
            self.sound.append(np.asarray(pcm, np.float32))
            self.came.append(captured_at)
            write(pcm, captured_at)

        track.recv, track.delay_line.write = noted_recv, noted_write  # type: ignore[method-assign, assignment]


def offsets(far: FarEnd, sent: Sent) -> np.ndarray:
    """How much later than its sound the picture is played, s: one figure for each half second of received speech.

    Which sound a received piece is, is found by correlating it with what came in at the answering side; when it is
    played, and when the picture of that sound is, is told by the received timestamps and sender reports.
    """
    if far.video.zero is None or far.audio.zero is None:
        return np.zeros(0)
    first = min(sent.shows)
    pictures = [(sent.shows[first + pts], pts) for _, pts in far.video.arrived if first + pts in sent.shows]
    shown, played = np.array(pictures).T
    played = far.video.zero + played / far.video.clock
    # The pitch of a voice is enough to find it by, and bears the small changes of speed that keep it in step.
    came = resample_poly(np.concatenate(sent.sound)[:, 0], COARSE, RATE)
    places = np.cumsum([0, *map(len, sent.sound[:-1])]) / RATE
    got = resample_poly(far.received_sound()[:, 0] / 32768, COARSE, RATE)
    found, count = [], COARSE // 2
    for start in range(COARSE, len(got) - count, count):
        piece, heard = got[start : start + count], far.audio.zero + start / COARSE
        latest = round((float(np.interp(heard, sent.came, places))) * COARSE)
        earliest = max(0, latest - COARSE)
        stretch = came[earliest : latest + count]
        if len(stretch) <= count or np.sqrt(np.mean(piece**2)) < 0.02:
            continue
        energy = np.convolve(stretch**2, np.ones(count), "valid") * np.sum(piece**2)
        alike = np.correlate(stretch, piece, "valid") / np.sqrt(energy + 1e-12)
        if alike.max() > 0.5:
            instant = float(np.interp((earliest + int(alike.argmax())) / COARSE, places, sent.came))
            found.append(float(np.interp(instant, shown, played)) - heard)
    return np.array(found)


async def call(source: AudioSource, head: streamhead.TalkingHead, path: Path, seconds: float) -> dict[str, Any]:
    """Call, listen for ``seconds`` from the first picture on, hang up; returns the report."""
    reachable()
    here, there = (RTCPeerConnection(RTCConfiguration([])) for _ in range(2))  # [] asks no server on the internet
    far = FarEnd(here, path)
    here.addTrack(Caller(source))
    here.addTransceiver("video", direction="recvonly")
    began = time.monotonic()
    try:
        await here.setLocalDescription(await here.createOffer())
        await there.setRemoteDescription(here.localDescription)
        track = streamhead.attach(there, head)  # all that an answering program needs
        sent = Sent(track)
        await there.setLocalDescription(await there.createAnswer())
        await here.setRemoteDescription(there.localDescription)
        await asyncio.wait_for(far.picture.wait(), 20)
        await asyncio.sleep(seconds)
        stats, unsent = track.pipeline.stats, track.dropped
        await track.close()
    finally:
        await asyncio.gather(here.close(), there.close())
        await far.save()

    arrived = np.array([instant for instant, _ in far.video.arrived])
    offset = 1e3 * offsets(far, sent)
    delay = stats.delay_ms
    return {
        "seconds": round(float(arrived[-1] - arrived[0]), 2),
        "frames": len(arrived),
        "fps": round(float((len(arrived) - 1) / (arrived[-1] - arrived[0])), 2),
        "first_frame_s": round(float(arrived[0] - began), 3),
        "delay_ms_p50": delay.p50,
        "delay_ms_p95": delay.p95,
        "delay_ms_p99": delay.p99,
        "stages_ms_mean": {name: stage.mean for name, stage in stats.stages_ms.items()},
        "av_offset_ms_mean": round(float(offset.mean()), 1) if len(offset) else None,
        "av_offset_ms_p95": round(float(np.percentile(np.abs(offset), 95)), 1) if len(offset) else None,
        "av_offset_pieces": len(offset),
        "dropped": stats.late_frames + unsent,
        "longest_gap_ms": round(1e3 * float(np.diff(arrived).max()), 1),
        "size": list(far.size),
        "file": str(path),
    }


def show(report: dict[str, Any], console: Console) -> None:
    """Print it as a table."""
    table = Table(title="What the caller got", show_header=False)
    stages = ", ".join(f"{name} {ms:.0f}" for name, ms in report["stages_ms_mean"].items())
    offset = report["av_offset_ms_mean"]
    for name, value in (
        ("picture", "{size[0]}x{size[1]}, {frames} frames in {seconds} s, {fps} a second".format(**report)),
        ("first frame", "{first_frame_s} s after the call began".format(**report)),
        ("delay", "p50 {delay_ms_p50:.0f}, p95 {delay_ms_p95:.0f}, p99 {delay_ms_p99:.0f} ms".format(**report)),
        ("of which, mean ms", stages),
        (
            "picture after sound",
            "not measured (too little speech came)"
            if offset is None
            else "{av_offset_ms_mean} ms, within {av_offset_ms_p95} ms for 95 of 100 pieces".format(**report),
        ),
        ("dropped", "{dropped} frames; longest gap {longest_gap_ms} ms".format(**report)),
        ("look at it", report["file"]),
    ):
        table.add_row(name, value)
    console.print(table)


def browser(face: Path | None, port: int) -> None:
    """Serve the page and open it."""
    address = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "streamhead", "serve", "--webrtc", "--port", str(port)]
    server = subprocess.Popen(command if face is None else [*command, "--face", str(face)])
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"{address}healthz", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise typer.Exit(server.returncode)
        webbrowser.open(address)
        server.wait()
    except KeyboardInterrupt:
        server.wait()  # Ctrl-C reached it too


def main(
    output: Annotated[Path, typer.Option("-o", help="Where the recording goes.")] = Path("out/call.mp4"),
    seconds: Annotated[float, typer.Option(help="How long the call lasts.", min=3.0)] = 12.0,
    mic: Annotated[str | None, typer.Option(help="Microphone ('' for the default one) or sound file.")] = None,
    face: Annotated[Path | None, typer.Option(help="Portrait; default: the one shipped.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here too.")] = None,
    open_browser: Annotated[bool, typer.Option("--browser", help="Open the page of the call instead.")] = False,
    port: Annotated[int, typer.Option(help="Of the page.")] = 8080,
) -> None:
    """A whole call in one program: a caller speaks, a face answers, the caller measures what it got."""
    console = Console(stderr=True)
    try:
        if open_browser:
            return browser(face, port)
        output.parent.mkdir(parents=True, exist_ok=True)
        with open_source(str(default_speech()) if mic is None else mic or None) as source:
            head = streamhead.load(face, own_process=True)
            try:
                list(head.render(np.zeros(8000, np.float32), 16_000))  # the first steps of all are slow
                console.print(f"calling for {seconds:g} s")
                report = asyncio.run(call(source, head, output, seconds))
            finally:
                head.engine.close()
    except streamhead.StreamheadError as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(2) from error
    show(report, console)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
