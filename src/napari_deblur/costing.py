"""What a plan costs in time, on one machine and on many, from tiles that are timed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING

from napari_deblur.parts import Part
from napari_deblur.printing import lasting
from napari_deblur.restoring import restore_tile

if TYPE_CHECKING:
    from napari_deblur.plans import Plan

__all__ = ["of_time", "seconds"]

WARM = 1.0  # a first tile that takes less is mostly libraries that start


def seconds(plan: Plan) -> float:
    """Restore the tile in the middle of each channel, and give what a tile takes on average.

    Channels of the same method count for each other. Reading is included, writing is not.
    """
    frames, channels, *counts = plan.grid.counts
    z, y, x = (n // 2 for n in counts)
    took: dict[str, float] = {}
    methods = [repr(channel.method) for channel in plan.channels]
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


def of_time(plan: Plan, each: float, machines: int) -> Iterator[tuple[str, str]]:
    """Say how long a plan takes when a tile takes `each` seconds, and what that costs."""
    count = len(plan)
    yield "time", f"about {lasting(each * count)} on one such machine ({each:.3g} s a tile)"
    if machines > 1:
        files, most = len(plan.shards), prod(plan.shard)
        spans = [Part(k, machines).span(files) for k in range(1, machines + 1)]
        sizes = sorted({min(count, most * (end - first)) for first, end in spans})
        tiles = "–".join(map(str, sizes))
        yield (
            f"on {machines}",
            f"about {lasting(each * sizes[-1])} on each, {tiles} tiles; "
            f"{each * count / 3600:.2g} machine hours in all",
        )
