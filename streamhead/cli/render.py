"""``streamhead render``: a recording becomes a video of the portrait speaking it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamhead.cli.options import parse_size

__all__ = ["render"]


def render(
    audio: Annotated[Path | None, typer.Argument(help="Sound or video file; default: the speech shipped.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Video to write.")] = Path("streamhead.mp4"),
    face: Annotated[Path | None, typer.Option(help="Picture, video, or webcam[:N]; default: the face shipped.")] = None,
    pick: Annotated[int | None, typer.Option(help="Which face of several, from 1, left to right.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The take: another seed, another performance.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="Liveliness: 0 is the mean, 1 the model's own.", min=0.0)] = 1.0,
    samples: Annotated[
        int, typer.Option(help="Number of takes; more than one also writes them side by side.", min=1)
    ] = 1,
    view: Annotated[str, typer.Option(help="call: the portrait; face: the bare 128 px square.")] = "call",
    size: Annotated[str, typer.Option(help="Picture size of the call view.")] = "1280x720",
    badge: Annotated[bool, typer.Option("--badge", help="Mark each frame in a corner: AI.")] = False,
    cache: Annotated[bool, typer.Option(help="Remember where the face lies in this portrait.")] = True,
    c2pa_cert: Annotated[
        Path | None, typer.Option(help="Sign with Content Credentials: certificate chain (PEM).")
    ] = None,
    c2pa_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    still: Annotated[bool, typer.Option("--still", help="No swaying head and no added blinks.")] = False,
    preset: Annotated[str, typer.Option(help="call, paper-thin or paper.")] = "call",
    weights: Annotated[Path | None, typer.Option(help="Checkpoint, instead of the one shipped.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Render AUDIO to a video, sound and lips in step."""
    from time import perf_counter
    from typing import Literal, cast

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    import streamhead
    from streamhead.assets import default_speech
    from streamhead.audio.files import load_audio
    from streamhead.output.credentials import Credentials
    from streamhead.output.video_file import VideoWriter, check_writable, side_by_side
    from streamhead.timebase import FPS

    if view not in ("call", "face"):
        raise typer.BadParameter("choose call or face", param_hint="--view")
    shape = parse_size(size)
    check_writable(output)
    credentials = Credentials.of(c2pa_cert, c2pa_key)
    if credentials is not None:
        credentials.check_format(output)
    source = audio or default_speech()
    sound, rate = load_audio(source)
    head = streamhead.load(face, preset, device, weights=weights, pick=pick, cache=cache)
    total = -(-len(sound) * FPS // rate)
    targets = (
        [output] if samples == 1 else [output.with_stem(f"{output.stem}-{take:02d}") for take in range(1, samples + 1)]
    )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = perf_counter()
    with Progress(*columns, console=console) as bar:
        for take, target in enumerate(targets):
            task = bar.add_task(f"take {take + 1}", total=total)
            with VideoWriter(target, credentials) as video:
                for frame in head.render(
                    sound,
                    rate,
                    seed=seed + take,
                    temperature=temperature,
                    view=cast(Literal["call", "face"], view),
                    size=shape,
                    badge=badge,
                    still=still,
                ):
                    video.write(frame)
                    bar.advance(task)
    spent = perf_counter() - began
    if samples > 1:
        side_by_side(targets, output, credentials)
    frames = total * samples
    console.print(
        f"{output}: {total} frames at {FPS} a second, {total / FPS:.2f} s of sound {len(sound) / rate:.2f} s; "
        f"made in {spent:.1f} s ({frames / FPS / spent:.2f} x real time)"
    )
