"""Tasks on their way to workers and back: a window of batches is out at any time.

So a run of a million tiles costs the scheduler no more memory than one of a hundred. Tiles that
take less than a second go out several at a time, and batches are sent and fetched several at a
time: a scheduler's work is by the message. Nothing heavy travels: a task is a few numbers, its
answer a line of the ledger.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from distributed import Future, KilledWorker
from distributed.client import ClosedClientError

import napari_deblur
from napari_deblur.stopping import RunStopped
from napari_deblur.watching import Batch, Watch
from napari_deblur.working import Answer, Order, work

if TYPE_CHECKING:
    from napari_deblur.connecting import Line
    from napari_deblur.ledger import Entry
    from napari_deblur.tasks import Task, Todo

__all__ = ["DEATHS", "sent"]

LOG = logging.getLogger(__name__)
AHEAD = 8  # batches per worker that are under way: 4-8 keep it busy
SPAN = 1.0  # seconds of work in a batch of several tasks
MOST = 100  # tasks in a batch
DEATHS = 3  # workers that may die over a batch before it is given back
LINGER = 0.2  # seconds in which answers are collected, until most of the window is back
RECOUNT = 5.0  # seconds between two looks at how many workers there are
POLL = 0.5  # the same, while there are none
LOOK = 60.0  # seconds between two looks at what hangs
MISSING = "No module named 'napari_deblur'"


def sent(
    line: Line,
    path: str,
    key: str,
    todo: Todo,
    do: Callable[..., Answer] = work,
    *,
    claim: str = "",
) -> Generator[tuple[Task, Entry | Exception], None, None]:
    """Let workers do tasks; what became of each, as it comes.

    Parameters
    ----------
    line : Line
    path : str
        The store, as all workers see it.
    key : str
        That of its plan.
    todo : Todo
        What may be put into it again while this goes on.
    do : function of a batch and an `Order`
    claim : str
        The name of the claim by which this run writes: what workers do after it is gone is lost.

    Raises
    ------
    RunStopped
        When a worker can do none of the tasks.
    ConnectionError
        When the scheduler is lost and does not come back.
    """
    flight = _Flight(line, Order(path, key, claim), do)
    try:
        while True:
            try:
                flight.fill(todo)
                if not flight.out:
                    if todo.wait():
                        continue
                    return
                landed = flight.landed()
            except (OSError, ClosedClientError) as error:
                if isinstance(error, RunStopped):
                    raise
                flight.begin_again()
                continue
            yield from landed
    finally:
        flight.cancel()


class _Sent(NamedTuple):
    """A batch that is out, since when, and to whom; None: all."""

    future: Future
    batch: Batch
    since: float
    to: list[str] | None


class _Flight:
    """The batches that are out."""

    def __init__(self, line: Line, order: Order, do: Callable[..., Answer] = work) -> None:
        self.out: dict[str, _Sent] = {}
        self._line, self._order, self._do = line, order, do
        self._back: SimpleQueue[Future] = SimpleQueue()
        self._again: deque[Batch] = deque()
        self._seconds = SPAN  # of a task: until one is known, each goes alone
        self._width, self._counted, self._looked = 0, -RECOUNT, monotonic()
        self._workers: set[str] | None = None
        self._watch = Watch()

    def fill(self, todo: Todo) -> None:
        """Send batches until the window is full, once a part of it is free."""
        self._count()
        free = self._width - len(self.out)
        if self.out and free < self._width // 2 and not self._again:
            return
        batches = list(self._batches(todo, free))
        if not batches:
            return
        try:
            self._wait_for_workers()
            to = self._watch.trusted(self._workers or set())
            some = {} if to is None else {"workers": to}
            futures = self._line.client.map(
                self._do, batches, order=self._order, pure=False, **some
            )
        except BaseException:
            self._again.extend(batches)
            raise
        for future, batch in zip(futures, batches, strict=True):
            self.out[future.key] = _Sent(future, batch, monotonic(), to)
            future.add_done_callback(self._back.put)

    def _wait_for_workers(self) -> None:
        """Send nothing until there is one that was asked for its version: others die of it."""
        while not self._workers:
            sleep(POLL)
            self._counted = -RECOUNT
            self._count()

    def landed(self) -> list[tuple[Task, Entry | Exception]]:
        """Wait for answers, at most until the workers are to be counted again."""
        self._look()
        came: defaultdict[str, list[Future]] = defaultdict(list)
        for future in self._finished():
            came[future.status].append(future)
        if came["cancelled"]:
            raise ConnectionError("the scheduler forgot a task")
        # Their worker died before they were fetched; nobody tells when they are there again.
        self._take_back([future.key for future in (*came["lost"], *came["pending"])])
        good = {future.key: future for future in came["finished"]}
        outcomes: list[tuple[Task, Entry | Exception]] = []
        if good:
            client = self._line.client
            found = self._line.asked(lambda: client.gather(good, errors="skip", asynchronous=True))
            for name, answer in found.items():
                if answer is None:  # lost on the way, and nobody can do it again: it is told why
                    self._back.put(good[name])
                else:
                    outcomes += self._heard(self.out.pop(name).batch, answer)
        for future in came["error"]:
            outcomes += self._of_failed(self.out.pop(future.key).batch, future.exception())
        if good or came["error"]:
            self._line.worked()
        return outcomes

    def _heard(self, batch: Batch, answer: Answer) -> list[tuple[Task, Entry | Exception]]:
        """Take an answer; what fails on one worker alone, or is left over, is done by others."""
        self._watch.lasted(answer.seconds)
        done = sum(not isinstance(one, Exception) for one in answer.outcomes)
        if done:  # what fails may take no time at all
            self._seconds += (answer.seconds / done - self._seconds) / 4
        pairs = list(zip(batch, answer.outcomes, strict=False))
        self._again.extend((task,) for task in batch[len(pairs) :])
        told, moved = self._watch.judged(answer.worker, pairs, self._workers or set())
        self._again.extend((task,) for task in moved)
        return told

    def _look(self) -> None:
        """Let others do what hangs."""
        now, limit = monotonic(), self._watch.limit
        old = (now - one.since > limit for one in self.out.values())
        if now - self._looked < LOOK or not any(old):
            return
        self._looked = now
        at_work: dict[str, dict[str, float]] = {}
        with suppress(ValueError):  # a scheduler that runs nobody's code
            at_work = self._line.at_work()
        batches = {name: one.batch for name, one in self.out.items()}
        self._take_back(self._watch.hung(at_work, batches, self._workers or set()))

    def _take_back(self, names: list[str]) -> None:
        """Send something again; where it is now it is no longer waited for."""
        if not names:
            return
        gone = [self.out.pop(name) for name in names]
        self._again.extend(one.batch for one in gone)
        client = self._line.client
        futures = [one.future for one in gone]
        self._line.asked(lambda: client.cancel(futures, asynchronous=True))

    def begin_again(self) -> None:
        """Take back all that is out, and connect anew."""
        self._again.extend(one.batch for one in self.out.values())
        self.out.clear()
        self._line.renew()
        self._counted = -RECOUNT

    def cancel(self) -> None:
        """Let go of what is out."""
        client, futures = self._line.client, [one.future for one in self.out.values()]
        with suppress(OSError, ClosedClientError):
            if futures:
                self._line.asked(lambda: client.cancel(futures, asynchronous=True))

    def _batches(self, todo: Todo, count: int) -> Iterator[Batch]:
        size = int(min(max(1, SPAN / max(self._seconds, 1e-9)), MOST))
        if todo.searching:  # each of these has to say something, soon
            size = 1
        for _ in range(count):
            if self._again:
                yield self._again.popleft()
                continue
            tasks = [task for _ in range(size) if (task := todo.next()) is not None]
            if not tasks:
                return
            yield tuple(tasks)

    def _finished(self) -> list[Future]:
        ready: list[Future] = []
        ends = monotonic() + RECOUNT
        with suppress(Empty):
            while len(ready) < min(max(1, self._width * 3 // 4), len(self.out)):
                future = self._back.get(timeout=max(0.0, ends - monotonic()))
                if not ready:
                    ends = monotonic() + LINGER
                # Those of an earlier connection are out of the window already.
                if (sent := self.out.get(future.key)) and sent.future is future:
                    ready.append(future)
        return ready

    def _of_failed(
        self, batch: Batch, error: BaseException
    ) -> list[tuple[Task, Entry | Exception]]:
        """Say what became of a batch as a whole that has no answer."""
        if isinstance(error, RunStopped):
            raise error
        if MISSING in f"{error} {error.__cause__}":
            raise RunStopped(
                "the scheduler has no napari-deblur: install the version that is here "
                f"({napari_deblur.__version__}) in its environment, then run the same again"
            ) from error
        if len(batch) > 1:  # one of them may be to blame: each goes alone
            self._again.extend((task,) for task in batch)
            return []
        if isinstance(error, KilledWorker):
            error = RuntimeError(f"{DEATHS + 1} worker processes died over it, perhaps of memory")
        if not isinstance(error, Exception):
            raise error
        return [(batch[0], error)]

    def _count(self) -> None:
        """Fit the window to the workers that there are."""
        if monotonic() - self._counted < RECOUNT:
            return
        workers = self._line.workers()
        if not workers and self._workers != workers:  # not each time
            LOG.warning("the scheduler has no workers: the run waits for some, or for Ctrl-C")
        self._workers, self._counted = workers, monotonic()
        self._width = AHEAD * max(1, len(self._watch.trusted(workers) or workers))
        # A scheduler would wait for ever for those that have left.
        left = (n for n, one in self.out.items() if one.to and not workers.intersection(one.to))
        self._take_back(list(left))
