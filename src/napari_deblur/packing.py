"""Tasks in an order in which few files lie about: tiles of one file together, then the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from napari_deblur.tasks import Task

if TYPE_CHECKING:
    from napari_deblur.store import Done, Store
    from napari_deblur.tiles import Index

__all__ = ["left", "opened_again", "packed"]


def packed(
    store: Store,
    number: int,
    done: Done,
    task: Callable[[Index], Task | None],
    files: Iterable[Index] | None = None,
) -> Iterator[Task]:
    """Give the tasks of a level, and the joining of each file as soon as all that is in it is done.

    Parameters
    ----------
    number : int
        Of the level.
    done : Done
        It grows while tasks are taken.
    task : function of a chunk's index
        Makes the task; None where there is nothing to do.
    files : iterable of indices
        Of the files that are to be made; None: all.
    """
    shards = store.shards[number]
    waiting: deque[tuple[Index, list[Index]]] = deque()
    for shard in shards if files is None else files:
        lacking: list[Index] = []
        for index in shards.chunks(shard):
            one = task(index)
            if one is not None:
                lacking.append(index)
                yield from _ready(store, number, done, waiting)
                yield one
        # Nothing is kept of files that are done: when a run goes on, those may be millions.
        if shards.several and lacking:
            waiting.append((shard, lacking))
        elif shards.several:
            yield from _joined(store, number, shard, done)
    yield from _ready(store, number, done, waiting)


def left(
    store: Store, number: int, done: Done, files: Iterable[Index] | None = None
) -> Iterator[Task]:
    """Give the joining of those files that are not there, or not made of what is there now.

    Also of those that will have gaps, because tiles failed.
    """
    shards = store.shards[number]
    if not shards.several:
        return
    for shard in shards if files is None else files:
        if any(index in done.values[number] for index in shards.chunks(shard)):
            yield from _joined(store, number, shard, done)


def opened_again(
    store: Store, number: int, done: Done, task: Callable[[Index], Task | None]
) -> None:
    """Forget all that shares a file of a level with a chunk that is to be made again.

    The others have no files of their own any more; made again, they are the same.
    """
    shards = store.shards[number]
    for shard in shards if shards.several else ():
        if (number, shard) in done.shards and any(map(task, shards.chunks(shard))):
            for index in shards.chunks(shard):
                done.forget(number, index)


def _ready(
    store: Store, number: int, done: Done, waiting: deque[tuple[Index, list[Index]]]
) -> Iterator[Task]:
    """Give the files that can be joined now; where a tile failed, that is for the end."""
    for _ in range(len(waiting)):
        shard, lacking = waiting.popleft()
        while lacking and lacking[-1] in done.values[number]:
            lacking.pop()
        if not lacking:
            yield from _joined(store, number, shard, done)
        elif not any((number, index) in done.failed for index in lacking):
            waiting.append((shard, lacking))


def _joined(store: Store, number: int, shard: Index, done: Done) -> Iterator[Task]:
    """Give the joining of a file, unless it was made of what is there now."""
    inputs = store.joined(number, shard, done)
    if done.shards.get((number, shard)) != inputs:
        yield Task(shard, number, joins=True, inputs=inputs)
