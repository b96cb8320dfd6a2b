"""Tasks on their way to workers and back: a window of batches is out at any time.

So a run of a million tiles costs the scheduler no more memory than one of a hundred. Tiles that
take less than a second go out several at a time, and batches are sent and fetched several at a
time: a scheduler's work is by the message. Nothing heavy travels: a task is a few numbers, its
answer a line of the ledger.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError

import napari_deblur
from napari_deblur.stopping import RunStopped
from napari_deblur.tasks import Task, Todo
from napari_deblur.working import Answer, Order, work

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry

__all__ = ["DEATHS", "Line", "connected", "sent"]

LOG = logging.getLogger(__name__)
AHEAD = 8  # batches per worker that are under way: 4-8 keep it busy
SPAN = 1.0  # seconds of work in a batch of several tasks
MOST = 100  # tasks in a batch
DEATHS = 3  # workers that may die over a batch before it is given back
LINGER = 0.2  # seconds in which answers are collected, until most of the window is back
RECOUNT = 5.0  # seconds between two looks at how many workers there are
POLL = 0.5  # the same, while there are none
PATIENCE = 20.0  # seconds until a scheduler has answered
SILENCE = 30.0  # seconds after which one that says nothing is taken for lost
RETURN = 60.0  # seconds that a lost one has to come back
GREETING = 5.0  # seconds that new workers have to say their version
RENEWALS = 3  # connections that may be lost without an answer in between
MISSING = "No module named 'napari_deblur'"

Batch = tuple[Task, ...]


class Line(AbstractContextManager["Line"]):
    """The connection to a scheduler, made anew when it is lost; it is closed in the end.

    Parameters
    ----------
    connect : function of the seconds to wait, that gives a client
    """

    def __init__(self, connect: Callable[[float], Client]) -> None:
        self._connect = connect
        # It writes tracebacks where a connection is lost; here that is said in a sentence.
        self._logger = logging.getLogger("distributed.client")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)
        self.client = connect(PATIENCE)
        self._lost = 0
        self._greeted: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        self._logger.setLevel(self._level)

    def workers(self) -> int:
        """Count the workers; OSError when the scheduler says nothing.

        Raises
        ------
        RunStopped
            When a new one has no version of this package, or another one.
        """
        there = set(self.asked(self.client.scheduler.ncores, workers=None))
        new, self._greeted = there - self._greeted, there
        if new:
            self._greet(new)
        return len(there)

    def _greet(self, workers: set[str]) -> None:
        """Ask for versions: a worker without the package would die of what it is sent."""

        def version() -> str:  # travels as code, since it's no function of a module
            try:
                import napari_deblur
            except ImportError:
                return ""
            return napari_deblur.__version__

        said: dict[str, str | Exception] = {}
        with suppress(TimeoutError, OSError):  # one that hangs, or has left already
            said = self.client.sync(
                lambda: self.client.run(version, workers=[*workers], on_error="return"),
                callback_timeout=GREETING,
            )
        here = napari_deblur.__version__
        for address, there in said.items():
            if isinstance(there, str) and there != here:
                has = f"napari-deblur {there}" if there else "no napari-deblur"
                raise RunStopped(
                    f"the worker at {address} has {has} and this is {here}: install the same "
                    "version there, then run the same again"
                )

    def asked(self, question: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Wait for an answer of the scheduler, but not for ever: OSError then."""
        try:
            return self.client.sync(question, *given, callback_timeout=SILENCE, **named)
        except (TimeoutError, ClosedClientError) as error:
            raise ConnectionError("the scheduler says nothing") from error

    def worked(self) -> None:
        """Say that an answer came."""
        self._lost = 0

    def renew(self) -> None:
        """Connect again; ConnectionError in a sentence when that fails."""
        self._lost += 1
        self._close()
        self._greeted = set()
        LOG.warning("the connection to the scheduler was lost: trying again for %g s", RETURN)
        try:
            if self._lost > RENEWALS:
                raise ConnectionError("again and again")
            self.client = self._connect(RETURN)
        except ConnectionError as error:
            raise ConnectionError(
                "the connection to the scheduler was lost: run the same again when it is there, "
                "what is done is kept"
            ) from error

    def _close(self) -> None:
        with suppress(TimeoutError, OSError):
            self.client.close(timeout=2)


