"""The end of a run: all tiles are there; now the pyramid, and the word that it is complete."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur import claims, creating, outputs, packing, scratch
from napari_deblur.attempts import attempted
from napari_deblur.parts import Part
from napari_deblur.places import Remote, place_of
from napari_deblur.progress import Progress, Tally
from napari_deblur.results import LEDGER, open_result
from napari_deblur.stopping import explained
from napari_deblur.store import Store
from napari_deblur.tasks import Engine, Task, in_this_process

if TYPE_CHECKING:
    from napari_deblur.claims import Claim
    from napari_deblur.places import Place
    from napari_deblur.store import Done
    from napari_deblur.tiles import Index

__all__ = ["Unfinished", "all_there", "finish", "finished", "found_complete", "missing"]

NAMED = 8  # parts, or tiles, that are named in a sentence
COMPLETE = "it was complete already"


class Unfinished(RuntimeError):
    """Tiles are missing; the text says which, and what to run."""


def finish(
    path: str | Path | Remote, *, workers: int = 0, scheduler: str | None = None, wait: float = 0.0
) -> Iterator[Progress]:
    """Complete a result whose tiles are all there: its pyramid, its sizes, the word ``complete``.

    The last part of a run does so by itself. Doing it again, or twice at once, is harmless. The
    input is not read and need not be there.

    Parameters
    ----------
    path : path or URL of the result
    workers : int
        Processes to start for the pyramid; 0 works in this one.
    scheduler : str or None
        Address of a dask scheduler instead.
    wait : float
        Seconds to wait for whoever is writing there.

    Yields
    ------
    Progress
        The last one has phase ``complete``, or ``incomplete`` when tiles failed.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no result, or workers and scheduler do not fit.
    Unfinished
        When tiles are missing.
    Claimed
        When a run that does all tiles is going on.
    """
    outputs.refuse_workers(workers, scheduler)
    path, tally = place_of(path), Tally()
    result = open_result(path)
    with ExitStack() as held:
        held.enter_context(explained(path))
        try:
            claim = held.enter_context(
                claims.take(path / LEDGER, result.key, claims.FINISH, wait=wait)
            )
        except OSError as error:
            if (last := found_complete(path, result.key, error)) is None:
                raise
            yield last
            return
        store = held.enter_context(closing(creating.create(path, result.plan)))
        store.standing = claim.standing()
        scratch.clear(path)
        # Files that are gone, or not as long as they were written, do not count as done.
        done = store.done()
        if all_there(store, done):
            yield was_complete(store, done, tally)
            return
        store.mark_incomplete()
        if next(missing(store, done), None) is not None:
            raise Unfinished(_said_of_missing(store, done))
        with _engine(store, claim, workers, scheduler) as engine:
            yield from finished(store, engine, done, tally, claim)


@contextmanager
def _engine(store: Store, claim: Claim, workers: int, scheduler: str | None) -> Iterator[Engine]:
    """Give what makes chunks of chunks, for which no input is opened."""
    if not workers and scheduler is None:
        yield in_this_process(store, None)
        return
    from napari_deblur.cluster import cluster_engine

    key, name = store.plan.key, claim.file.name
    with cluster_engine(
        store.path, key, claim=name, workers=workers, scheduler=scheduler
    ) as engine:
        yield engine


def finished(
    store: Store,
    engine: Engine,
    done: Done,
    tally: Tally,
    claim: Claim,
    *,
    fail_fast: bool = False,
    max_failed: int | None = None,
) -> Iterator[Progress]:
    """Make the pyramid, list what failed, and write ``complete`` if nothing did.

    `claim` is what the result is held by: nothing is written any more when it is lost.
    """
    tally.failed = [
        {"level": level, "index": list(index), "error": error}
        for (level, index), error in done.failed.items()
        if level == 0 and index not in done.tiles
    ]
    for progress in attempted(store, engine, packing.left(store, 0, done), done, tally):
        claim.check()
        yield progress
    for level in store.levels[1:]:
        packing.opened_again(store, level.number, done, partial(_chunk, store, done, level.number))
    total = sum(len(level.grid) for level in store.levels[1:])
    tally.start("pyramid", total, total - sum(1 for _ in _chunks(store, done)))
    for tasks in _of_levels(store, done):
        for progress in attempted(
            store, engine, tasks, done, tally, fail_fast=fail_fast, max_failed=max_failed
        ):
            claim.check()
            yield progress
    claim.check()
    failed = sorted(tally.failed, key=lambda f: (f["level"], f["index"]))
    store.finish(failed)
    tally.start("incomplete" if failed else "complete", len(store.plan), len(done.tiles))
    yield tally.progress(note=_farewell(failed))


def all_there(store: Store, done: Done) -> bool:
    """Whether a result is complete, and nothing of it was lost since."""
    return (
        open_result(store.path).complete
        and len(done.tiles) == len(store.plan)
        and not any(_chunks(store, done))
        and not any(any(packing.left(store, number, done)) for number in store.shards)
    )


def found_complete(path: Place, key: str, error: OSError) -> Progress | None:
    """Say that nothing is left to do where nobody may write, and so the result can't be claimed.

    None if it isn't so, or something else is wrong.
    """
    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        return None
    try:
        store = Store(path, open_result(path).plan)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    done, tally = store.done(), Tally()
    if store.plan.key != key or not all_there(store, done):
        return None
    tally.start("complete", len(store.plan), len(done.tiles))
    return replace(tally.progress(), note=COMPLETE)


def was_complete(store: Store, done: Done, tally: Tally) -> Progress:
    """Say that there is nothing to do but to remove what was half written when one was killed."""
    store.sweep(0)
    tally.start("complete", len(store.plan), len(done.tiles))
    return replace(tally.progress(), note=COMPLETE)


def missing(store: Store, done: Done) -> Iterator[Index]:
    """Give the tiles that are neither there nor given up."""
    given_up = {index for level, index in done.failed if level == 0}
    return (i for i in store.plan.grid if i not in done.tiles and i not in given_up)


def _said_of_missing(store: Store, done: Done) -> str:
    lacking = list(missing(store, done))
    total, several = len(store.plan), max(done.parts, default=0)
    if not several:
        named = _listed([str(index) for index in islice(lacking, NAMED)], len(lacking))
        return f"{len(lacking)} of {total} tiles are missing: {named}; run the same again"
    gone, parts = set(lacking), []
    for number in range(1, several + 1):
        tiles = [i for i in Part(number, several).tiles(store.plan.shards) if i in gone]
        if tiles:
            parts.append(f"{number}/{several} ({len(tiles)}, the first is {tiles[0]})")
    return (
        f"{len(lacking)} of {total} tiles are missing, of the parts "
        f"{_listed(parts[:NAMED], len(parts))}; run these parts again"
    )


def _listed(names: list[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")


def _chunks(store: Store, done: Done) -> Iterator[Task]:
    """Give the chunks of pyramid levels that are not there, or made of something older."""
    for level in store.levels[1:]:
        for index in level.grid:
            task = _chunk(store, done, level.number, index)
            if task is not None:
                yield task


def _of_levels(store: Store, done: Done) -> Iterator[Iterator[Task]]:
    """Give the tasks of one level after the other: each is made of the one below."""
    for level in store.levels[1:]:
        task = partial(_chunk, store, done, level.number)
        yield packing.packed(store, level.number, done, task)
        yield packing.left(store, level.number, done)


def _chunk(store: Store, done: Done, number: int, index: Index) -> Task | None:
    inputs = store.inputs(number, index, done)
    if done.inputs[number].get(index) == inputs:
        return None
    return Task(index, number, inputs=inputs, gaps=store.gaps(number, index, done))


def _farewell(failed: Sequence[dict[str, Any]]) -> str:
    if not failed:
        return ""
    first = failed[0]
    return (
        f"{len(failed)} chunks could not be made, the first is {tuple(first['index'])} "
        f"({first['error']}): run the same again to try them once more"
    )
