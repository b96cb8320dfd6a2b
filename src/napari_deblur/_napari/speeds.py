"""How fast methods were until now, by which it is told how long a run takes. No windows here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_deblur.plans import Plan

__all__ = ["Pace", "Speeds", "Work", "computed", "of_plan"]

# A smaller piece than that of what is known says less: what each tile takes to begin counts more.
LEAST = 0.9


@dataclass(frozen=True)
class Work:
    """What is to be done for a voxel.

    Parameters
    ----------
    kind : str
        The device, the scope, the methods, and whether kernels are flat or solid.
    steps : float
        Iterations, on average over the channels.
    """

    kind: str
    steps: float


def computed(tile: Sequence[int], kernel: Sequence[int]) -> int:
    """Give the voxels that are computed for a tile (z, y, x), halo included, and a kernel's shape.

    The object reaches beyond the tile by half a kernel on each side: for a small tile that is much.
    """
    return prod(n + k - 1 for n, k in zip(tile, kernel, strict=True))


def of_plan(plan: Plan) -> Work:
    """Say what a plan does for each voxel."""
    methods = [channel.method for channel in plan.channels]
    steps = [
        prod(
            getattr(method, name, 1)
            for name in ("iterations", "rounds")
            if isinstance(getattr(method, name, 1), int)
        )
        for method in methods
    ]
    names = sorted({type(method).__name__ for method in methods})
    depth = "flat" if plan.kernel.shape[0] == 1 else "solid"
    return Work(" ".join([plan.device, plan.scope, *names, depth]), sum(steps) / len(steps))


@dataclass
class Speeds:
    """Seconds that previews and runs took, by the kind of work."""

    known: dict[str, tuple[float, float]] = field(default_factory=dict)  # seconds, voxels × steps

    def learn(self, work: Work, seconds: float, voxels: float) -> None:
        """Note what so many voxels that were `computed` took; a far smaller piece is forgotten."""
        amount = voxels * work.steps
        if seconds > 0 and amount >= LEAST * self.known.get(work.kind, (0.0, 0.0))[1]:
            self.known[work.kind] = (seconds, amount)

    def of(self, work: Work) -> tuple[float, float] | None:
        """Give seconds, and the voxels that they are enough for; None if that is not known."""
        seconds, amount = self.known.get(work.kind, (0.0, 0.0))
        return (seconds, amount / work.steps) if amount else None


@dataclass
class Pace:
    """How long a tile of a run takes, from what the run says of its progress.

    Parameters
    ----------
    each : float
        Seconds; 0 as long as nobody knows.
    paused : bool
        Whether the run was paused, so that its clock counts what was no work.
    """

    each: float = 0.0
    paused: bool = False
    _already: int | None = None  # tiles of earlier runs

    def hear(self, progress: Mapping[str, Any]) -> None:
        """Take what the run says."""
        if progress["phase"] != "tiles":
            return
        done, left = progress["done"], progress["total"] - progress["done"]
        if self._already is None:
            self._already = done
        elif left and progress["eta"]:  # without pauses
            self.each = progress["eta"] / left
        elif not self.each and not self.paused and done > self._already:
            self.each = progress["seconds"] / (done - self._already)
