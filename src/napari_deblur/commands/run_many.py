"""``napari-deblur run 'in/*.zarr' OUTDIR``: one command for many images, one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer

from napari_deblur import json_lines, printing
from napari_deblur.places import place_of

if TYPE_CHECKING:
    from rich.progress import TaskID

    from napari_deblur.costing import Sum
    from napari_deblur.job import Job
    from napari_deblur.many import Outcome, Step

__all__ = ["is_for_many", "restored_all"]

COLUMNS = ("image", "state", "kernel", "tiles", "failed", "time", "output")
# Seconds between two lines about one image, where output goes into a file.
PAUSE = 30.0
TIMING = "timing a tile of each method"
PLANNED = ("image", "kernel", "tiles", "disk", "output")


def is_for_many(paths: Sequence[str]) -> bool:
    """Tell whether the paths of a command, the output last, speak of many images."""
    from napari_deblur.many_inputs import means_many

    return len(paths) > 2 or means_many(paths[:1], paths[1] if len(paths) > 1 else None)


def restored_all(
    job: Job, paths: Sequence[str], how: Mapping[str, Any], *, plan_only: bool = False
) -> None:
    """Do a job on many images, and report; exit status 3 if one failed.

    Parameters
    ----------
    job : Job
    paths : at least one input, and the folder for the results last
    how : as for `batch.run`
    """
    from napari_deblur import costing, many, places, system

    if len(paths) < 2:
        raise typer.BadParameter(
            "name a folder for the results of many images, last", param_hint="OUTPUT"
        )
    *inputs, folder = paths
    begun, total = monotonic(), costing.Sum(how.get("workers", 0))
    with system.stopping_on_signals():
        steps = many.run(job, inputs, folder, plan_only=plan_only, **how)
        outcomes = _followed(_summed(steps, total))
    for line in _table(outcomes, PLANNED if plan_only else COLUMNS, folder):
        printing.say(line)
    part = how.get("part")
    if total.tiles:
        free = places.free_space(place_of(folder))
        printing.table(total.rows(part[1] if part else 1, free))
    for one in outcomes:
        if not one.is_well:
            printing.error(f"{_named(one)}: {one.note}")
    failed = sum(not one.is_well for one in outcomes)
    count = f"{len(outcomes)} image{'s' if len(outcomes) != 1 else ''}"
    said = f"{count} in {printing.lasting(monotonic() - begun)}, {failed} failed"
    printing.say(said if plan_only else f"{said}: {many.summary_of(folder, part)}")
    if failed:
        raise typer.Exit(3)


def _summed(steps: Iterator[Step], total: Sum) -> Iterator[Step]:
    """Sum up what plans cost, by tiles of the first image of which they can be restored."""
    from napari_deblur.tasks import AT_ONCE

    for step in steps:
        if step.plan is not None:
            seconds = step.outcome.seconds if step.outcome else 0.0
            total.add(step.plan, max(1, AT_ONCE * total.workers), seconds)
            if total.rate is None:
                yield replace(step, note=TIMING, outcome=None, plan=None)
                with suppress(Exception):  # a run lists what is wrong with it
                    total.time(step.plan)
        yield step


def _followed(steps: Iterator[Step]) -> list[Outcome]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if json_lines.is_on():
        told = _in_json(steps)
    else:
        told = _with_bars(steps, console) if console.is_terminal else _in_lines(steps, console)
    # The last one of each image counts: what another run was writing has a second turn.
    ends = {step.outcome.output: step.outcome for step in told if step.outcome is not None}
    return list(ends.values())


def _in_lines(steps: Iterator[Step], console: Any) -> Iterator[Step]:
    """Print a line when an image begins and ends, for what is said, and now and then."""
    number, said_at = 0, monotonic()
    for step in steps:
        heard = step.note == TIMING if step.progress is None else step.progress.note
        if step.number != number or step.outcome or heard or monotonic() > said_at + PAUSE:
            console.print(str(step))
            number, said_at = step.number, monotonic()
        yield step


def _in_json(steps: Iterator[Step]) -> Iterator[Step]:
    pace, number = json_lines.Pace(), 0
    for step in steps:
        image = {"image": step.number, "images": step.count, "input": str(step.target)}
        if step.number != number:
            pace, number = json_lines.Pace(), step.number
        if step.outcome is not None:
            one = step.outcome
            said = {"state": one.state, "failed": one.failed, "seconds": round(one.seconds, 1)}
            json_lines.say("image", **image, **said, output=one.output, note=one.note)
        elif step.progress is None:
            json_lines.say("step", **image, text=step.note)
        elif pace.takes(step.progress):
            json_lines.tell(step.progress, **image)
        yield step


def _with_bars(steps: Iterator[Step], console: Any) -> Iterator[Step]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", style="dim"),
    )
    with Progress(*columns, console=console) as bars:
        images: TaskID = bars.add_task("images", total=None, said="")
        tiles: TaskID = bars.add_task("", total=None, said="")
        for step in steps:
            progress = step.progress
            done = step.number - (step.outcome is None)
            bars.update(images, completed=done, total=step.count, said=str(step.target))
            if progress is None:
                bars.update(tiles, description="planning", completed=0, total=None, said=step.note)
            else:
                left = f"{printing.lasting(progress.eta)} left" if progress.eta else ""
                bars.update(
                    tiles,
                    description=progress.phase,
                    completed=progress.done,
                    total=progress.total,
                    said=left,
                )
                if progress.note and step.outcome is None:
                    bars.console.print(f"note: {step.target}: {progress.note}", soft_wrap=True)
            yield step


def _table(outcomes: Sequence[Outcome], columns: Sequence[str], folder: str) -> Iterator[str]:
    """Give the lines of a table with aligned columns."""
    rows = [columns, *(_row(one, columns, folder) for one in outcomes)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(columns))]
    for row in rows:
        yield "  ".join(
            f"{text:<{width}}" for text, width in zip(row, widths, strict=True)
        ).rstrip()


def _row(one: Outcome, columns: Sequence[str], folder: str) -> list[str]:
    from napari_deblur import describing

    said = {
        "image": _named(one),
        "state": one.state,
        "kernel": one.kernel or "-",
        "tiles": str(one.tiles),
        "failed": str(one.failed),
        "time": printing.lasting(one.seconds),
        "disk": describing.size(one.disk),
        "output": one.output.removeprefix(str(place_of(folder))).lstrip("/\\"),
    }
    return [said[name] for name in columns]


def _named(one: Outcome) -> str:
    return Path(one.input).name + (f" [{one.image}]" if one.image else "")
