"""What one process does for one chunk: restore a tile, or make a chunk of a pyramid level."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from napari_deblur.protocols import Cancelled
from napari_deblur.restoring import restore_tile
from napari_deblur.scratch import scratch_of, stack_of
from napari_deblur.store import Store

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry
    from napari_deblur.stack import Stack
    from napari_deblur.tiles import Index

__all__ = [
    "Engine",
    "RunStopped",
    "Task",
    "Todo",
    "explained",
    "in_this_process",
    "perform",
    "stops_the_run",
    "work",
]

# The disk is full or not ours to write to: no other tile would fare better.
FATAL = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM")
    if hasattr(errno, name)
}
WAYS = {
    errno.ENOSPC: "free some space",
    errno.EROFS: "make it writable",
    getattr(errno, "EDQUOT", errno.ENOSPC): "free some of your quota",
}


class RunStopped(OSError):
    """The run cannot go on now, but can be continued: the text says why and how."""


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


def in_this_process(store: Store, stack: Stack | None) -> Engine:
    """Give the engine that does one task after the other, here."""

    def engine(todo: Todo) -> Generator[tuple[Task, Entry | Exception]]:
        while (task := todo.next()) is not None:
            try:
                outcome: Entry | Exception = perform(store, stack, task)
            except Cancelled:
                raise
            except Exception as error:  # noqa: BLE001 - it is listed, and the run goes on
                outcome = error
            yield task, outcome

    return engine


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


def stops_the_run(error: BaseException) -> bool:
    """Whether an error would meet every tile: disk full, read-only, no permission."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FATAL:
            return True
        error = error.__cause__  # type: ignore[assignment]
    return False


@contextmanager
def explained(output: Path) -> Iterator[None]:
    """Say in one sentence why the run stops, and that it can go on."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RunStopped) or not stops_the_run(error):
            raise
        way = WAYS.get(error.errno or 0, "get the permission to read and write there")
        stopped = RunStopped(
            f"stopped at {error.filename or output}: {error.strerror}; {way}, then run the same "
            "again: what is done is kept"
        )
        stopped.errno = error.errno
        raise stopped from error
