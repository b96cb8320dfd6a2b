"""The tasks of a run on several processes or machines, by dask.distributed.

Futures go out in a sliding window, so a run of a million tiles costs the scheduler no more than
one of a hundred. Nothing heavy travels: a task is a path and a few numbers.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import dask
from distributed import (
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    WorkerPlugin,
    as_completed,
)

from napari_deblur import system
from napari_deblur.tasks import Engine, Task, Todo, work

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry
    from napari_deblur.places import Place

__all__ = ["cluster_engine", "local_workers"]

AHEAD = 6  # tasks per worker that are under way: 4-8 keep it busy
DEATHS = 3  # workers that may die over a task before it counts as failed once
RECOUNT = 5.0  # seconds between two looks at how many workers there are
PATIENCE = 20.0  # seconds until a scheduler has answered


@contextmanager
def cluster_engine(
    path: Place, key: str, *, workers: int = 0, scheduler: str | None = None
) -> Iterator[Engine]:
    """Start worker processes here, or connect to a scheduler, for the tasks of one store.

    Parameters
    ----------
    path : Path or Remote
        The store, which every worker must see under this path.
    key : str
        That of its plan.
    workers : int
        Processes to start on this machine; they share its cores.
    scheduler : str or None
        Address of a running scheduler, such as ``tcp://host:8786``, instead.

    Raises
    ------
    RuntimeError
        When the user's script would start itself again in each process.
    ConnectionError
        When no scheduler answers.
    """
    with ExitStack() as cleanup:
        if scheduler is not None:
            client = cleanup.enter_context(_connected(scheduler))
        else:
            system.refuse_unguarded_script()
            client = cleanup.enter_context(local_workers(workers))

        def engine(todo: Todo) -> Generator[tuple[Task, Entry | Exception]]:
            return _window(client, str(path.absolute()), key, todo)

        yield engine


@contextmanager
def local_workers(workers: int) -> Iterator[Client]:
    """Start worker processes on this machine; a client that knows them."""
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.scheduler.allowed-failures": DEATHS,
    }
    with (
        dask.config.set(settings),
        tempfile.TemporaryDirectory(prefix="napari-deblur-", ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=0,  # the plan has seen to memory; dask is not to spill or pause
            local_directory=folder,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        # Also for workers that take the place of dead ones.
        client.register_plugin(_Threads(max(1, system.cores() // workers)))
        yield client


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no scheduler answers at {scheduler} ({error}): check the address, "
            "or use workers on this machine (--workers N)"
        ) from error
    with client:
        yield client


class _Threads(WorkerPlugin):  # type: ignore[misc]
    """Share the cores among the processes: with threads × threads, 8 tiles took 4 × as long."""

    name = "napari-deblur-threads"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, worker: Worker) -> None:
        import torch

        torch.set_num_threads(self.threads)


def _window(
    client: Client, path: str, key: str, todo: Todo
) -> Generator[tuple[Task, Entry | Exception]]:
    finished = as_completed()
    flying: dict[Future, Task] = {}
    width, counted = 0, -RECOUNT
    try:
        while True:
            if monotonic() - counted >= RECOUNT:
                width, counted = AHEAD * max(1, len(client.nthreads())), monotonic()
            while len(flying) < width and (task := todo.next()) is not None:
                future = client.submit(work, path, key, task, pure=False)
                flying[future] = task
                finished.add(future)
            if not flying:
                return
            future = next(finished)
            yield flying.pop(future), _outcome(future)
            del future  # now the scheduler forgets it
    finally:
        client.cancel(list(flying))


def _outcome(future: Future) -> Entry | Exception:
    if future.cancelled():
        raise ConnectionError(
            "the connection to the scheduler was lost: run the same again, what is done is kept"
        )
    error: Exception | None = future.exception()
    if isinstance(error, KilledWorker):
        return RuntimeError(f"{DEATHS + 1} worker processes died over it, perhaps of memory")
    if error is not None:
        return error
    entry: Entry = future.result()
    return entry
