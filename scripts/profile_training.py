#!/usr/bin/env python3
"""Where a training step's time goes, by precision, memory layout and threads.

    scripts/profile_training.py PREPARED [--recipe scripts/recipes/call.toml] [--out docs/training]

Runs the recipe's first steps anew for each row, with nothing beside it on the machine if the figures are to mean
anything. Writes speed.md, anew after each row.
"""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.progress import track
from torch import Tensor, nn

from streamhead.baselines.trainees import build_trainee
from streamhead.errors import StreamheadError
from streamhead.evaluation.tables import write_texts
from streamhead.training.batches import Batch, BatchSource
from streamhead.training.config import TrainingConfig, read_config
from streamhead.training.run_folder import Ema

RECIPES: Final = Path(__file__).resolve().parent / "recipes"
PARTS: Final = ("data", "encoders", "LSTMs", "decoder", "loss", "backward", "optimiser")
KINDS: Final = {
    "image_encoder": "encoders",
    "frame_encoder": "encoders",
    "audio_encoder": "encoders",
    "frame_posterior": "LSTMs",
    "audio_posterior": "LSTMs",
    "predictor": "LSTMs",
    "decoder": "decoder",
}
"""Of modules, by their names."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table."""

    precision: str
    channels_last: bool
    threads: int
    compiled: bool = False

    @property
    def cells(self) -> str:
        layout = "channels last" if self.channels_last else "contiguous"
        return f"{self.precision} | {layout} | {self.threads} | {'yes' if self.compiled else 'no'}"


class Stopwatch:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - began

        return wrapped

    def watch(self, model: nn.Module) -> None:
        """Time the parts of a trainee wherever it calls them."""
        for name, module in model.named_modules():
            part = KINDS.get(name.rpartition(".")[2])
            for method in ("forward", "step", "skip_halves"):
                if part is not None and hasattr(module, method):
                    setattr(module, method, self.timed(part, getattr(module, method)))


def contiguous(batch: Batch) -> Batch:
    """The batch with its pictures channel after channel in memory."""
    values: dict[str, Tensor] = {field.name: getattr(batch, field.name).contiguous() for field in fields(batch)}
    return Batch(**values)


def measure(config: TrainingConfig, source: BatchSource, setting: Setting, steps: int) -> dict[str, float]:
    """Median seconds of each part of a step, the first one left out."""
    torch.set_num_threads(setting.threads)
    torch.manual_seed(config.seed)
    model = build_trainee(config.network, config.loss)
    model.adopt(source)
    if setting.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(config.optimiser.frozen))
    optimiser = torch.optim.Adam(model.parameters(), lr=config.optimiser.rate)
    ema = Ema(model.network, config.optimiser.ema)
    watch = Stopwatch()
    if setting.compiled:
        model.compile()  # graphs do not end at the parts' borders: all of it counts as loss
    else:
        watch.watch(model)

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip)
        optimiser.step()
        ema.update(model.network, 0)

    rows = []
    for step in range(steps + 1):
        watch.seconds.clear()
        batch = watch.timed("data", source.batch)(step)
        if not setting.channels_last:
            batch = contiguous(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
            terms = watch.timed("forward", model)(batch)
        optimiser.zero_grad(set_to_none=True)
        watch.timed("backward", terms["loss"].backward)()
        watch.timed("optimiser", update)()
        inner = sum(watch.seconds[part] for part in ("encoders", "LSTMs", "decoder"))
        rows.append({**watch.seconds, "loss": watch.seconds["forward"] - inner})
    return {part: float(np.median([row.get(part, 0.0) for row in rows[1:]])) for part in PARTS}


def processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def markdown(rows: dict[Setting, dict[str, float]], config: TrainingConfig, recipe: str, steps: int) -> str:
    """The report."""
    seen = config.data.clips * config.data.frames
    given = " --compiled" if any(setting.compiled for setting in rows) else ""
    lines = [
        "# What a training step costs",
        "",
        f"    scripts/profile_training.py PREPARED --recipe {recipe} --steps {steps}{given}",
        "",
        f"{processor()}, torch {torch.__version__}, {config.data.clips} clips of {config.data.frames} frames a step, "
        f"{config.data.decoded} of each drawn; median of {steps} steps after the first, from untrained weights. Parts "
        "are timed one after the other; in training the next step's data are prepared in a second thread. `loss` is "
        "the rest of the forward pass: warping, losses, KL; where compiled, all of it.",
        "",
        "| precision | layout | threads | compiled | frames/s | s a step | " + " | ".join(PARTS) + " |",
        "|---|---|---:|---|---:|---:|" + "---:|" * len(PARTS),
    ]
    for setting, parts in rows.items():
        whole = sum(parts.values())
        shares = " | ".join(f"{100 * parts[part] / whole:.0f} %" for part in PARTS)
        lines.append(f"| {setting.cells} | {seen / whole:.0f} | {whole:.2f} | {shares} |")
    return "\n".join(lines) + "\n"


def main(
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="Folder made by `streamhead prepare`.")],
    recipe: Annotated[Path, typer.Option(help="What is trained.")] = RECIPES / "call.toml",
    steps: Annotated[int, typer.Option(min=1, help="Measured for each row.")] = 3,
    threads: Annotated[str, typer.Option(metavar="A,B", help="Numbers of processor threads.")] = "1,2",
    compiled: Annotated[bool, typer.Option(help="A row of torch.compile as well; takes minutes.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for speed.md.")] = Path("docs/training"),
) -> None:
    """Measure where a training step's time goes."""
    counts = [int(part) for part in threads.split(",")]
    settings = [Setting(*one) for one in product(("fp32", "bf16"), (True, False), counts)]
    settings += [Setting("fp32", True, max(counts), compiled=True)] * compiled
    try:
        config = read_config(recipe, prepared=prepared)
        source = BatchSource(config)
        name = f"scripts/recipes/{recipe.name}" if recipe.parent == RECIPES else str(recipe)
        rows: dict[Setting, dict[str, float]] = {}
        for setting in track(settings, "measuring"):
            rows[setting] = measure(config, source, setting, steps)
            [path] = write_texts(out, {"speed.md": markdown(rows, config, name, steps)})
    except StreamheadError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"written: {path}", err=True)


if __name__ == "__main__":
    typer.run(main)
