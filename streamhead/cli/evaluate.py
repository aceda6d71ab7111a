"""``streamhead evaluate``: how good systems are on prepared clips, in tables that say how they were made."""

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

__all__ = ["evaluate"]


def evaluate(
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="Folder made by `streamhead prepare`.")],
    system: SystemOption = None,
    preset: Annotated[
        str | None, typer.Option(help="call, paper-thin or paper; default: call, or what --weights are.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint, instead of the one shipped.")] = None,
    protocol: Annotated[
        str, typer.Option(metavar="A,B", help="How pictures are scored: standard, svg, atvgnet or several of them.")
    ] = "standard",
    split: SplitOption = "test",
    clips: ClipsOption = 256,
    per_talker: Annotated[
        int | None, typer.Option(min=1, help="At most so many clips of each talker, drawn with the seed.")
    ] = None,
    talkers: TalkersOption = "",
    temperature: Annotated[str, typer.Option(metavar="A,B", help="Temperatures of the sampling noise.")] = "0,1",
    seed: SeedOption = 0,
    puppet: Annotated[
        bool, typer.Option("--puppet", help="Another row: the first model's face, its mouth moved by loudness alone.")
    ] = False,
    identity: Annotated[bool, typer.Option("--identity", help="Is it the same person; needs the extra dlib.")] = False,
    lpips: Annotated[bool, typer.Option("--lpips", help="LPIPS; needs torchvision and its weights.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables (JSON, CSV, Markdown, LaTeX) and for finished clips.")
    ] = None,
    strip: Annotated[
        int, typer.Option(min=0, help="Also draw so many clips of each talker as strips, real above generated.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, one thread each.")] = 1,
    device: DeviceOption = "auto",
) -> None:
    """Score systems on prepared clips, beside controls: the still first frame, another clip's audio, the real clip.

    With --out, Ctrl-C loses nothing but the row in hand: the same command goes on from there, and a system that is
    added later costs only its own rows.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streamhead.evaluation import tables
    from streamhead.evaluation.evaluate import evaluate as evaluate_clips
    from streamhead.evaluation.figures import draw_strips
    from streamhead.evaluation.learned_metrics import check_extra
    from streamhead.evaluation.plan import Extra, Plan, choose_clips
    from streamhead.evaluation.protocols import PROTOCOLS
    from streamhead.evaluation.videos import VideoFolder

    if strip and out is None:
        raise typer.BadParameter("strips need a folder; pass --out DIR", param_hint="--strip")
    protocols = tuple(dict.fromkeys(parse_names(protocol)))
    if not protocols or not set(protocols) <= set(PROTOCOLS):
        raise typer.BadParameter(f"choose from {', '.join(PROTOCOLS)}", param_hint="--protocol")
    temperatures = parse_temperatures(temperature)
    pairs = choose_clips(prepared, split, talkers=parse_names(talkers), limit=clips, per_talker=per_talker, seed=seed)
    wanted: list[tuple[Extra, bool]] = [("identity", identity), ("lpips", lpips)]
    extras = tuple(name for name, asked in wanted if asked)
    systems = parse_systems(system, weights, preset)
    plan = Plan(systems, temperatures, seed, tuple(PROTOCOLS[name] for name in protocols), extras, device, puppet)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for one in systems:
        if isinstance(one, VideoFolder) and (found := one.check([pair.clip for pair in pairs])) < len(pairs):
            console.print(f"{one.name} has videos of {found} of the {len(pairs)} clips; its row is over those alone")
    for name in extras:
        check_extra(name)
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
                strips = draw_strips(out / "strips", pairs, plan, per_talker=strip)
                bar.update(task, total=len(strips), completed=len(strips))
    except KeyboardInterrupt:
        kept = "nothing was kept" if out is None else f"finished rows are in {out}, the same command goes on"
        console.print(f"stopped; {kept}")
        raise typer.Exit(130) from None
    rows = tables.summarise(pairs, plan, scores)
    tables.show(Console(), rows, plan)
    if out is not None:
        written = [*tables.write(out, rows, plan), *strips]
        console.print(f"written: {', '.join(str(path) for path in written)}")
