"""Peak memory of a run over stacks that are up to a hundred times larger than what it may use."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Kernel
    from napari_deblur.stack import Stack

__all__ = ["DEPTH", "kernel_of", "made_up", "measured", "tried"]

DEPTH = 64
SIGMA = (1.5, 2.0, 2.0)
# What is repeated: cubes of light on a background, with noise.
PERIOD = (64, 256, 256)
ITERATIONS = 2


class MadeUp:
    """An array that lies nowhere: the same light again and again, made as it is read."""

    dtype = np.dtype("u2")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        random = np.random.default_rng(0)
        light = np.full(PERIOD, 20.0, np.float32)
        for _ in range(light.size // 20_000):
            z, y, x = (int(random.integers(0, n - 3)) for n in PERIOD)
            light[z : z + 3, y : y + 3, x : x + 3] = 1000
        self._period = random.poisson(light).astype("u2")

    def __getitem__(self, where: tuple[slice, ...]) -> NDArray[Any]:
        block = self._period
        for axis, (span, size) in enumerate(zip(where, self.shape, strict=True)):
            block = block.take(range(*span.indices(size)), axis=axis, mode="wrap")
        return block


def made_up(shape: tuple[int, int, int]) -> Stack:
    """Give a stack that takes no room, whatever its shape (z, y, x)."""
    from napari_deblur.stack import Pixels, Stack

    return Stack(Pixels(MadeUp(shape), "zyx"), "zyx", name="made-up")


def kernel_of(width: int, *, plane: bool = False) -> Kernel:
    """Give the kernel of these measurements: a Gaussian in a cube, or in a square."""
    from napari_deblur.psfs.gaussian import Gaussian

    z, y, x = SIGMA
    if plane:
        return Gaussian((0.0, y, x))((1, width, width), (1.0, 1.0, 1.0))
    return Gaussian((z, y, x))((width,) * 3, (1.0, 1.0, 1.0))


@lru_cache(maxsize=1)
def tried() -> None:
    """Load all libraries by a run over a small stack, once."""
    from napari_deblur.batch import run
    from napari_deblur.planning import plan
    from napari_deblur.registry import methods

    small = made_up((16, 64, 64))
    made = plan(small, methods["richardson-lucy"](iterations=1), kernel=kernel_of(5))
    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder:
        list(run(made, Path(folder, "small.deblur.zarr"), small))


def measured(memory: int, times: int, tiles: int, width: int) -> dict[str, Any]:
    """Plan and begin a run in this process, which should be fresh; give its peaks in bytes.

    Parameters
    ----------
    memory : int
        Bytes that one task may use.
    times : int
        How much larger the stack is.
    tiles : int
        How many are done, at most.
    width : int
        Of the kernel.
    """
    import psutil  # type: ignore[import-untyped]

    from napari_deblur.batch import run
    from napari_deblur.bench.worker import following
    from napari_deblur.planning import plan
    from napari_deblur.registry import methods

    tried()
    side = max(1, round((memory * times / 2 / DEPTH) ** 0.5))
    stack, method = made_up((DEPTH, side, side)), methods["richardson-lucy"](iterations=ITERATIONS)
    before, start = psutil.Process().memory_info().rss, perf_counter()
    with following() as planning:
        made = plan(stack, method, kernel=kernel_of(width), memory=memory)
    middle = perf_counter()
    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder, following() as peak:
        # The disk need not hold all of it: only the first tiles are written.
        progress = run(replace(made, disk=0), Path(folder, "large.deblur.zarr"), stack)
        *_, last = islice((p for p in progress if p.phase == "tiles"), min(tiles, len(made)) + 1)
        progress.close()  # type: ignore[attr-defined]
    return {
        "times": times,
        "bytes": stack.nbytes,
        "allowed": memory,
        "tiles": len(made),
        "done": last.done,
        "planned": made.memory,
        "planning": planning[0] - before,
        "running": peak[0] - before,
        "seconds planning": middle - start,
        "seconds running": perf_counter() - middle,
    }