def connected(address: str, seconds: float) -> Client:
    """Connect to a running scheduler; ConnectionError in a sentence when none answers in time."""
    made: SimpleQueue[Client | Exception] = SimpleQueue()
    given_up = Event()

    def connect() -> None:
        try:
            client = Client(address, timeout=seconds, set_as_default=False)
        except (OSError, ValueError) as error:
            made.put(error)
            return
        made.put(client)
        if given_up.is_set():
            client.close()

    # The client's own limit does not hold where its greeting is swallowed.
    Thread(target=connect, name="napari-deblur-connect", daemon=True).start()
    try:
        client = made.get(timeout=seconds + 1)
    except Empty:
        given_up.set()
        client = TimeoutError(f"nothing was heard for {seconds:g} s")
    if isinstance(client, Exception):
        raise ConnectionError(
            f"no scheduler answers at {address} ({client}): check the address, "
            "or use workers on this machine (--workers N)"
        ) from client
    return client


def sent(
    line: Line, path: str, key: str, todo: Todo, do: Callable[..., Answer] = work
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

    Raises
    ------
    RunStopped
        When a worker can do none of the tasks.
    ConnectionError
        When the scheduler is lost and does not come back.
    """
    flight = _Flight(line, Order(path, key), do)
    try:
        while True:
            try:
                flight.fill(todo)
                if not flight.out:
                    return
                landed = flight.landed()
            except (OSError, ClosedClientError) as error:
                if isinstance(error, RunStopped):
                    raise
                flight.begin_again()
                continue
            for batch, answer in landed:
                yield from zip(batch, answer.outcomes, strict=False)
    finally:
        flight.cancel()


class _Flight:
    """The batches that are out."""

    def __init__(self, line: Line, order: Order, do: Callable[..., Answer] = work) -> None:
        self.out: dict[str, tuple[Future, Batch]] = {}
        self._line, self._order, self._do = line, order, do
        self._back: SimpleQueue[Future] = SimpleQueue()
        self._again: deque[Batch] = deque()
        self._seconds = SPAN  # of a task: until one is known, each goes alone
        self._width, self._counted, self._workers = 0, -RECOUNT, -1

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
            futures = self._line.client.map(self._do, batches, order=self._order, pure=False)
        except BaseException:
            self._again.extend(batches)
            raise
        for future, batch in zip(futures, batches, strict=True):
            self.out[future.key] = future, batch
            future.add_done_callback(self._back.put)

    def _wait_for_workers(self) -> None:
        """Send nothing until there is one that was asked for its version: others die of it."""
        while not self._workers:
            sleep(POLL)
            self._counted = -RECOUNT
            self._count()

    def landed(self) -> list[tuple[Batch, Answer]]:
        """Wait for answers, at most until the workers are to be counted again."""
        futures = self._finished()
        if any(future.status in ("cancelled", "lost") for future in futures):
            raise ConnectionError("the scheduler forgot a task")
        good = {future.key: future for future in futures if future.status == "finished"}
        answers: list[tuple[Batch, Answer]] = []
        if good:
            client = self._line.client
            found = self._line.asked(lambda: client.gather(good, errors="skip", asynchronous=True))
            for name, answer in found.items():
                _, batch = self.out.pop(name)
                self._seconds += (answer.seconds / len(answer.outcomes) - self._seconds) / 4
                answers.append((batch, answer))
            for name in good.keys() - found.keys():
                self._back.put(good[name])  # lost on the way: it is done again, or has failed
        for future in futures:
            if future.status == "error":
                _, batch = self.out.pop(future.key)
                answers += self._of_failed(batch, future.exception())
        if answers:
            self._line.worked()
        return answers

    def begin_again(self) -> None:
        """Take back all that is out, and connect anew."""
        self._again.extend(batch for _, batch in self.out.values())
        self.out.clear()
        self._line.renew()
        self._counted = -RECOUNT

    def cancel(self) -> None:
        """Let go of what is out."""
        client, futures = self._line.client, [future for future, _ in self.out.values()]
        with suppress(OSError, ClosedClientError):
            if futures:
                self._line.asked(lambda: client.cancel(futures, asynchronous=True))

    def _batches(self, todo: Todo, count: int) -> Iterator[Batch]:
        size = int(min(max(1, SPAN / max(self._seconds, 1e-9)), MOST))
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
                if self.out.get(future.key, (None,))[0] is future:
                    ready.append(future)
        return ready

    def _of_failed(self, batch: Batch, error: BaseException) -> list[tuple[Batch, Answer]]:
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
        return [(batch, Answer((error,), SPAN))]

    def _count(self) -> None:
        """Fit the window to the workers that there are."""
        if monotonic() - self._counted < RECOUNT:
            return
        workers = self._line.workers()
        if not workers and self._workers:  # not each time
            LOG.warning("the scheduler has no workers: the run waits for some, or for Ctrl-C")
        self._workers, self._counted = workers, monotonic()
        self._width = AHEAD * max(1, workers)
