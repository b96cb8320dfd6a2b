"""``napari-deblur``: everything from the command line.

Exit status: 0 all is well; 1 wrong input, or stopped and to be continued; 2 wrong usage;
3 not complete: some tiles failed, or a run is to be continued.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from napari_deblur import json_lines
from napari_deblur.bench.commands import app as bench
from napari_deblur.commands.demo import demo
from napari_deblur.commands.finish import finish
from napari_deblur.commands.info import info, list_
from napari_deblur.commands.kernels import estimate, kernel_
from napari_deblur.commands.resolution import resolution
from napari_deblur.commands.run import run
from napari_deblur.commands.simulate import simulate
from napari_deblur.commands.train import train
from napari_deblur.commands.verify import verify

__all__ = ["app", "main"]

USAGE: Any = typer.BadParameter.__mro__[1]  # the kind of all of click's errors of usage

app = typer.Typer(
    help="Deconvolution of microscope stacks of any size, with the blur kernel known or found.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo)
app.command()(info)
app.command("list")(list_)
app.command()(estimate)
app.command("kernel")(kernel_)
app.command()(resolution)
app.command()(run)
app.command()(simulate)
app.command()(train)
app.command()(verify)
app.command()(finish)
app.add_typer(bench, name="bench")


def main() -> None:
    """Run the command line; where lines of JSON are asked for, wrong usage is told in one, too."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever began this, such as >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if not json_lines.are_asked(sys.argv):
        app()
        return
    try:
        sys.exit(app(standalone_mode=False))
    except USAGE as error:
        json_lines.say("error", text=error.format_message())
        sys.exit(2)


if __name__ == "__main__":
    main()
