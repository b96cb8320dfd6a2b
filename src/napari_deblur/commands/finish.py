"""``napari-deblur finish``."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_deblur import options as o
from napari_deblur import printing
from napari_deblur.options import told

__all__ = ["finish"]


@told
def finish(
    store: Annotated[str, typer.Argument(help="A result that was done in parts.")],
    workers: o.Workers = 0,
    scheduler: o.Scheduler = None,
    wait: o.Wait = 0.0,
    progress: o.Said = "auto",
    debug: o.Debug = False,
) -> None:
    """Complete a result of which all parts are done: pyramid, sizes, the word that it is complete.

    The last part does so by itself; this is for a result whose last part was stopped then, or
    whose pyramid is to be made by many processes. The input need not be there any more.
    """
    from napari_deblur import finishing, system

    try:
        with system.stopping_on_signals():
            last = printing.followed(
                finishing.finish(store, workers=workers, scheduler=scheduler, wait=wait)
            )
    except finishing.Unfinished as lacking:
        printing.error(printing.sentence(lacking))
        raise typer.Exit(3) from lacking
    printing.say(f"{store} is {last.phase}")
    if last.failed:
        raise typer.Exit(3)
