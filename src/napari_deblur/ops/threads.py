"""How many threads torch takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["at_most", "one_thread"]


def at_most(count: int) -> None:
    """Let torch take no more threads than that in this thread: of a container's quota it knows not.

    With 64 threads on a quota of 2 cores most of the time all of them wait.
    """
    if torch.get_num_threads() > count:
        torch.set_num_threads(count)


@contextmanager
def one_thread(*, when: bool = True) -> Iterator[None]:
    """Let torch take one thread: for many small steps, between which threads wait for each other.

    On a busy machine that waiting made a search a hundred times slower. The setting is the
    process's; what runs beside it is slower meanwhile, but not wrong.
    """
    before = torch.get_num_threads()
    if not when or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
