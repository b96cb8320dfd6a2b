"""Peak memory of a run over stacks that are up to a hundred times larger than what it may use."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Kernel
    from napari_deblur.stack import Stack

__all__ = ["DEPTH", "kernel_of", "made_up", "measured", "of", "tried"]

DEPTH = 64
SIGMA = (1.5, 2.0, 2.0)
# What is repeated: cubes of light on a background, with noise.
PERIOD = (64, 256, 256)
ITERATIONS = 2
# What filters leave far away from a cut would take halos that hide what is measured here.
SEAM = 1e-2


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


def measured(
    memory: int,
    times: int,
    tiles: int | None,
    width: int,
    *,
    method: str = "richardson-lucy",
    plane: bool = False,
) -> dict[str, Any]:
    """Plan and do a run in this process, which should be fresh; give its peaks in bytes.

    The result is of 16 bits: this light then takes a fiftieth of its size on the disk.

    Parameters
    ----------
    memory : int
        Bytes that one task may use.
    times : int
        How much larger the stack is.
    tiles : int or None
        How many are done, at most; None: all, and the pyramid.
    width : int
        Of the kernel.
    method, plane
        What restores, and whether plane by plane.
    """
    import psutil  # type: ignore[import-untyped]

    from napari_deblur.batch import run
    from napari_deblur.bench.worker import following
    from napari_deblur.planning import plan

    tried()
    side = max(1, round((memory * times / 2 / DEPTH) ** 0.5))
    stack, kernel = made_up((DEPTH, side, side)), kernel_of(width, plane=plane)
    before, start = psutil.Process().memory_info().rss, perf_counter()
    with following() as planning:
        made = plan(
            stack, of(method), kernel=kernel, memory=memory, dtype="uint16", device="cpu",
            seam=SEAM, accept_seam=True, judge=False,
        )  # fmt: skip
    middle, most = perf_counter(), len(made) if tiles is None else min(tiles, len(made))
    with tempfile.TemporaryDirectory(prefix="napari-deblur-bench-") as folder:
        progress = iter(run(replace(made, disk=0), Path(folder, "large.deblur.zarr"), stack))
        with following() as early:
            last = next(p for p in progress if p.done >= max(1, most // 10))
        with following() as later:
            for last in progress:
                if tiles is not None and last.done >= most:
                    break
        progress.close()  # type: ignore[attr-defined]
    return {
        "method": method,
        "plane": plane,
        "times": times,
        "bytes": stack.nbytes,
        "allowed": memory,
        "tiles": len(made),
        "done": most,
        "phase": last.phase,
        "planned": made.memory,
        "planning": planning[0] - before,
        "early": early[0] - before,
        "running": max(early[0], later[0]) - before,
        "seconds planning": middle - start,
        "seconds running": perf_counter() - middle,
    }


def of(name: str) -> Any:
    """Give a method with few iterations, and no number that must be searched."""
    from napari_deblur.registry import methods, parameters_of

    known = parameters_of(methods[name]())
    wanted = {"iterations": ITERATIONS, "weight": 1e-3, "noise": 5.0}
    return methods[name](**{key: value for key, value in wanted.items() if key in known})
