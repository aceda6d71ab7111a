"""``streamhead portrait check``: will this picture do, and if not, why not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look at a portrait before it is used.")


@app.callback()
def _portrait() -> None:
    """Look at a portrait before it is used."""


@app.command()
def check(
    image: Annotated[Path, typer.Argument(metavar="IMG", help="Picture or video.")],
    pick: Annotated[int | None, typer.Option(help="Which face of several, from 1, left to right.", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="Draw what was found into this picture (.png, .jpg).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether IMG will work as a portrait, and why not. Exit code 0 or 2."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from streamhead.face.check import check as look
    from streamhead.face.check import check_drawable, draw

    if out is not None:
        check_drawable(out)
    checked = look(image, pick)
    if out is not None and checked.image is not None:
        draw(checked, out)
    if as_json:
        print(json.dumps({"portrait": str(image), **checked.facts()}, indent=2))
        raise typer.Exit(0 if checked.works else 2)
    console = Console(highlight=False, soft_wrap=True)
    judged = checked.judgement
    if judged is not None and checked.size is not None:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_row("picture", f"{checked.size[0]}x{checked.size[1]} px, {len(checked.faces) or 1} face(s)")
        if checked.frame is not None:
            table.add_row("frame", f"{checked.frame} of the video")
        if checked.found is not None and checked.found.box is not None:
            table.add_row("shown", "head and shoulders, cut out: the face is small in the photo")
        table.add_row("eyes apart", f"{judged.eye_distance:.0f} px (24 needed, 40 or more look good)")
        table.add_row("head", f"tilted {judged.tilt:+.0f}, turned {judged.turn:+.0f} degrees")
        if judged.works:
            table.add_row("mouth", f"open by {judged.mouth:.2f} of the eyes' distance")
            table.add_row("eyes", f"open by {judged.eyes:.2f} of their width")
            table.add_row("sharpness", f"{judged.sharpness:.3f}")
            table.add_row("light", f"{judged.light:.0f} of 255")
        console.print(table)
    if checked.refusal is not None:
        console.print(Text(f"will not work: {checked.refusal}", style="red"))
        raise typer.Exit(2)
    remarks = judged.remarks if judged is not None else ()
    for remark in remarks:
        console.print(Text(f"the face {remark.text}", style="yellow"))
    console.print(Text("will work" + (", with what is said above" if remarks else ""), style="green"))
    if out is not None:
        console.print(Text(f"drawn: {out}"))
