"""``streamhead train``: train a preset from a TOML recipe, resumably."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="Recipe, for instance scripts/recipes/call.toml.")],
    # Not --run: torchrun takes that for an abbreviation of an option of its own.
    out: Annotated[Path, typer.Option(help="Run folder: state, log, strips; a run found there is resumed.")],
    prepared: Annotated[Path | None, typer.Option(help="Prepared data, instead of the recipe's.")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights to start from where the run folder is new.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many steps in all.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many minutes of training, earlier parts of the run included.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the recipe's.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; default: the library's choice.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the averaged weights here at the end.")] = None,
    export_only: Annotated[
        bool, typer.Option("--export-only", help="Only write --export from the run folder.")
    ] = False,
) -> None:
    """Train on prepared clips. Ctrl-C saves and stops; the same command goes on from there."""
    import torch
    from rich.console import Console

    from streamhead.errors import DataError
    from streamhead.training import loop
    from streamhead.training.config import read_config
    from streamhead.training.run_folder import RunFolder

    if threads is not None:
        torch.set_num_threads(threads)
    settings = read_config(config, prepared=prepared, steps=steps, minutes=minutes, seed=seed)
    folder = RunFolder(out)
    console = Console(stderr=True)
    if export_only and export is None:
        raise DataError("--export-only writes nothing without --export FILE; give one")
    if not export_only:
        done = loop.train(settings, folder, init=init, console=console)
        console.print(f"{done} steps done; state in {folder.state}")
    if export is not None:
        loop.export(settings, folder, export)
        console.print(f"weights written to {export}")
