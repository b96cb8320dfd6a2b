"""``napari-deblur info`` and ``list``: what there is."""

from __future__ import annotations

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told

__all__ = ["info", "list_"]


@told
def info(
    input: o.Input,
    axes: o.Axes = None,
    pixel_size: o.PixelSize = None,
    level: o.Level = None,
    series: o.Series = None,
    field: o.Field = None,
    debug: o.Debug = False,
) -> None:
    """Say what is in a file or store, or how a result was made."""
    from napari_deblur import describing, plates
    from napari_deblur.results import open_result

    given = {"axes": axes, "pixel_size": pixel_size, "level": level, "series": series}
    printing.table(describing.of_stack(o.job_of({**given, "field": field, "input": input}).open()))
    if series is None and field is None and (said := plates.others_in(input)):
        printing.note(said)
    try:
        result = open_result(input)
    except (ValueError, OSError):
        return  # an image, not a result of ours
    printing.say()
    printing.table(describing.of_result(result))


@told
def list_(debug: o.Debug = False) -> None:
    """List the methods, optical models and readers, one line each."""
    from napari_deblur import describing
    from napari_deblur.registry import methods, psfs, readers

    for n, catalogue in enumerate((methods, psfs, readers)):
        printing.say(("\n" if n else "") + typer.style(catalogue.folder, bold=True))
        printing.table((f"  {name}", text) for name, text in describing.of_catalogue(catalogue))
