"""The ``streamhead`` command: registers the commands and turns errors a user can mend into one line."""

from __future__ import annotations

import traceback
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from streamhead import __version__
from streamhead.cli.devices import devices
from streamhead.cli.doctor import doctor
from streamhead.cli.evaluate import evaluate
from streamhead.cli.figures import figures
from streamhead.cli.legibility import legibility
from streamhead.cli.portrait import app as portrait
from streamhead.cli.prepare import prepare
from streamhead.cli.render import render
from streamhead.cli.serve import serve
from streamhead.cli.study import study
from streamhead.cli.train import train
from streamhead.errors import StreamheadError

__all__ = ["app", "main"]

_EXTRAS: Final = {
    "aiohttp": "webrtc",
    "aiortc": "webrtc",
    "c2pa": "c2pa",
    "nltk": "study",
    "prometheus_client": "webrtc",
    "skimage": "metrics",
    "tensorboard": "train",
    "torchmetrics": "metrics",
}


class _Commands(TyperGroup):
    """Runs a command; an error that names its mend becomes one red line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StreamheadError as error:
            message = str(error)
            cause: Exception = error
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            message = f"this needs {error.name}; pip install 'streamhead[{extra}]'"
            cause = error
        if ctx.params["debug"]:
            traceback.print_exception(cause)
        line = " ".join(f"error: {message}".split())
        Console(stderr=True).print(Text(line, style="red"), soft_wrap=True)
        raise typer.Exit(2)


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"streamhead {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """A voice and a portrait become a live talking head."""


for _command in (render, serve, prepare, train, evaluate, legibility, devices, doctor):
    app.command()(_command)
app.add_typer(portrait, name="portrait")
app.add_typer(figures, name="figures")
app.add_typer(study, name="study")


def main() -> None:
    """Run the command line."""
    app()
