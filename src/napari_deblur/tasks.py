"""What one process does for one chunk: restore a tile, or make a chunk of a pyramid level."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from napari_deblur.restoring import restore_tile
from napari_deblur.stack import AXES, Pixels, Stack
from napari_deblur.store import Store
from napari_deblur.tiles import Index

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry
    from napari_deblur.plans import Layout

__all__ = ["Engine", "Task", "Todo", "perform", "scratch_of", "stack_of", "stops_the_run", "work"]

# The disk is full or not ours to write to: no other tile would fare better.
FATAL = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM")
    if hasattr(errno, name)
}


@dataclass(frozen=True)
class Task:
    """A chunk to make: level 0 is a tile. A few numbers, nothing heavy."""

    index: Index
    level: int = 0
    splits: int = 0
    inputs: str = ""
    retries: int = 0


class Todo:
    """Tasks one by one: first all that are new, then those to be tried again."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks
        self._again: deque[Task] = deque()

    def next(self) -> Task | None:
        """Give a task; None when there is none at this moment."""
        task = next(self._tasks, None)
        return self._again.popleft() if task is None and self._again else task

    def again(self, task: Task) -> None:
        """Put a task at the end of the queue."""
        self._again.append(task)


# What does the tasks: a loop in this process, or a cluster. It gives what became of each.
Engine = Callable[[Todo], Generator[tuple[Task, "Entry | Exception"], None, None]]


def perform(store: Store, stack: Stack | None, task: Task) -> Entry:
    """Do a task and write the result; the entry is in the ledger already."""
    start = perf_counter()
    index = task.index
    if task.level:
        return store.write_level(task.level, index, inputs=task.inputs)
    restored = restore_tile(
        store.plan,
        stack,
        index,
        splits=task.splits,
        on_split=lambda splits: store.note_split(index, splits),
    )
    seconds = perf_counter() - start
    return store.write_tile(index, restored, seconds=seconds, retries=task.retries)


def work(path: str, key: str, task: Task) -> Entry:
    """Do a task in a worker process, which opens store and source once."""
    store, stack = _opened(path, key)
    return perform(store, stack, task)


@lru_cache(maxsize=2)
def _opened(path: str, key: str) -> tuple[Store, Stack | None]:
    store = Store.at(Path(path), key)
    if store.plan.source is not None:
        return store, None
    return store, stack_of(scratch_of(store.path), store.plan.layout)


def scratch_of(path: Path) -> Path:
    """Say where a stack from memory is put, so that other processes can read it."""
    return path.with_name(f".{path.name}.input.zarr")


def stack_of(scratch: Path, layout: Layout) -> Stack:
    """Open the copy of a stack that lived in memory."""
    import zarr

    pixels = Pixels(zarr.open_array(scratch, mode="r"), AXES)
    return Stack(
        pixels,
        layout.axes,
        layout.pixel_size,
        layout.channels,
        layout.optics,
        layout.time_step,
        layout.rgb,
        name=layout.name,
    )


def stops_the_run(error: BaseException) -> bool:
    """Whether an error would meet every tile: disk full, read-only, no permission."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FATAL:
            return True
        error = error.__cause__  # type: ignore[assignment]
    return False
