"""``napari-deblur demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.commands.run import restored
from napari_deblur.options import told

__all__ = ["demo"]


@told
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("napari-deblur-demo"),
    view: Annotated[bool, typer.Option("--view", help="Show the result in napari.")] = False,
    debug: o.Debug = False,
) -> None:
    """Deblur a real stack that comes with the package, and draw a report."""
    from napari_deblur import demonstration

    if view:
        demonstration.must_have_napari()
    job = demonstration.job(out)
    printing.say(f"$ {job.command()}")
    last = restored(job, {"overwrite": True})
    assert last is not None
    for line in demonstration.story(job):
        printing.say(line)
    if view:
        demonstration.view(job)
