"""`run`: do what a plan says, in this process or in many, and go on after a crash."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import (
    arrays,
    claims,
    creating,
    devices,
    export,
    exporting,
    finishing,
    fitting,
    gridding,
    noted,
    outputs,
    packing,
    places,
    scratch,
    system,
)
from napari_deblur.attempts import attempted
from napari_deblur.claims import Claim, Claimed
from napari_deblur.opening import as_planned, check_content, reopen
from napari_deblur.parts import Part
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.progress import Progress, Tally
from napari_deblur.results import LEDGER, open_result
from napari_deblur.stopping import RunStopped, explained
from napari_deblur.tasks import AT_ONCE, Engine, Task, in_this_process

if TYPE_CHECKING:
    from pathlib import Path

    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack
    from napari_deblur.store import Done, Store
    from napari_deblur.tiles import Index

__all__ = ["Claimed", "Progress", "RunStopped", "replay", "run"]


def replay(store: str | Path | Remote) -> Plan:
    """Give the plan of a result, to run it again."""
    return open_result(store).plan


def run(
    plan: Plan,
    output: str | Path | Remote,
    stack: object = None,
    *,
    job: Mapping[str, Any] | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    part: tuple[int, int] | None = None,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
    max_failed: int | None = None,
    wait: float = 0.0,
) -> Iterator[Progress]:
    """Restore every tile of a plan and write the result; a generator of progress.

    Closing the generator, or Ctrl-C, stops the run; what was done is kept, and running the same
    again goes on from there.

    Parameters
    ----------
    plan : Plan
    output : path
        ``NAME.deblur.zarr`` or another ``.zarr``, also ``s3://BUCKET/NAME.zarr``; or ``.tif`` for
        an OME-TIFF up to 4 GB, beside which ``NAME.kernels.tif`` is written.
    stack : Stack, its array, or None
        None opens the plan's source. A stack that lives in memory must be given.
    job : mapping or None
        What was asked for, to be kept with the result.
    workers : int
        Processes to start; 0 works in this one.
    scheduler : str or None
        Address of a dask scheduler instead.
    part : (k, n) or None
        Do only the k-th of n parts of the tiles, counted from 1; others do theirs, elsewhere, at
        the same time or later. Whoever finds all tiles there finishes the result.
    resume : bool
        Go on with an unfinished result of the same plan; False refuses to.
    overwrite : bool
        Remove an earlier result first; anything else is never removed.
    fail_fast : bool
        Raise when a tile fails; else it is tried 3 times, then left out and listed.
    max_failed : int or None
        Stop when more tiles fail. None stops when many fail one after the other, and then some
        here and there too.
    wait : float
        Seconds to wait for another run that is writing there, before `Claimed` is raised.

    Yields
    ------
    Progress
        The last one has phase ``complete`` or ``incomplete``, or ``part`` when this part is done
        and others are not.

    Raises
    ------
    ValueError
        When output, stack, workers, part or device do not fit, or the memory not the workers.
    FileExistsError
        When something else is at `output`; of the kind `Claimed` when another run is writing there.
    OSError
        When nothing can be written there.
    RunStopped
        When the disk is full or may not be written to, the input is gone, or all fails; the run
        can be continued.
    """
    if max_failed is not None and max_failed < 0:
        raise ValueError(f"max_failed is {max_failed} and must be 0 or more: a number of tiles")
    mine = None if part is None else Part(*part)
    refused = partial(outputs.refuse, output, workers=workers, scheduler=scheduler)
    claims.patiently(partial(refused, overwrite=overwrite, part=mine), wait)
    if mine is not None and plan.source is None and (workers or scheduler):
        raise ValueError(
            f"part {mine} of a stack that lives in memory is done by this process: leave workers "
            "and scheduler out, or write the stack to a file first"
        )
    how = _How(workers, scheduler, mine, resume, overwrite, fail_fast, max_failed, wait)
    output = place_of(output)
    plan = plan if overwrite else outputs.as_begun(plan, outputs.store_of(output))
    if scheduler is None:
        gridding.chosen_device(plan.device)  # a plan may have been made for other machines
    fitting.refuse(plan, workers)
    opened = _checked(plan, output, stack)
    progresses = _run(plan, outputs.store_of(output), opened, job, how)
    if isinstance(output, Remote) or output.suffix == ".zarr":
        return progresses
    return exporting.exported(plan, output, progresses, overwrite=overwrite)


@dataclass(frozen=True)
class _How:
    """The options of `run`."""

    workers: int
    scheduler: str | None
    part: Part | None
    resume: bool
    overwrite: bool
    fail_fast: bool
    max_failed: int | None
    wait: float

    @property
    def failing(self) -> dict[str, Any]:
        """What to do about tiles that fail."""
        return {"fail_fast": self.fail_fast, "max_failed": self.max_failed}


def _checked(plan: Plan, output: Place, stack: object) -> Stack | None:
    """Open what is given, if it is what the plan was made for."""
    if output.suffix != ".zarr":
        export.check_size(plan)
    if stack is None:
        if plan.source is None:
            raise ValueError("the plan's stack lives in memory: pass it as stack=")
        return None
    opened = as_planned(stack, plan.layout.shape, plan.layout.axes, rgb=plan.layout.rgb)
    check_content(opened, plan.source, plan.fingerprint)
    return opened


def _run(
    plan: Plan,
    output: Place,
    stack: Stack | None,
    job: Mapping[str, Any] | None,
    how: _How,
) -> Generator[Progress]:
    tally = Tally()
    if stack is None and plan.source is not None:
        stack = reopen(plan.source)  # a missing input is said once, not for each tile
    with ExitStack() as held:
        held.enter_context(explained(output))
        try:
            what = str(how.part or claims.ALL)
            claim = held.enter_context(claims.take(output / LEDGER, plan.key, what, wait=how.wait))
        except OSError as error:
            goes_on = how.resume and not how.overwrite
            last = finishing.found_complete(output, plan.key, error) if goes_on else None
            if last is None:
                raise
            yield last
            return
        if how.overwrite or outputs.is_blank(output):  # before anything is removed, or made
            _check_methods(plan, how)
        store = held.enter_context(
            closing(
                creating.create(output, plan, job=job, resume=how.resume, overwrite=how.overwrite)
            )
        )
        store.standing = claim.standing()
        scratch.clear(output)
        done = store.done(None if how.part is None else how.part.span(len(plan.shards)))
        numbers = _numbers(plan, done, how)
        there = done.tiles.count(numbers)
        tally.start("tiles", len(done.clipped[numbers]), there)
        tally.clipped = int(done.clipped[numbers].sum())
        tally.emptied = int(done.emptied[numbers].sum())
        # Another part may be finishing, or have finished, since the ledger was read.
        lacks = how.part is None or any(next(tasks, None) for tasks in _tasks(store, done, how))
        everything = done if how.part is None else None
        if not lacks and open_result(output).complete:
            everything = store.done()
        if everything is not None and finishing.all_there(store, everything):
            yield finishing.was_complete(store, everything, tally)
            return
        _check_methods(plan, how)
        if lacks:
            store.mark_incomplete()
        if how.part is None:
            store.sweep()
        else:  # who finishes sweeps: a thousand parts would all walk through all folders
            store.note_part(how.part.number, how.part.of)
        _check_disk(plan, output, stack, how, (tally.total - there) / len(plan))
        if not how.workers and how.scheduler is None:
            fitting.refuse_alone(plan)
        yield tally.progress(note=_greeting(store, tally))
        with _engine(store, stack, how, claim) as engine:
            for tasks in _tasks(store, done, how):
                for progress in attempted(store, engine, tasks, done, tally, **how.failing):
                    claim.check()
                    yield progress
            if how.part is None:
                yield from finishing.finished(store, engine, done, tally, claim, **how.failing)
            else:
                yield from _finished_by_last(store, engine, tally, claim, how)


def _check_methods(plan: Plan, how: _How) -> None:
    """Refuse what each tile would fail of, where this machine is to do it."""
    for channel in plan.channels if how.scheduler is None else ():
        if check := getattr(channel.method, "check", None):
            check()


def _numbers(plan: Plan, done: Done, how: _How) -> Any:
    """Give the positions of what is to be done in the grid's order."""
    if how.part is None:
        return slice(None)
    if not plan.shards.several:
        return slice(*how.part.span(len(plan)))
    numbers = (done.tiles.number(index) for index in how.part.tiles(plan.shards))
    return np.fromiter(numbers, np.int64)


