"""``streamhead figures``: the paper's Figures 3 to 5, and how much takes differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from streamhead.evaluation.plan import Pair, Plan

__all__ = ["figures"]

figures = typer.Typer(no_args_is_help=True, help="Draw the paper's figures, and measure how much takes differ.")

_Prepared = Annotated[Path, typer.Argument(metavar="PREPARED", help="Folder made by `streamhead prepare`.")]
_Out = Annotated[Path, typer.Option(help="Folder for the pictures.")]
_Temperature = Annotated[str, typer.Option(metavar="A,B", help="Temperatures of the sampling noise.")]


class _Layout(StrEnum):
    GRID = "grid"
    LRW = "lrw"


def _chosen(
    prepared: Path,
    split: str,
    talkers: str,
    clips: int,
    seed: int,
    system: list[str] | None,
    temperature: str,
    device: str,
) -> tuple[list[Pair], Plan]:
    from streamhead.evaluation.plan import Plan, choose_clips

    temperatures = parse_temperatures(temperature)
    pairs = choose_clips(prepared, split, talkers=parse_names(talkers), limit=clips, seed=seed)
    return pairs, Plan(parse_systems(system), temperatures, seed, device=device)


@contextmanager
def _progress(what: str, kept: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; Ctrl-C says what is kept, and exits with 130."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    except KeyboardInterrupt:
        console.print(f"stopped; {kept}")
        raise typer.Exit(130) from None


def _tell(paths: list[Path]) -> None:
    typer.echo(f"written: {', '.join(str(path) for path in paths)}", err=True)


@figures.command()
def strips(
    prepared: _Prepared,
    out: _Out,
    system: SystemOption = None,
    layout: Annotated[
        _Layout, typer.Option(help="grid: sentences, a picture a clip; lrw: words, all clips in one picture.")
    ] = _Layout.GRID,
    clips: ClipsOption = 4,
    split: SplitOption = "test",
    talkers: TalkersOption = "",
    temperature: _Temperature = "1",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Real frames above those of each system, over time (Figures 3 and 4)."""
    from streamhead.evaluation.figures import draw_strips

    pairs, plan = _chosen(prepared, split, talkers, clips, seed, system, temperature, device)
    with _progress("drawing", f"finished pictures are in {out}") as progress:
        paths = draw_strips(out, pairs, plan, layout=layout.value, progress=progress)
    _tell(paths)


@figures.command()
def takes(
    prepared: _Prepared,
    out: _Out,
    system: SystemOption = None,
    clips: ClipsOption = 2,
    split: SplitOption = "test",
    talkers: TalkersOption = "",
    temperature: _Temperature = "1",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Two takes of one voice and one face, framed where they differ (Figure 5); the seeds are the seed and the next."""
    from streamhead.evaluation.figures import draw_takes

    pairs, plan = _chosen(prepared, split, talkers, clips, seed, system, temperature, device)
    with _progress("drawing", f"finished pictures are in {out}") as progress:
        paths = draw_takes(out, pairs, plan, seeds=(seed, seed + 1), progress=progress)
    _tell(paths)


@figures.command()
def diversity(
    prepared: _Prepared,
    out: _Out,
    system: SystemOption = None,
    takes: Annotated[int, typer.Option(min=2, help="Takes of each clip.")] = 16,
    clips: ClipsOption = 8,
    split: SplitOption = "test",
    talkers: TalkersOption = "",
    temperature: _Temperature = "1",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """How much takes differ by region beside real clips, whether the words stay, blinks, and the best of the takes.

    Ctrl-C loses nothing but the clip in hand: the same command goes on from there.
    """
    from streamhead.evaluation import diversity as report

    pairs, plan = _chosen(prepared, split, talkers, clips, seed, system, temperature, device)
    with _progress("drawing takes", f"finished clips are in {out}, the same command goes on") as progress:
        lines = report.diversity(pairs, plan, takes, out, progress)
    rows = report.summarise(lines, plan, takes)
    typer.echo(report.markdown(rows))
    _tell(report.write(out, rows, lines))
