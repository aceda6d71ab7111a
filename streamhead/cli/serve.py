"""``streamhead serve``: a live microphone becomes a live face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamhead.cli.options import parse_size

__all__ = ["serve"]


def serve(
    virtual_cam: Annotated[bool, typer.Option("--virtual-cam", help="Show the face in a virtual camera.")] = False,
    webrtc: Annotated[bool, typer.Option("--webrtc", help="Serve a web page where callers speak and see it.")] = False,
    mic: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Part of a microphone's name, its number, or a file to play; default: the system's.",
        ),
    ] = None,
    face: Annotated[Path | None, typer.Option(help="Picture, video, or webcam[:N]; default: the face shipped.")] = None,
    pick: Annotated[int | None, typer.Option(help="Which face of several, from 1, left to right.", min=1)] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Which virtual camera, as /dev/video10; default: the first.")
    ] = None,
    audio_out: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Play the microphone there, as late as the picture: a virtual cable."),
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the face in a window.")] = False,
    seed: Annotated[int, typer.Option(help="The take: another seed, another performance.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="Liveliness: 0 is the mean, 1 the model's own.", min=0.0)] = 1.0,
    view: Annotated[str, typer.Option(help="call: the portrait; face: the bare 128 px square.")] = "call",
    size: Annotated[str, typer.Option(help="Picture size of the call view.")] = "1280x720",
    badge: Annotated[bool, typer.Option("--badge", help="Mark each frame in a corner: AI.")] = False,
    cache: Annotated[bool, typer.Option(help="Remember where the face lies in this portrait.")] = True,
    still: Annotated[bool, typer.Option("--still", help="No swaying head and no added blinks.")] = False,
    host: Annotated[
        str, typer.Option(help="--webrtc: address to listen at; beyond this machine a token is needed.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(help="--webrtc: port to listen at.", min=1, max=65535)] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="STREAMHEAD_TOKEN", show_envvar=True, help="--webrtc: what callers must know; auto makes one up."
        ),
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="--webrtc: pages of this address may call, too.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="--webrtc: certificate (PEM), for https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="--webrtc: its key, where it is a file of its own.")] = None,
    max_sessions: Annotated[int, typer.Option(help="--webrtc: callers at once.", min=1)] = 8,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.", min=0.0)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the run's figures here at its end.")
    ] = None,
    preset: Annotated[str, typer.Option(help="call, paper-thin or paper.")] = "call",
    weights: Annotated[Path | None, typer.Option(help="Checkpoint, instead of the one shipped.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Speak, and the portrait speaks: from a microphone into a virtual camera, or from a web page back to it.

    Until Ctrl-C. With a microphone there are keys, too: m mutes (the face lives on), q quits.
    """
    import asyncio
    import gc
    import sys
    from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
    from typing import Literal, cast

    import numpy as np
    from rich.console import Console

    import streamhead
    from streamhead.audio.microphone import FileSource, open_source
    from streamhead.cli.live import run_live, summary, wait_for_end, write_report
    from streamhead.face.align import SIZE
    from streamhead.output.delayed_audio import DelayedAudio
    from streamhead.output.frame import Frame
    from streamhead.output.preview import PreviewWindow
    from streamhead.output.virtual_camera import VirtualCamera
    from streamhead.stream.delay_line import DelayLine
    from streamhead.stream.pipeline import Pipeline, Sink, ThreadSink
    from streamhead.timebase import FPS, HOP, SAMPLE_RATE

    if view not in ("call", "face"):
        raise typer.BadParameter("choose call or face", param_hint="--view")
    local = virtual_cam or preview
    if not (local or webrtc):
        raise typer.BadParameter("nowhere to show the face; pass --virtual-cam, --preview or --webrtc, or several")
    if not local and (mic or json_file or audio_out):
        raise typer.BadParameter(
            "with --webrtc alone callers bring their sound: --mic, --audio-out and --json want --virtual-cam"
        )
    shape, look = parse_size(size), cast(Literal["call", "face"], view)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    sinks: list[Sink] = []
    places: list[str] = []
    with ExitStack() as stack:
        # Devices first: to learn that one is missing should not take as long as loading a model.
        door = None
        if webrtc:
            from streamhead.cli.web import open_door, serving

            door = stack.enter_context(
                open_door(host, port, token=token, origins=origin or (), tls_cert=tls_cert, tls_key=tls_key)
            )
        source = open_source(mic) if local else None
        sound = None
        if source is not None:
            stack.enter_context(source)
            if audio_out is not None:
                sound = DelayedAudio(DelayLine(source.sample_rate, source.channels), audio_out)
                stack.enter_context(sound)
        if virtual_cam:
            webcam = stack.enter_context(VirtualCamera((SIZE, SIZE) if view == "face" else shape, camera))
            sinks.append(stack.enter_context(ThreadSink(webcam.send)))
            places.append(webcam.device)
        if preview:
            window = PreviewWindow()

            async def show(frame: Frame) -> None:
                window.send(frame)

            # The windows of macOS belong to the main thread.
            sinks.append(show if sys.platform == "darwin" else stack.enter_context(ThreadSink(window.send)))
            places.append("a window")
        if sound is not None:
            places.append(sound.name)
        head = streamhead.load(face, preset, device, weights=weights, pick=pick, cache=cache, own_process=webrtc)
        stack.callback(head.engine.close)

        def session() -> streamhead.Session:
            return head.session(seed, temperature=temperature, view=look, size=shape, badge=badge, still=still)

        async def send(frame: Frame) -> None:
            if sound is not None:
                sound.check()
            for sink in sinks:
                await sink(frame)

        async def live() -> Pipeline | None:
            # The first steps are slow (kernels are chosen, memory is taken): they are made on another session.
            trial = session()
            trial.push(np.zeros(HOP * FPS // 5, np.float32), SAMPLE_RATE)
            while trial.ready:
                await trial.step()
            web: AbstractAsyncContextManager[None] = nullcontext()
            if door is not None:
                web = serving(
                    door,
                    head,
                    console,
                    sessions=max_sessions,
                    temperature=temperature,
                    view=look,
                    size=shape,
                    badge=badge,
                    still=still,
                )
            async with web:
                # What is loaded by now stays: going through it again and again would hold up frames, and the exit.
                gc.collect()
                gc.freeze()
                if source is None:
                    await wait_for_end(duration)
                    return None
                console.print(
                    f"{source.name} speaks in {' and '.join(places)}; m mutes, q or Ctrl-C ends it", markup=False
                )
                if sound is not None:
                    sound.start()
                line = sound.line if sound is not None else None
                pipeline = Pipeline(session(), source, send, delay_line=line, exact=isinstance(source, FileSource))
                await run_live(pipeline, console, duration, sound)
                return pipeline

        pipeline = asyncio.run(live())
    if source is None or pipeline is None:
        return
    stats = pipeline.stats
    console.print(summary(stats, sound))
    if json_file is not None:
        figures = {} if sound is None else sound.figures
        write_report(json_file, stats, source=source.name, places=places, **figures)
