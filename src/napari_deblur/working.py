"""What a worker process of a cluster does: some tasks of one store, one after the other.

The scheduler imports this too, since what it passes on names `work`; so it loads nothing heavy.
"""

from __future__ import annotations

import os
import pickle
import platform
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from distributed import Worker, get_worker
from distributed.utils import sync

import napari_deblur
from napari_deblur import devices, system
from napari_deblur.places import place_of
from napari_deblur.restoring import source_of
from napari_deblur.results import LEDGER
from napari_deblur.scratch import scratch_of, stack_of
from napari_deblur.standing import Standing
from napari_deblur.stopping import RunStopped, may_pass, refuse_gone, stops_the_run
from napari_deblur.store import Store
from napari_deblur.tasks import AT_ONCE, Task, perform

if TYPE_CHECKING:
    from napari_deblur.ledger import Entry
    from napari_deblur.stack import Stack

__all__ = ["Answer", "Order", "free_memory", "work"]

RECOUNT = 60.0  # seconds between two looks at who else is on this machine
PATIENCE = 5.0  # seconds to wait for that
LONG = 10.0  # seconds after which no other task of a batch is begun

_room = BoundedSemaphore(AT_ONCE)
_opening = Lock()  # what is cached would be loaded by each thread that comes meanwhile


@dataclass(frozen=True)
class Order:
    """For which store tasks are: its path, the key of its plan, and the claim of its run.

    That is the name of a file beside the ledger; once it is gone, nothing is written any more.
    Without one nobody looks.
    """

    path: str
    key: str
    claim: str = ""
    version: str = napari_deblur.__version__


@dataclass(frozen=True)
class Answer:
    """What became of the first tasks of a batch: all, unless one stops the run or they take long.

    `seconds` is how long they took, `worker` the address of who did them.
    """

    outcomes: tuple[Entry | Exception, ...]
    seconds: float
    worker: str = ""


def work(tasks: tuple[Task, ...], order: Order) -> Answer:
    """Do tasks in a worker process, which opens store and source once.

    Raises
    ------
    RunStopped
        When this worker cannot do any task, since it does not see the store.
    """
    with _room:
        begun = perf_counter()
        outcomes: list[Entry | Exception] = []
        try:
            store, stack = _ready(order, reads=any(task.reads for task in tasks))
        except RunStopped:
            raise
        except Exception as error:  # noqa: BLE001 - the worker is at fault: others do its tasks
            outcomes = [_portable(error)] * len(tasks)
        for task in tasks[len(outcomes) :]:
            try:
                outcomes.append(_done(store, stack, task))
            except Exception as error:  # noqa: BLE001 - it is told, and counts as a failed try
                outcomes.append(_portable(error))
                if stops_the_run(error):
                    break
            if perf_counter() - begun > LONG:
                break
        return Answer(tuple(outcomes), perf_counter() - begun, get_worker().address)


def _ready(order: Order, *, reads: bool) -> tuple[Store, Stack | None]:
    """Open store and source, and take what this worker may have of its machine."""
    here = napari_deblur.__version__
    if order.version != here:  # nobody may have asked, as of one that was slow to answer
        raise RunStopped(
            f"the worker on {platform.node()} has napari-deblur {here} and this run is of "
            f"{order.version}: install the same version there, then run the same again"
        )
    try:
        with _opening:
            store = _opened(order)
            # What is made of chunks needs no input, which may be gone by then.
            stack = _input(store) if reads else None
    except (OSError, ValueError) as error:
        if may_pass(error):
            raise
        raise RunStopped(
            f"the worker on {platform.node()} cannot begin ({error}): all machines must see "
            f"the input and {order.path} under these paths and have the same packages, then "
            "run the same again"
        ) from error
    _take_share()
    devices.take_turn(store.plan.device, get_worker().name)
    return store, stack


def free_memory(dask_worker: Worker) -> tuple[int, int]:
    """Give the bytes that are free where this worker is, and those that dask lets it hold, or 0."""
    return system.available_memory(), int(dask_worker.memory_manager.memory_limit or 0)


def _done(store: Store, stack: Stack | None, task: Task) -> Entry:
    """Do a task; RunStopped when the copy of a stack from memory is gone."""
    try:
        return perform(store, stack, task)
    except Exception as error:
        if stack is not None and store.plan.source is None:
            refuse_gone(str(scratch_of(store.path)), error)
        raise


@lru_cache(maxsize=2)
def _opened(order: Order) -> Store:
    """Open a store; anew for each run, since tasks of the last one may not be done."""
    devices.among_processes()
    store = Store.at(place_of(order.path), order.key)
    if order.claim:
        store.standing = Standing(store.path / LEDGER / order.claim)
    return store


@lru_cache(maxsize=2)
def _input(store: Store) -> Stack:
    devices.chosen_device(store.plan.device)
    if store.plan.source is None:
        return stack_of(scratch_of(store.path), store.plan.layout)
    return source_of(store.plan, None)


def _take_share() -> None:
    """Let torch take the threads that this worker was started with, in the thread of a task.

    It keeps a number for each thread; only one thread of a process computes at once.
    """
    import torch

    torch.set_num_threads(_share(get_worker(), int(monotonic() / RECOUNT)))


@lru_cache(maxsize=1)
def _share(worker: Worker, now: int) -> int:
    """Give the threads of a worker: fewer where those of a machine are more than its cores."""
    own, cores = worker.state.nthreads, os.cpu_count() or 1
    here = own
    with suppress(OSError, TimeoutError):  # a scheduler that is away for a moment
        all_of_them = sync(worker.loop, worker.scheduler.ncores, callback_timeout=PATIENCE)
        host = worker.address.rpartition(":")[0]
        here = sum(n for where, n in all_of_them.items() if where.rpartition(":")[0] == host)
    share: int = min(own, system.cores(), own * cores // max(here, 1))
    return max(1, share)


def _portable(error: Exception) -> Exception:
    """Give what can travel: causes are lost on the way, and some errors cannot be copied."""
    cause = error.__cause__
    while isinstance(cause, Exception) and stops_the_run(cause):
        error, cause = cause, cause.__cause__
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever another package's error does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error if type(copy) is type(error) else RuntimeError(str(error))
