"""Elementwise work in blocks that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["blocks"]

# Of 2 MiB as float32: an update of three steps took 0.035 of an iteration's transforms in such
# blocks, 0.048 in one go and 0.07 in blocks of a plane each, whose calls cost more than they do.
VOXELS = 2**19


def blocks(*things: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape alike along their first long axis and give the pieces together.

    Several steps on one piece before the next save the way to memory and back; what a step
    allocates is as small as a piece. On other devices than a CPU the whole is one piece.
    """
    first = things[0]
    axis = next((a for a, n in enumerate(first.shape) if n > 1), 0)
    n = first.shape[axis] if first.ndim else 1
    step = max(1, VOXELS * n // max(first.numel(), 1))
    if first.device.type != "cpu" or step >= n:
        yield things
        return
    for start in range(0, n, step):
        length = min(step, n - start)
        yield tuple(thing.narrow(axis, start, length) for thing in things)
