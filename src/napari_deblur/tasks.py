"""What one process does at a time: a tile, a chunk of a pyramid level, or a file of several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from threading import Event
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_deblur import devices, system
from napari_deblur.protocols import Cancelled
from napari_deblur.restoring import restore_tile, source_of
from napari_deblur.stopping import RunStopped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.ledger import Entry
    from napari_deblur.restoring import Readable, Restored
    from napari_deblur.stack import Stack
    from napari_deblur.store import Shrunk, Store
    from napari_deblur.tiles import Box, Index

__all__ = [
    "AT_ONCE",
    "Clock",
    "Engine",
    "Task",
    "Todo",
    "in_this_process",
    "perform",
]

# A worker of a cluster computes one while another is read or written; the memory that a plan states
# allows no more.
AT_ONCE = 2
MOMENT = 0.5  # seconds that nothing else is heard while one waits
LOOKS = 5.0  # seconds between two looks at whether the run lives, while a tile is computed


@dataclass(frozen=True)
class Task:
    """A chunk to make: level 0 is a tile. A few numbers, nothing heavy.

    With `joins` it is the file of several chunks, by its index among the files; `sums` are the
    files that are put into it, with their SHA-256. For a chunk of a level, `gaps` are those of the
    level below that could not be made.
    """

    index: Index
    level: int = 0
    joins: bool = False
    splits: int = 0
    inputs: str = ""
    retries: int = 0
    sums: Mapping[str, str] = field(default_factory=dict, hash=False)
    gaps: tuple[Index, ...] = ()

    @property
    def reads(self) -> bool:
        """Whether it reads the input; what is made of chunks that are there does not."""
        return not (self.level or self.joins)


class Todo:
    """Tasks one by one: first all that are new, then those to be tried again.

    In a `search` only samples are given, from further and further on; what is passed over comes
    when it has `found` something.
    """

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks
        self._numbers = count()
        self._again: list[tuple[float, int, Task]] = []  # a heap: when, and in which order
        self.searching = False
        self._steps: deque[tuple[int, float]] = deque()
        self._samples: set[Task] = set()
        self._due = 0.0  # when there may be the next sample
        self._passed: deque[Task] = deque()
        self._first: deque[Task] = deque()  # what was passed over once

    def __len__(self) -> int:
        """Count those to be tried again."""
        return len(self._again)

    def next(self) -> Task | None:
        """Give a task; None when there is none at this moment."""
        if self.searching:
            return self._sample()
        task = self._new()
        if task is None and self._again and self._again[0][0] <= monotonic():
            return heappop(self._again)[-1]
        return task

    def again(self, task: Task, pause: float = 0.0) -> None:
        """Put a task at the end of the queue, to be tried after some seconds at the earliest."""
        heappush(self._again, (monotonic() + pause if pause else 0.0, next(self._numbers), task))

    def wait(self) -> bool:
        """Wait a moment for what is to come later; False when there is nothing."""
        if not (self._steps if self.searching else self._again):
            return False
        due = self._due if self.searching else self._again[0][0]
        sleep(min(max(0.0, due - monotonic()), MOMENT))
        return True

    def search(self, steps: Iterable[tuple[int, float]]) -> None:
        """Give some samples only: each so many tasks further on, and so many seconds later."""
        self.searching, self._steps = True, deque(steps)
        self._due = monotonic() + self._steps[0][1]

    def missed(self, task: Task) -> bool:
        """Say that a task failed; whether it was the last sample, and all have failed."""
        self._samples.discard(task)
        return self.searching and not self._steps and not self._samples

    def found(self) -> None:
        """Say that a task succeeded: all are given again, in their order."""
        self._first.extendleft(reversed(self._passed))
        self._passed.clear()
        self._samples.clear()
        self.searching = False

    def _new(self) -> Task | None:
        return self._first.popleft() if self._first else next(self._tasks, None)

    def _sample(self) -> Task | None:
        if not self._steps or monotonic() < self._due:
            return None
        step, _ = self._steps.popleft()
        for _ in range(step):
            if (passed := self._new()) is None:
                break
            self._passed.append(passed)
        task = self._new()
        if task is None and self._passed:
            task = self._passed.pop()
        if task is None and self._again:
            task = heappop(self._again)[-1]
        if task is None:
            self._steps.clear()
            return None
        self._samples.add(task)
        self._due = monotonic() + (self._steps[0][1] if self._steps else 0.0)
        return task


# What does the tasks: a loop in this process, or a cluster. It gives what became of each.
Engine = Callable[[Todo], Generator[tuple[Task, "Entry | Exception"], None, None]]


def perform(store: Store, stack: Stack | None, task: Task) -> Entry:
    """Do a task and write the result; the entry is in the ledger already.

    Raises
    ------
    RunStopped
        When the run is over meanwhile: nothing of this was written.
    """
    from napari_deblur import ops

    start = perf_counter()
    index = task.index
    store.check()
    if not task.reads:
        return _made_of_others(store, task)
    with ops.cancellable(partial(_refuse_over, store)):
        restored = restore_tile(
            store.plan,
            stack,
            index,
            splits=task.splits,
            on_split=lambda splits: store.note_split(index, splits),
        )
    system.give_memory_back()
    seconds = perf_counter() - start
    return store.write_tile(index, restored, seconds=seconds, retries=task.retries)


def _refuse_over(store: Store) -> bool:
    """Raise RunStopped if the run is over; asked between the steps of a method."""
    try:
        store.check(LOOKS)
    except RunStopped:
        raise
    except OSError:
        pass  # a disk that is away for a moment
    return False


def _made_of_others(store: Store, task: Task, made: Shrunk | None = None) -> Entry:
    """Make what is made of chunks that are there; that of a level may have been made before."""
    if task.joins:
        return store.write_shard(task.level, task.index, inputs=task.inputs, sums=task.sums)
    made = made or store.make_level(task.level, task.index, task.gaps)
    return store.write_level(task.level, task.index, made, inputs=task.inputs)


@dataclass
class Clock:
    """Seconds that the computing thread worked, and that it waited for blocks to be read."""

    computing: float = 0.0
    waiting: float = 0.0


def in_this_process(store: Store, stack: Stack | None, clock: Clock | None = None) -> Engine:
    """Give the engine that works here: one thread reads, one restores, one writes.

    One block is read ahead while a tile is in work and the result before it is written. Of a
    pyramid two chunks are made while the one before is written. What comes out is in the ledger
    already, and the next result isn't written before the caller goes on.
    """
    devices.among_processes()  # another part may be on this machine

    def engine(todo: Todo) -> Generator[tuple[Task, Entry | Exception]]:
        with _Threads(store, stack, clock or Clock()) as threads:
            ahead: tuple[Task, _Ahead | Future[Shrunk] | None] | None = None
            making: tuple[Task, Future[_Made | None] | Future[Shrunk]] | None = None
            writing: tuple[Task, Future[Entry]] | None = None
            while True:
                if ahead is None and (task := todo.next()) is not None:
                    ahead = task, threads.read(task)
                if making is None and ahead is not None:
                    making, ahead = (ahead[0], threads.make(*ahead)), None
                elif writing is None and making is not None and making[1].done():
                    writing, making = (making[0], threads.write(*making)), None
                elif writing is not None and writing[1].done():
                    (task, written), writing = writing, None
                    yield task, _outcome(written)
                elif writing is not None or making is not None:
                    # What is made waits for the one before it to be written.
                    _wait([one[1] for one in (writing, making) if one and not one[1].done()])
                elif not todo.wait():
                    return

    return engine


class _Made(NamedTuple):
    """What the computing thread made of a tile, and how long it took."""

    restored: Restored
    seconds: float


class _Ahead:
    """What a task reads from: its block is being read already, by the one thread that reads."""

    def __init__(self, reader: Executor, stack: Readable, clock: Clock) -> None:
        self._reader, self._stack, self._clock = reader, stack, clock
        self._asked: dict[tuple[int, int, Box], Future[NDArray[Any]]] = {}

    def ask(self, t: int, c: int, region: Box) -> None:
        """Begin to read a block."""
        self._asked[t, c, region] = self._reader.submit(self._stack.read, t, c, region)

    def read(self, t: int, c: int, region: Box) -> NDArray[Any]:
        """Wait for a block and give it away; read it now if it wasn't asked for."""
        begun = perf_counter()
        if (t, c, region) not in self._asked:
            self.ask(t, c, region)
        try:
            return self._asked.pop((t, c, region)).result()
        finally:
            self._clock.waiting += perf_counter() - begun


