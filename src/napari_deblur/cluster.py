"""The tasks of a run on several processes or machines, by dask.distributed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, TypeVar

import dask
from distributed import LocalCluster

from napari_deblur import devices, system
from napari_deblur.connecting import Line, connected
from napari_deblur.sending import DEATHS, sent
from napari_deblur.working import free_memory

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry
    from napari_deblur.places import Place
    from napari_deblur.tasks import Engine, Task, Todo

__all__ = ["cluster_engine", "count", "gpus", "local_workers", "memories"]

ANSWER = 60.0  # seconds in which a worker says what GPU it has: torch may have to be loaded
POLL = 0.5  # seconds between two looks at whether one has come
T = TypeVar("T")
# Ctrl-C is for this process to hear, on Windows too.
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@contextmanager
def cluster_engine(
    path: Place, key: str, *, claim: str = "", workers: int = 0, scheduler: str | None = None
) -> Iterator[Engine]:
    """Start worker processes here, or connect to a scheduler, for the tasks of one store.

    Parameters
    ----------
    path : Path or Remote
        The store, which every worker must see under this path.
    key : str
        That of its plan.
    claim : str
        The name of the claim by which this run writes.
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
        if scheduler is None:
            system.refuse_unguarded_script()
            scheduler = cleanup.enter_context(local_workers(workers))
        line = cleanup.enter_context(Line(partial(connected, scheduler)))

        def engine(todo: Todo) -> Generator[tuple[Task, Entry | Exception]]:
            return sent(line, str(path.absolute()), key, todo, claim=claim)

        yield engine


def count(scheduler: str) -> int:
    """Count the workers of a running scheduler; ConnectionError when none answers."""
    with Line(partial(connected, scheduler)) as line:
        return len(line.workers())


def gpus(scheduler: str, *, wait: bool = False) -> dict[str, int | None]:
    """Ask the workers of a running scheduler for the free bytes of their GPUs, None for none.

    Parameters
    ----------
    scheduler : str
    wait : bool
        For a first worker to come, however long that takes.

    Raises
    ------
    ConnectionError
        When no scheduler answers.
    RunStopped
        When a worker has another version of this package, or none.
    """
    with Line(partial(connected, scheduler)) as line:
        while not line.workers() and wait:
            sleep(POLL)
        return _said(line, devices.offered, "whether they have GPUs")


def memories(scheduler: str) -> dict[str, tuple[int, int]]:
    """Ask the workers of a running scheduler, as soon as there is one, for their `free_memory`.

    Raises
    ------
    ConnectionError, RunStopped
        As for `gpus`.
    """
    with Line(partial(connected, scheduler)) as line:
        while True:
            while not line.workers():
                sleep(POLL)
            if said := _said(line, free_memory, "what memory is free"):
                return said
            if line.workers():  # it has not left: asking again would help nobody
                raise ConnectionError("the workers can't say what memory is free: see their logs")


def _said(line: Line, question: Callable[..., T], what: str) -> dict[str, T]:
    """Let each worker do something; what those say that could."""
    try:
        said = line.client.sync(
            lambda: line.client.run(question, on_error="return"), callback_timeout=ANSWER
        )
    except (TimeoutError, OSError) as error:
        raise ConnectionError(f"the workers don't say {what}") from error
    return {name: one for name, one in said.items() if not isinstance(one, Exception)}


@contextmanager
def local_workers(workers: int) -> Iterator[str]:
    """Start worker processes on this machine; give the address of their scheduler."""
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.preload": [*dask.config.get("distributed.worker.preload"), DEAF],
        "distributed.scheduler.allowed-failures": DEATHS,
    }
    with ExitStack() as cleanup:
        cleanup.enter_context(dask.config.set(settings))
        temporary = tempfile.TemporaryDirectory(prefix="napari-deblur-", ignore_cleanup_errors=True)
        folder = cleanup.enter_context(temporary)
        with system.ctrl_c_held():  # what is half started can't be ended
            cluster = cleanup.enter_context(
                LocalCluster(
                    n_workers=workers,
                    # Torch takes as many: with threads × threads, 8 tiles took 4 × as long.
                    threads_per_worker=max(1, system.cores() // workers),
                    dashboard_address="127.0.0.1:0",  # any free port: of 8787 a second would warn
                    memory_limit=0,  # the plan has seen to memory; dask is not to spill or pause
                    local_directory=folder,
                    silence_logs=logging.CRITICAL,
                )
            )
        yield str(cluster.scheduler_address)