def _tasks(store: Store, done: Done, how: _How) -> Iterator[Iterator[Task]]:
    """Give the tiles that are not there, then the files that tiles share and that have gaps."""

    def files() -> Iterator[Index]:
        return iter(store.plan.shards) if how.part is None else how.part.files(store.plan.shards)

    def task(index: Index) -> Task | None:
        there = index in done.tiles
        return None if there else Task(index, splits=done.splits.get(index, 0))

    yield packing.packed(store, 0, done, task, files())
    yield packing.left(store, 0, done, files())


def _finished_by_last(
    store: Store, engine: Engine, tally: Tally, claim: Claim, how: _How
) -> Iterator[Progress]:
    """Finish the result if no part has anything left to do, and none is finishing it."""
    claim.check()
    there, left = noted.said_of(store.path, store.plan)
    other = ""
    with ExitStack() as held:
        if not left:
            try:
                end = held.enter_context(
                    claims.take(store.ledger.folder, store.plan.key, claims.FINISH)
                )
            except Claimed as error:
                other = str(error)
            else:
                # Files that were lost since count here, and not before.
                done = store.done()
                there, left = len(done.tiles), sum(1 for _ in finishing.missing(store, done))
                if finishing.all_there(store, done):
                    yield finishing.was_complete(store, done, tally)
                    return
                if not left:
                    store.mark_incomplete()
                    yield from finishing.finished(store, engine, done, tally, end, **how.failing)
                    return
    tally.start("part", len(store.plan), there)
    other = other or f"{left} tiles of other parts are not there yet"
    yield tally.progress(note=f"part {how.part} is done; {other}")


