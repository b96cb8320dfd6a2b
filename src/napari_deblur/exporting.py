"""A run whose output is a TIFF: into a hidden store beside it, which is then exported."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_deblur import claims, creating, export, outputs
from napari_deblur.results import LEDGER, open_result
from napari_deblur.stopping import RunStopped, explained
from napari_deblur.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from napari_deblur.places import Place
    from napari_deblur.plans import Plan
    from napari_deblur.progress import Progress
    from napari_deblur.results import Result

__all__ = ["exported"]


def exported(
    plan: Plan, output: Path, run: Generator[Progress], *, overwrite: bool
) -> Generator[Progress]:
    """Run into the hidden store of a TIFF, then write that; the store goes if it is complete.

    Parameters
    ----------
    plan : Plan
    output : Path
    run : generator of progress
        Into the hidden store; it has not begun yet.
    overwrite : bool
        Whether an earlier run may go.

    Raises
    ------
    FileExistsError
        When the hidden store is of another plan.
    RunStopped
        When tiles were lost before they were exported.
    """
    hidden = outputs.store_of(output)
    if not overwrite:
        _refuse_other_run(plan, output, hidden)
    last = None
    with closing(run):
        for progress in run:
            if progress.phase in ("complete", "incomplete"):
                last = progress
            else:
                yield progress
    if last is None:
        return
    yield replace(last, phase="export", note=f"writing {output.name}")
    # Nobody else may write it, or remove what it is made of, meanwhile.
    with explained(output), claims.take(hidden / LEDGER, plan.key, claims.ALL):
        export.sweep(output)
        export.write_tiff(_whole(plan, hidden), output)
        if last.phase == "complete":
            creating.remove(hidden)
    yield last


def _whole(plan: Plan, hidden: Place) -> Result:
    """Open what is to be exported, if nothing happened to it since its claim was given back."""
    try:
        result = open_result(hidden)
        done = len(Store(hidden, plan).done().tiles) if result.key == plan.key else 0
        lost = len(plan) - done - len(result.failed)
    except (FileNotFoundError, ValueError):
        lost = len(plan)
    if lost > 0:
        raise RunStopped(
            f"{lost} of {len(plan)} tiles in {hidden} were lost since they were written, perhaps "
            "to another run: run the same again to make them anew"
        )
    return result


def _refuse_other_run(plan: Plan, output: Path, hidden: Place) -> None:
    """Speak of the file that the user knows, where the hidden store is another plan's."""
    try:
        key = open_result(hidden).key
    except (FileNotFoundError, ValueError):
        return  # nothing there, or nothing of ours: `create` says so
    if key != plan.key:
        raise FileExistsError(
            f"{output} was begun with another plan ({key[:8]}, this one is {plan.key[:8]}), which "
            "left an unfinished run: finish that one first, discard it (--overwrite) or choose "
            "another output"
        )
