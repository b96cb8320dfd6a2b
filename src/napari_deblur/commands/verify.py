"""``napari-deblur verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told

__all__ = ["verify"]


@told
def verify(
    store: Annotated[str, typer.Argument(help="A result, finished or not.")],
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete damaged chunks, for a run to restore.")
    ] = False,
    debug: o.Debug = False,
) -> None:
    """Read a result again, every byte, and compare it with what was written."""
    from napari_deblur import claims, verifying
    from napari_deblur.places import place_of
    from napari_deblur.results import LEDGER

    if discard:  # before all of it is read, which may take long
        claims.refuse(place_of(store) / LEDGER, claims.ALL)
    findings = list(verifying.verify(store))
    for finding in findings:
        printing.say(str(finding))
    damaged = [finding for finding in findings if finding.is_damage]
    if discard and damaged:
        count = verifying.discard(store, damaged)
        printing.say(f"{count} damaged chunks were deleted: run the same again to restore them")
    if damaged:
        raise typer.Exit(1)
    printing.say(f"{store} is sound" + (", but not complete" if findings else " and complete"))
    if findings:
        raise typer.Exit(3)
