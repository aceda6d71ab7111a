"""``streamhead legibility``: can a lip reader read the words off drawn lips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamhead.cli.options import (
    ClipsOption,
    DeviceOption,
    SeedOption,
    SplitOption,
    SystemOption,
    TalkersOption,
    parse_names,
    parse_systems,
    parse_temperatures,
)

__all__ = ["legibility"]


def legibility(
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="GRID, prepared by `streamhead prepare`.")],
    out: Annotated[Path, typer.Option(help="Folder for the table, drawn lips and, without --reader, the reader.")],
    system: SystemOption = None,
    reader: Annotated[
        Path | None, typer.Option(help="Folder of the lip reader; it is learnt there where it is not finished.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the real training clips.")] = 10,
    blur: Annotated[bool, typer.Option(help="Blur half of the sentences that the reader learns from.")] = True,
    puppet: Annotated[bool, typer.Option("--puppet", help="Another row: a mouth moved by loudness alone.")] = False,
    split: SplitOption = "test",
    clips: ClipsOption = 256,
    talkers: TalkersOption = "",
    temperature: Annotated[str, typer.Option(metavar="A,B", help="Temperatures of the sampling noise.")] = "0,1",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Share of words that a lip reader, trained on real clips, reads off each system's lips, beside real ones.

    Ctrl-C loses little: the same command goes on from the last epoch, and from the last clip drawn.
    """
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streamhead.evaluation import legibility as report
    from streamhead.evaluation.lip_reader import epochs_learnt, learn, load_reader
    from streamhead.evaluation.plan import Plan, choose_clips

    pairs = choose_clips(prepared, split, talkers=parse_names(talkers), limit=clips, seed=seed)
    plan = Plan(parse_systems(system), parse_temperatures(temperature), seed, device=device, puppet=puppet)
    folder = reader or out / "reader"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    torch.set_num_threads(1)  # the nets are too small to share, and sums over threads round differently
    try:
        with Progress(*columns, console=console) as bar:
            best = folder / "reader.safetensors"
            if epochs_learnt(folder) < epochs or not best.is_file():
                loading = bar.add_task("reading real clips", total=None)

                def read(done: int, total: int) -> None:
                    bar.update(loading, completed=done, total=total)

                train, val = (report.sentences(prepared, part, read) for part in ("train", "val"))
                learning = bar.add_task("learning to read", total=epochs)

                def told(done: int, total: int, accuracy: float) -> None:
                    text = f"learning to read, {accuracy:.2f} right"
                    bar.update(learning, completed=done, total=total, description=text)

                best = learn(folder, train, val, epochs=epochs, blur=blur, seed=seed, progress=told)
            network, facts = load_reader(best)
            drawing = bar.add_task("drawing and reading", total=len(pairs))
            readings = report.read_pairs(
                pairs, plan, network, out, lambda done, total: bar.update(drawing, completed=done, total=total)
            )
    except KeyboardInterrupt:
        console.print(f"stopped; what is done is in {out}, the same command goes on")
        raise typer.Exit(130) from None
    rows = report.summarise(pairs, plan, readings)
    text = report.markdown(rows, pairs, plan, facts)
    typer.echo(text)
    typer.echo(f"written: {', '.join(str(path) for path in report.write(out, rows, text))}", err=True)
