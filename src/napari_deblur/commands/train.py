"""``napari-deblur train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_deblur.options import Debug, told

__all__ = ["train"]


@told
def train(
    settings: Annotated[str, typer.Argument(help="A TOML file, or tiny, or light.")],
    out: Annotated[Path, typer.Argument(help="A folder; what it holds is gone on with.")],
    data: Annotated[
        Path | None, typer.Option(help="Where the folders of images are.", file_okay=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    iterations: Annotated[
        int | None, typer.Option(help="How many, instead of what the settings say.", min=1)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train a network on sharp images; stopped at any time, it goes on where it was."""
    from napari_deblur import words
    from napari_deblur.gdunet.schedule import Settings
    from napari_deblur.training import line_of, train_network

    changes = words.typed(Settings, words.pairs(set_ or []))
    if iterations is not None:
        changes["iterations"] = iterations
    for step in train_network(settings, out, data=data, device=device, **changes):
        typer.echo(line_of(step))
