"""``streamhead evaluate``: how good a model is on prepared clips, in tables that say how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate"]


def _temperatures(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        numbers = (-1.0,)
    if not all(0.0 <= number < float("inf") for number in numbers):
        raise typer.BadParameter(f"{text!r}: write numbers from 0 up, as 0,1", param_hint="--temperature")
    return numbers


def evaluate(
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="Folder made by `streamhead prepare`.")],
    split: Annotated[str, typer.Option(help="Which of its clips.")] = "test",
    preset: Annotated[
        str | None, typer.Option(help="call, paper-thin or paper; default: call, or what --weights are.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint, instead of the one shipped.")] = None,
    clips: Annotated[
        int | None, typer.Option(min=1, help="At most so many clips of each talker, drawn with the seed; default: all.")
    ] = None,
    talkers: Annotated[str, typer.Option(metavar="A,B", help="Only these talkers.")] = "",
    temperature: Annotated[str, typer.Option(metavar="A,B", help="Temperatures of the sampling noise.")] = "0,1",
    seed: Annotated[int, typer.Option(min=0, help="Of the takes, the draw of clips and the intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables as JSON, CSV and Markdown, and for finished clips.")
    ] = None,
    strip: Annotated[
        int, typer.Option(min=0, help="Also draw so many clips of each talker as strips, real above generated.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, one thread each.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Score a model on prepared clips, beside the still first frame and the same model given another clip's audio.

    With --out, Ctrl-C loses nothing but the clip in hand: the same command goes on from there.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streamhead.evaluation import tables
    from streamhead.evaluation.evaluate import evaluate as evaluate_clips
    from streamhead.evaluation.figures import draw_strips
    from streamhead.evaluation.plan import Model, Plan, choose_clips
    from streamhead.model.checkpoint import shipped_weights

    if strip and out is None:
        raise typer.BadParameter("strips need a folder; pass --out DIR", param_hint="--strip")
    temperatures = _temperatures(temperature)
    wanted = [name.strip() for name in talkers.split(",") if name.strip()]
    model = Model.of(weights or shipped_weights(preset or "call"), preset)
    plan = Plan(model, temperatures, seed, device=device)
    pairs = choose_clips(prepared, split, talkers=wanted, limit=clips, seed=seed)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("evaluating", total=len(pairs))
            scores = evaluate_clips(
                pairs,
                plan,
                cache=None if out is None else out / "clips",
                jobs=jobs,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            strips = []
            if strip and out is not None:
                task = bar.add_task("drawing strips", total=None)
                strips = draw_strips(out / "strips", pairs, plan, strip)
                bar.update(task, total=len(strips), completed=len(strips))
    except KeyboardInterrupt:
        kept = "nothing was kept" if out is None else f"finished clips are in {out}, the same command goes on"
        console.print(f"stopped; {kept}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    rows = tables.summarise(pairs, plan, scores)
    tables.show(Console(), rows, plan)
    if out is not None:
        written = [*tables.write(out, rows, plan), *strips]
        console.print(f"written: {', '.join(str(path) for path in written)}", highlight=False, soft_wrap=True)
