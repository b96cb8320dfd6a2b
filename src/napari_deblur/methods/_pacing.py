"""Steps that begin beyond the last object, in the direction in which it moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._ascent import Ascent

__all__ = ["KEPT", "paced"]

# Extrapolation leaves a voxel at least this share of its light: 0 would never grow again.
LEAST_LEFT = 0.05
# Values of momentum that are kept: it has settled by then, and a task may carry less than 1 kB.
KEPT = 40


def paced(
    ascent: Ascent,
    momentum: list[float],
    *,
    measured: bool = False,
    heavy: Callable[[int], bool] = lambda number: False,
    unmatched: int = 0,
    shaped: Tensor | None = None,
    resisting: Callable[..., Iterable[tuple[Tensor, ...]]] | None = None,
) -> Iterator[Tensor]:
    """Give the object after 1, 2, … iterations, without end.

    Parameters
    ----------
    ascent : Ascent
    momentum : list of float
        How far each iteration begins beyond the last object; the last value goes on. Where it is
        `measured` it grows, with the cosine of Biggs and Andrews.
    heavy : function of an iteration's number
        Whether it takes the heavy ball's momentum, to first order, instead.
    unmatched, shaped : int, Tensor or None
        How many iterations take another back projector, and its factors.
    resisting : as for `Ascent.climb`
    """
    ascent.project(shaped if unmatched else None)
    recent, number, since = [ascent.flat()], 0, 0
    moves: list[Tensor] = []
    while True:
        if unmatched and number == unmatched:
            ascent.project(None)
            recent, moves, since = recent[-1:], [], 0
        number, since = number + 1, since + 1
        ball = heavy(number)
        if ball:
            factor = (since - 1) / (since + 2)
        elif measured:
            factor = _alignment(moves)
        else:
            factor = momentum[min(number, len(momentum)) - 1] if momentum else 0.0
        if measured:
            momentum.append(factor)
        thing = _extrapolated(recent, factor, 2 if ball else 3)
        before = thing.clone() if measured else None
        ascent.climb(thing, resisting=resisting)
        if before is not None:
            moves = [*moves[-1:], before.neg_().add_(thing)]
        recent.append(thing)
        yield thing


def _extrapolated(recent: list[Tensor], factor: float, order: int) -> Tensor:
    """Go beyond the last of some objects, oldest first, by `factor` of how it moved.

    Of order 2 along the last move, of order 3 along the last two (Taylor's series). The oldest
    object's memory is used up once there are `order` of them; it leaves the list.
    """
    import torch

    from napari_deblur import ops

    last = recent[-1]
    if len(recent) < order:
        beyond = last.clone()
        if len(recent) == 2:
            beyond.mul_(1 + factor).sub_(recent[0], alpha=factor)
            torch.maximum(beyond, last * LEAST_LEFT, out=beyond)
        return beyond
    del recent[: len(recent) - order]
    beyond = recent.pop(0)
    if order == 2:
        for old, new in ops.blocks(beyond, last):
            old.mul_(-factor).add_(new, alpha=1 + factor)
            torch.maximum(old, new * LEAST_LEFT, out=old)
        return beyond
    second = factor**2 / 2
    for old, middle, new in ops.blocks(beyond, recent[0], last):
        old.mul_(second).sub_(middle, alpha=factor + 2 * second)
        old.add_(new, alpha=1 + factor + second)
        torch.maximum(old, new * LEAST_LEFT, out=old)
    return beyond


def _alignment(moves: list[Tensor]) -> float:
    """Give how much of the last move lies in the direction of the one before, 0 to 1."""
    if len(moves) < 2:
        return 0.0
    before, last = moves
    along = float((last * before).sum())
    power = float(before.square().sum())
    return min(max(along / power, 0.0), 1.0) if power > 0 else 0.0
