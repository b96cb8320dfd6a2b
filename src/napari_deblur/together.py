"""Several images at a time: each is done by one worker process, from its plan to its pyramid."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from typing import TypeVar

from napari_deblur import system

__all__ = ["alone", "side_by_side", "slots_of"]

T = TypeVar("T")
R = TypeVar("R")
LOOK = 0.5  # seconds between two looks: on Windows Ctrl-C isn't heard in between


@contextmanager
def slots_of(address: str) -> Iterator[list[Executor]]:
    """Give what starts a task in each worker of a scheduler; one that died passes on its tasks."""
    from napari_deblur.connecting import PATIENCE, connected

    client = connected(address, PATIENCE)
    try:
        yield [
            client.get_executor(workers=[worker], allow_other_workers=True, pure=False)
            for worker in client.ncores()
        ]
    finally:
        with suppress(TimeoutError, OSError):
            client.close(timeout=2)


def side_by_side(
    slots: Sequence[Executor], do: Callable[[T], R], given: Iterable[T]
) -> Iterator[tuple[T, Future[R]]]:
    """Let each slot do one after the other; give what came of each, as it comes."""
    waiting, free = deque(given), list(slots)
    out: dict[Future[R], tuple[T, Executor]] = {}
    while waiting or out:
        while waiting and free:
            slot, one = free.pop(), waiting.popleft()
            out[slot.submit(do, one)] = one, slot
        found = [(future, *out.pop(future)) for future in wait(out, LOOK, FIRST_COMPLETED).done]
        free += [slot for _, _, slot in found]
        for future, one, _ in found:
            yield one, future


def alone(do: Callable[[T], R], one: T) -> R:
    """Do something in a worker, with as many threads as it was started with."""
    import torch
    from distributed import get_worker

    with suppress(ValueError):  # in this very process, which has its own number
        torch.set_num_threads(max(1, min(get_worker().state.nthreads, system.cores())))
    return do(one)