class _Threads(AbstractContextManager["_Threads"]):
    """The threads that read, restore and write. At the end they stop at their next chance."""

    def __init__(self, store: Store, stack: Stack | None, clock: Clock) -> None:
        self._store, self._stack, self._clock = store, stack, clock
        self._stop = Event()
        self._reader, self._computer, self._writer = (
            ThreadPoolExecutor(1, f"napari-deblur-{name}", initializer)
            for name, initializer in (("read", None), ("restore", _settle), ("write", None))
        )
        self._shrinker = ThreadPoolExecutor(AT_ONCE, "napari-deblur-shrink")
        system.give_memory_back()  # what planning left

    def read(self, task: Task) -> _Ahead | Future[Shrunk] | None:
        """Begin to read what a tile needs first, or to make a chunk of a level.

        A file of several is read as it is written.
        """
        if task.joins:
            return None
        if task.level:
            return self._shrinker.submit(self._store.make_level, task.level, task.index, task.gaps)
        ahead = _Ahead(self._reader, source_of(self._store.plan, self._stack), self._clock)
        if not task.splits:  # pieces are read when it is their turn
            ahead.ask(*task.index[:2], self._store.plan.tile(task.index).read)
        return ahead

    def make(
        self, task: Task, ahead: _Ahead | Future[Shrunk] | None
    ) -> Future[_Made | None] | Future[Shrunk]:
        """Begin to restore a tile."""
        if isinstance(ahead, Future):
            return ahead
        return self._computer.submit(self._make, task, ahead, copy_context())

    def write(self, task: Task, made: Future[_Made | None] | Future[Shrunk]) -> Future[Entry]:
        """Begin to write what was made."""
        return self._writer.submit(self._write, task, made)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for pool in (self._reader, self._shrinker, self._computer, self._writer):
            pool.shutdown(cancel_futures=True)

    def _make(self, task: Task, ahead: _Ahead | None, caller: Context) -> _Made | None:
        if ahead is None:
            return None
        from napari_deblur import ops

        def asked() -> bool:
            caller.run(ops.checkpoint)  # raises if the caller was asked to stop
            return self._stop.is_set()

        begun, waited = perf_counter(), self._clock.waiting
        with ops.cancellable(asked):
            restored = restore_tile(
                self._store.plan,
                ahead,
                task.index,
                splits=task.splits,
                # Whatever goes into the store goes through the thread that writes.
                on_split=lambda n: self._writer.submit(
                    self._store.note_split, task.index, n
                ).result(),
            )
        system.give_memory_back()
        seconds = perf_counter() - begun
        self._clock.computing += seconds - (self._clock.waiting - waited)
        return _Made(restored, seconds)

    def _write(self, task: Task, made: Future[_Made | None] | Future[Shrunk]) -> Entry:
        done = made.result()
        if not isinstance(done, _Made):
            return _made_of_others(self._store, task, done)
        return self._store.write_tile(
            task.index, done.restored, seconds=done.seconds, retries=task.retries
        )


def _settle() -> None:
    """Begin in a thread that computes."""
    from napari_deblur import ops

    ops.at_most(system.cores())


def _wait(futures: Sequence[Future[Any]]) -> None:
    """Wait until one of them is done, or a moment: Ctrl-C isn't heard in between on Windows."""
    wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)


def _outcome(written: Future[Entry]) -> Entry | Exception:
    error = written.exception()
    if error is None:
        return written.result()
    if isinstance(error, Cancelled) or not isinstance(error, Exception):
        raise error
    return error  # it is listed, and the run goes on
