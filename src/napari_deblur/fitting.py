"""Whether all processes of a run fit into the memory of this machine at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from napari_deblur import system
from napari_deblur.describing import size
from napari_deblur.gridding import PROCESS, SCANT, share_of

if TYPE_CHECKING:
    from napari_deblur.plans import Plan

__all__ = ["of_memory", "refuse", "refuse_alone", "refuse_many"]


def of_memory(plan: Plan, workers: int) -> Iterator[tuple[str, str]]:
    """Say what the processes of a run hold together, or that a tile is too large for this one.

    Nothing where they are on no CPU.
    """
    free = system.available_memory()
    if workers and plan.device == "cpu":
        yield "memory", f"{_sum(plan, workers)}, {size(free)} are free"
    elif plan.device == "cpu" and plan.memory > free:
        yield (
            "memory",
            f"NOT ENOUGH, {size(free)} are free: plan it with less (--memory)",
        )


def refuse(plan: Plan, workers: int) -> None:
    """Raise if the workers of a run would need more memory than there is.

    A plan is for one process, whoever does it; on a GPU they take turns.

    Raises
    ------
    ValueError
        With what to change.
    """
    if not workers or plan.device != "cpu":
        return
    free, busy = system.available_memory(), min(workers, len(plan))
    if workers * PROCESS + busy * plan.memory <= free:
        return
    ways = [f"use {n} (--workers {n})"] if (n := free // (PROCESS + plan.memory)) else []
    if (less := share_of(free, workers)) >= SCANT:
        ways.append(f"plan it with less for a task (--memory {less // 10**6}MB)")
    raise ValueError(
        f"{_sum(plan, workers)}, but {size(free)} are free: "
        + (", or ".join(ways) or "use no workers, or a machine with more memory")
    )


def refuse_many(workers: int) -> None:
    """Raise ValueError if so many don't even fit without tiles: before a search, which is long."""
    free = system.available_memory()
    if workers * PROCESS > free:
        raise ValueError(
            f"{workers} workers hold {workers} × {size(PROCESS)} before their first tile, but "
            f"{size(free)} are free: use fewer (--workers {free // (2 * PROCESS)})"
        )


def refuse_alone(plan: Plan) -> None:
    """Raise ValueError if a tile needs more memory than this process, which is to do it, can get.

    The plan may be of another day, or of another machine.
    """
    free = system.available_memory()
    if plan.device == "cpu" and plan.memory > free:
        raise ValueError(
            f"a tile needs {size(plan.memory)}, but {size(free)} are free: wait until more is, or "
            f"plan it anew with less (--memory {max(1, free // (2 * 10**6))}MB) for another output"
        )


def _sum(plan: Plan, workers: int) -> str:
    busy = min(workers, len(plan))
    held = f"{workers} × {size(PROCESS)} + {busy} × {size(plan.memory)} for tiles"
    all_of_them = size(workers * PROCESS + busy * plan.memory)
    return f"{workers} worker{'s' if workers > 1 else ''} hold {held} = {all_of_them}"