def _is_copied(plan: Plan, how: _How) -> bool:
    """Whether a stack from memory is put on the disk, for workers."""
    return plan.source is None and (how.workers > 0 or how.scheduler is not None)


@contextmanager
def _engine(store: Store, stack: Stack | None, how: _How, claim: Claim) -> Iterator[Engine]:
    devices.give_back(store.plan.device)  # what planning left
    if not how.workers and how.scheduler is None:
        yield in_this_process(store, stack)
        return
    from napari_deblur.cluster import cluster_engine

    with ExitStack() as cleanup:
        if stack is not None and _is_copied(store.plan, how):
            cleanup.enter_context(scratch.copied(stack, store.path, store.plan.grid))
        yield cleanup.enter_context(
            cluster_engine(
                store.path,
                store.plan.key,
                claim=claim.file.name,
                workers=how.workers,
                scheduler=how.scheduler,
            )
        )


def _check_disk(plan: Plan, output: Place, stack: Stack | None, how: _How, share: float) -> None:
    """Refuse to begin what the disk has no room for: `share` of the tiles is to be made."""
    needed = arrays.room_for(plan, share, max(1, AT_ONCE * _workers(plan, how)))
    if stack is not None and _is_copied(plan, how):
        needed += prod(stack.shape) * stack.dtype.itemsize * arrays.MARGIN
    free = places.free_space(output)
    if needed > free:
        raise RunStopped(
            f"{output} needs about {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} GB "
            "free: free some space or choose an output on another disk"
        )


def _workers(plan: Plan, how: _How) -> int:
    """Count the workers that may be joining files at the same time."""
    if how.scheduler is None or not plan.shards.several:
        return how.workers
    from napari_deblur import cluster

    return cluster.count(how.scheduler)


def _greeting(store: Store, tally: Tally) -> str:
    cpu = open_result(store.path).attributes["cpu"]
    if not tally.done:
        return ""
    text = f"goes on after {tally.done} of {tally.total} tiles"
    if store.plan.device == "cpu" and cpu != system.cpu_kind():
        text += f"; they were made on another processor ({cpu}), so the last bits may differ"
    return text
