"""`run`: do what a plan says, in this process or in many, and go on after a crash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur import creating, export, outputs, system
from napari_deblur.ledger import Entry
from napari_deblur.opening import as_planned, reopen
from napari_deblur.progress import Progress, Tally
from napari_deblur.results import open_result
from napari_deblur.scratch import copied
from napari_deblur.tasks import (
    Engine,
    RunStopped,
    Task,
    Todo,
    explained,
    in_this_process,
    stops_the_run,
)

if TYPE_CHECKING:
    from napari_deblur.plans import Plan
    from napari_deblur.pyramid import Level
    from napari_deblur.stack import Stack
    from napari_deblur.store import Done, Store

__all__ = ["Progress", "RunStopped", "replay", "run"]

TRIES = 3
MARGIN = 1.1  # metadata, ledger and folders on top of the planned bytes


def replay(store: str | Path) -> Plan:
    """Give the plan of a result, to run it again."""
    return open_result(store).plan


def run(
    plan: Plan,
    output: str | Path,
    stack: object = None,
    *,
    job: Mapping[str, Any] | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
) -> Iterator[Progress]:
    """Restore every tile of a plan and write the result; a generator of progress.

    Closing the generator, or Ctrl-C, stops the run; what was done is kept, and running the same
    again goes on from there.

    Parameters
    ----------
    plan : Plan
    output : path
        ``NAME.deblur.zarr`` or another ``.zarr``; or ``.tif`` for an OME-TIFF up to 4 GB, beside
        which ``NAME.kernels.tif`` is written.
    stack : Stack, its array, or None
        None opens the plan's source. A stack that lives in memory must be given.
    job : mapping or None
        What was asked for, to be kept with the result.
    workers : int
        Processes to start; 0 works in this one.
    scheduler : str or None
        Address of a dask scheduler instead.
    resume : bool
        Go on with an unfinished result of the same plan; False refuses to.
    overwrite : bool
        Remove an earlier result first; anything else is never removed.
    fail_fast : bool
        Raise when a tile fails; else it is tried 3 times, then left out and listed.

    Yields
    ------
    Progress
        The last one has phase ``complete`` or ``incomplete``.

    Raises
    ------
    ValueError
        When output, stack or workers do not fit.
    FileExistsError
        When something else is at `output`.
    OSError
        When nothing can be written there.
    RunStopped
        When the disk is full or may not be written to; the run can be continued.
    """
    outputs.refuse(output, workers=workers, scheduler=scheduler, overwrite=overwrite)
    how = _How(workers, scheduler, resume, overwrite, fail_fast)
    output = Path(output)
    opened = _checked(plan, output, stack)
    to = _run if output.suffix == ".zarr" else _run_to_tiff
    return to(plan, output, opened, job, how)


@dataclass(frozen=True)
class _How:
    """The options of `run`."""

    workers: int
    scheduler: str | None
    resume: bool
    overwrite: bool
    fail_fast: bool


def _checked(plan: Plan, output: Path, stack: object) -> Stack | None:
    """Open what is given, if it is what the plan was made for."""
    if output.suffix != ".zarr":
        export.check_size(plan)
    if stack is None:
        if plan.source is None:
            raise ValueError("the plan's stack lives in memory: pass it as stack=")
        return None
    return as_planned(stack, plan.layout.shape, plan.layout.axes, rgb=plan.layout.rgb)


def _run(
    plan: Plan,
    output: Path,
    stack: Stack | None,
    job: Mapping[str, Any] | None,
    how: _How,
) -> Iterator[Progress]:
    tally = Tally()
    if stack is None and plan.source is not None:
        stack = reopen(plan.source)  # a missing input is said once, not for each tile
    with (
        explained(output),
        closing(
            creating.create(output, plan, job=job, resume=how.resume, overwrite=how.overwrite)
        ) as store,
    ):
        done = store.done()
        complete = open_result(output).complete
        tally.start("tiles", len(plan), len(done.tiles))
        tally.clipped = sum(done.clipped.values())
        tally.emptied = sum(done.emptied.values())
        if complete and len(done.tiles) == len(plan) and not any(_chunks(store, done)):
            yield replace(tally.progress(), phase="complete", note="it was complete already")
            return
        store.mark_incomplete()
        store.sweep()
        _check_disk(plan, output, share=1 - len(done.tiles) / len(plan))
        yield tally.progress(note=_greeting(store, done))
        with _engine(store, stack, how) as engine:
            tiles = (i for i in plan.grid if i not in done.tiles)
            tasks = (Task(index, splits=done.splits.get(index, 0)) for index in tiles)
            yield from _work(engine, tasks, done, tally, how)
            total = sum(len(level.grid) for level in store.levels[1:])
            tally.start("pyramid", total, total - sum(1 for _ in _chunks(store, done)))
            for level in store.levels[1:]:
                # One level after the other: each is made of the one below.
                yield from _work(engine, _chunks(store, done, [level]), done, tally, how)
        failed = sorted(tally.failed, key=lambda f: (f["level"], f["index"]))
        store.finish(failed)
        tally.start("incomplete" if failed else "complete", len(plan), len(done.tiles))
        yield tally.progress(note=_farewell(failed))


def _chunks(store: Store, done: Done, levels: Sequence[Level] | None = None) -> Iterator[Task]:
    """Give the chunks of pyramid levels that are not there, or made of something older."""
    for level in store.levels[1:] if levels is None else levels:
        for index in level.grid:
            inputs = store.inputs(level.number, index, done)
            if done.inputs.get((level.number, index)) != inputs:
                yield Task(index, level.number, inputs=inputs)


def _work(
    engine: Engine, tasks: Iterator[Task], done: Done, tally: Tally, how: _How
) -> Iterator[Progress]:
    """Let an engine do tasks; what fails comes again at the end, three times in all."""
    todo = Todo(tasks)
    with closing(engine(todo)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, Entry):
                done.add(outcome)
                tally.done += 1
                tally.clipped += outcome.clipped
                tally.emptied += outcome.emptied
                yield tally.progress(task.index)
                continue
            if how.fail_fast or stops_the_run(outcome):
                raise outcome
            # The first line, and not too long: it goes into the store's attributes.
            said = f"{type(outcome).__name__}: {outcome}".partition("\n")[0][:200]
            note = f"tile {task.index} failed ({said})"
            if task.retries + 1 < TRIES:
                todo.again(replace(task, retries=task.retries + 1))
                note += " and will be tried again"
            else:
                failure = {"level": task.level, "index": list(task.index), "error": said}
                tally.failed.append(failure)
                note += f" {TRIES} times and is left out"
            yield tally.progress(task.index, note)


@contextmanager
def _engine(store: Store, stack: Stack | None, how: _How) -> Iterator[Engine]:
    if not how.workers and how.scheduler is None:
        yield in_this_process(store, stack)
        return
    from napari_deblur.cluster import cluster_engine

    with ExitStack() as cleanup:
        if store.plan.source is None and stack is not None:
            cleanup.enter_context(copied(stack, store.path, store.plan.grid))
        key = store.plan.key
        yield cleanup.enter_context(
            cluster_engine(store.path, key, workers=how.workers, scheduler=how.scheduler)
        )


def _check_disk(plan: Plan, output: Path, *, share: float) -> None:
    needed, free = plan.disk * share * MARGIN, system.free_disk(output)
    if needed > free:
        raise RunStopped(
            f"{output} needs about {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} GB "
            "free: free some space or choose an output on another disk"
        )


def _greeting(store: Store, done: Done) -> str:
    cpu = open_result(store.path).attributes["cpu"]
    if not done.tiles:
        return ""
    text = f"goes on after {len(done.tiles)} of {len(store.plan)} tiles"
    if store.plan.device == "cpu" and cpu != system.cpu_kind():
        text += f"; they were made on another processor ({cpu}), so the last bits may differ"
    return text


def _farewell(failed: Sequence[Mapping[str, Any]]) -> str:
    if not failed:
        return ""
    first = failed[0]
    return (
        f"{len(failed)} chunks could not be made, the first is {tuple(first['index'])} "
        f"({first['error']}): run the same again to try them once more"
    )


def _run_to_tiff(
    plan: Plan, output: Path, stack: Stack | None, job: Mapping[str, Any] | None, how: _How
) -> Iterator[Progress]:
    """Run into a hidden store beside the file, then export; the store goes if it is complete."""
    hidden = outputs.store_of(output)
    if not how.overwrite:
        _refuse_other_run(plan, output, hidden)
    last = None
    for progress in _run(plan, hidden, stack, job, how):
        if progress.phase in ("complete", "incomplete"):
            last = progress
        else:
            yield progress
    if last is None:
        return
    yield replace(last, phase="export", note=f"writing {output.name}")
    with explained(output):
        export.write_tiff(open_result(hidden), output)
        if last.phase == "complete":
            creating.remove(hidden)
    yield last


def _refuse_other_run(plan: Plan, output: Path, hidden: Path) -> None:
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
