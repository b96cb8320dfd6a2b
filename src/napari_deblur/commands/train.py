"""``napari-deblur train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_deblur.options import Debug, told

__all__ = ["train"]

# What stands in brackets would be taken for colours.
EXAMPLE = (
    "A settings file is TOML, and can have: \\[\\[images]], with folder, for each folder of sharp "
    "images; \\[\\[pairs]], with the folders blurred and sharp; \\[optics], with na, wavelength "
    "and pixel_size in µm; \\[training], with settings such as iterations = 20000. "
    "docs/howto/train.md has an example."
)


@told
def train(
    settings: Annotated[str, typer.Argument(help="A TOML file (see below), or tiny, or light.")],
    out: Annotated[Path, typer.Argument(help="A folder; what it holds is gone on with.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Where the folders of images are; beside the settings by default.",
            file_okay=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps, or auto.")] = "cpu",
    iterations: Annotated[
        int | None, typer.Option(help="How many, instead of what the settings say.", min=1)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help='A setting of \\[training], such as batch=8, photons=100,1000, sizes="[[64, 15]]" '
            "or without=attention; repeatable. An unknown name lists them all.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train a network on sharp images, or pairs; stopped at any time, it goes on where it was."""
    from napari_deblur import printing, system, words
    from napari_deblur.gdunet.asked import typed
    from napari_deblur.training import line_of, train_network

    changes = typed(words.pairs(set_ or []))
    if iterations is not None:
        changes["iterations"] = iterations
    last = 0
    with system.stop_asked() as asked:

        def stop() -> bool:
            if stops := asked():
                printing.note("stopping: all is saved and looked at before")
            return stops

        for step in train_network(
            settings, out, data=data, device=device, stop=stop, say=printing.note, **changes
        ):
            typer.echo(line_of(step))
            last = step.iteration
        if asked():
            raise KeyboardInterrupt
    if last:
        printing.note(f"weights after {last} iterations, and the best of all, are in {out}")


train.__doc__ = f"{train.__doc__}\n\n{EXAMPLE}"
