"""What plans cost in time, on one machine and on many, and on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf, prod
from time import perf_counter
from typing import TYPE_CHECKING

from napari_deblur import system
from napari_deblur.arrays import room_for
from napari_deblur.describing import size
from napari_deblur.printing import lasting
from napari_deblur.restoring import restore_tile

if TYPE_CHECKING:
    from napari_deblur.plans import Plan

__all__ = ["Sum", "of_disk", "of_time", "seconds"]

WARM = 1.0  # a first tile that takes less is mostly libraries that start


def seconds(plan: Plan, workers: int = 0) -> float:
    """Restore the tile in the middle of each channel, and give what a tile takes on average.

    Channels of the same method count for each other. Reading is included, writing is not. Of
    several workers each has its share of the cores.
    """
    frames, channels, *counts = plan.grid.counts
    z, y, x = (n // 2 for n in counts)
    took: dict[str, float] = {}
    methods = [repr(channel.method) for channel in plan.channels]
    with _threads(workers):
        for c, method in enumerate(methods):
            if method in took:
                continue
            for _ in range(2):
                begun = perf_counter()
                restore_tile(plan, None, (frames // 2, c, z, y, x))
                took[method] = perf_counter() - begun
                if took[method] > WARM:
                    break
    return sum(took[methods[min(c, len(methods) - 1)]] for c in range(channels)) / channels


def of_time(plan: Plan, each: float, machines: int, workers: int = 0) -> Iterator[tuple[str, str]]:
    """Say how long a plan takes when a tile takes `each` seconds, and what that costs."""
    count, busy = len(plan), _busy(plan, workers)
    lasts = each * ceil(count / busy)
    yield "time", f"about {lasting(lasts)} {_where(workers, busy)} ({each:.3g} s a tile)"
    if machines > 1:
        files, most = len(plan.shards), prod(plan.shard)
        sizes = sorted({min(count, most * n) for n in (files // machines, ceil(files / machines))})
        tiles = "–".join(map(str, sizes))
        yield (
            f"on {machines}",
            f"about {lasting(each * ceil(sizes[-1] / busy))} on each, {tiles} tiles; "
            f"{lasts / 3600:.2g} machine hours in all",
        )


def of_disk(bytes_: float, free: float) -> Iterator[tuple[str, str]]:
    """Say what is needed on the disk, and what is there."""
    if free < inf:
        enough = "" if bytes_ <= free else ": NOT ENOUGH, choose an output on another disk"
        yield "disk", f"about {size(bytes_)} at most, {size(free)} are free{enough}"


@dataclass
class Sum:
    """What several images cost together, one after the other; by a tile of one of them.

    `busy` is work that is shared by the processes that can do it at a time, and so are the seconds
    that were `planned`: the run does that again.
    """

    workers: int = 0
    tiles: int = 0
    planned: float = 0.0
    busy: float = 0.0
    written: float = 0.0
    joined: float = 0.0
    rate: float | None = None

    def add(self, plan: Plan, joins: int = 1, seconds: float = 0.0) -> None:
        """Count one more plan, which was made in some seconds."""
        alone = room_for(plan, joins=0)
        self.tiles += len(plan)
        # Workers do small images side by side, one each.
        share = max(1, self.workers) if plan.device == "cpu" else 1
        self.planned += seconds / share
        self.busy += _work(plan) / share
        self.written += alone
        self.joined = max(self.joined, room_for(plan, joins=joins) - alone)

    def time(self, plan: Plan) -> None:
        """Restore tiles of a plan, to know how long all take."""
        self.rate = seconds(plan, self.workers) * len(plan) / _work(plan)

    def rows(self, machines: int, free: float) -> Iterator[tuple[str, str]]:
        """Say it."""
        yield "tiles", str(self.tiles)
        if self.rate is not None:
            lasts = self.rate * self.busy + self.planned
            yield (
                "time",
                f"about {lasting(lasts)} {_where(self.workers, self.workers)}, of which "
                f"{lasting(self.planned)} to plan",
            )
            if machines > 1:
                each = f"about {lasting(lasts / machines)} on each"
                yield f"on {machines}", f"{each}; {lasts / 3600:.2g} machine hours in all"
        yield from of_disk(self.written + self.joined, free)


def _work(plan: Plan) -> float:
    """Give what the time of plans goes with: voxels with halos, for each iteration."""
    rounds = [1 + getattr(channel.method, "iterations", 0) for channel in plan.channels]
    return prod(plan.grid.tile_shape) * len(plan) * sum(rounds) / len(rounds)


def _busy(plan: Plan, workers: int) -> int:
    """Count the processes that work at a time: those at one GPU take turns."""
    if plan.device != "cpu":
        return 1
    return max(1, min(workers, len(plan)))


def _where(workers: int, busy: int) -> str:
    if not workers:
        return "on one such machine"
    several = f"{busy} of {workers} processes" if busy < workers else f"{workers} processes"
    return f"by {several} on one such machine"


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """Let torch take as many threads as it has in one of several workers."""
    import torch

    before = torch.get_num_threads()
    try:
        if workers:
            torch.set_num_threads(max(1, system.cores() // workers))
        yield
    finally:
        torch.set_num_threads(before)
