"""``streamhead study``: the paper's user study, from its videos to its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamhead.cli.options import (
    DeviceOption,
    SeedOption,
    SplitOption,
    SystemOption,
    parse_systems,
    parse_temperatures,
)

if TYPE_CHECKING:
    from streamhead.evaluation.plan import Pair

__all__ = ["study"]

study = typer.Typer(no_args_is_help=True, help="The user study: people rate hidden systems for realism and lip sync.")

_Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")]


def _sources(data: list[str], split: str, seed: int) -> dict[str, list[Pair]]:
    from streamhead.evaluation.plan import choose_clips

    sources = {}
    for text in data:
        name, given, place = text.partition("=")
        if not (name and given and place) or name in sources:
            raise typer.BadParameter(f"{text!r}: write NAME=PREPARED, each name once", param_hint="--data")
        sources[name] = choose_clips(Path(place), split, seed=seed)
    return sources


@study.command()
def make(
    folder: _Folder,
    data: Annotated[
        list[str],
        typer.Option(metavar="NAME=PREPARED", help="A data set; may be given several times, as grid and lrw."),
    ],
    system: SystemOption = None,
    videos: Annotated[int, typer.Option(min=1, help="At most so many videos; the paper has 75.")] = 75,
    real: Annotated[bool, typer.Option(help="Real clips among them.")] = True,
    temperature: Annotated[str, typer.Option(help="Temperature of the sampling noise.")] = "1",
    split: SplitOption = "test",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Draw the videos: the same clips by every system, all through one encoder, under names that say nothing.

    Ctrl-C loses nothing but the video in hand: the same command goes on from there.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streamhead.evaluation.plan import Plan
    from streamhead.study.plan import choose, make_videos, plan_study

    plan = Plan(parse_systems(system), parse_temperatures(temperature), seed, device=device)
    chosen = choose(_sources(data, split, seed), plan, videos, real=real)
    planned = plan_study(folder, chosen, plan, real=real)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=len(planned.items))
            make_videos(planned, chosen, plan, lambda done, total: bar.update(task, completed=done, total=total))
    except KeyboardInterrupt:
        console.print(f"stopped; finished videos are in {folder}, the same command goes on")
        raise typer.Exit(130) from None
    counts = ", ".join(f"{len(pairs)} clips of {name}" for name, pairs in chosen.items())
    console.print(f"{len(planned.items)} videos ({counts}); now: streamhead study serve {folder}")


@study.command()
def serve(
    folder: _Folder,
    host: Annotated[str, typer.Option(help="Address to listen at; beyond this machine a token is needed.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 8090,
    token: Annotated[
        str | None,
        typer.Option(envvar="STREAMHEAD_TOKEN", show_envvar=True, help="What raters must know; auto makes one up."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM), for https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, where it is a file of its own.")] = None,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.", min=0.0)] = None,
) -> None:
    """Serve the page on which people rate the videos, until Ctrl-C; ratings are kept as they come."""
    import asyncio

    from aiohttp import web
    from rich.console import Console

    from streamhead.cli.live import wait_for_end
    from streamhead.cli.web import open_door
    from streamhead.errors import DataError
    from streamhead.server.app import make_runner
    from streamhead.study.app import make_app
    from streamhead.study.plan import Study

    planned = Study.open(folder)
    if planned.missing:
        raise DataError(
            f"{len(planned.missing)} videos are missing in {folder}; run `streamhead study make` to its end"
        )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with open_door(host, port, token=token, origins=(), tls_cert=tls_cert, tls_key=tls_key) as door:

        async def run() -> None:
            runner = make_runner(make_app(planned, door.access))
            try:
                await runner.setup()
                await web.SockSite(runner, door.socket, ssl_context=door.tls).start()
                console.print(f"Ready: open {door.link}", markup=False)
                await wait_for_end(duration)
            finally:
                await runner.cleanup()

        asyncio.run(run())


@study.command()
def report(
    folder: _Folder,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table as JSON, CSV, Markdown, LaTeX; default: the study's.")
    ] = None,
) -> None:
    """Table 2: the grades of each system with intervals, and how far the raters agree. Raters may be at work."""
    from streamhead.study import report as tables
    from streamhead.study.plan import Study
    from streamhead.study.store import Store

    planned = Study.open(folder)
    with Store(folder / "ratings.sqlite") as store:
        rows, agreed = tables.summarise(planned, store.ratings())
    typer.echo(tables.markdown(rows, agreed))
    paths = tables.write(out or folder, rows, agreed)
    typer.echo(f"written: {', '.join(str(path) for path in paths)}", err=True)
