"""A preview: the plan of the whole, and the part of it that is on the screen."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.speeds import computed
from napari_deblur._napari.telling import details
from napari_deblur.tiles import Box, Grid, Index, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur._napari.asking import Ask
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Preview", "Window", "bounded", "load_torch", "previewing"]

# A preview restores at most so many voxels, and solid kernels so many planes.
MOST_VOXELS = 2**21
MOST_PLANES = 48


@dataclass(frozen=True)
class Window:
    """What is seen: frame, channels and (start, stop) for z, y, x, in voxels of the stack.

    `chosen` says that the user drew the box: all of it is wanted, not only what the plane needs.
    """

    t: int
    channels: tuple[int, ...]
    box: Box
    plane: int
    chosen: bool = False


@dataclass(frozen=True, eq=False)
class Preview:
    """What came out: image (c, z, y, x) of a box, the plan, and kernels found in this tile.

    `seconds` is what restoring took and `voxels` what was `computed` for it: a run's speed.
    `residuals` are those of each channel, `summary` the notes and the plan in words.
    """

    window: Window
    image: NDArray[np.float32]
    plan: Plan
    kernel: NDArray[np.float32]
    seconds: float = 0.0
    voxels: int = 0
    residuals: tuple[NDArray[np.float32], ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class _One(Grid):
    """A grid of which every tile has the same core: the window."""

    box: Box = ((0, 1), (0, 1), (0, 1))

    def tile(self, index: Index) -> Tile:
        """Give the window with its halo."""
        return self.around(index, self.box)


def previewing(
    ask: Ask,
    stack: Stack,
    window: Window,
    plan: Plan | None,
    asked: Callable[[], bool],
) -> Generator[str, None, Preview]:
    """Plan, unless that is done, and restore the window; each step says what it is.

    Parameters
    ----------
    asked : function
        Whether to stop; looked at in each iteration, which then raises `Cancelled`.
    """
    yield "loading the engine"
    load_torch()
    from napari_deblur._napari.asking import deciding
    from napari_deblur.ops import cancellable
    from napari_deblur.restoring import restore_tile

    with cancellable(asked):
        if plan is None:
            plan = yield from deciding(ask, stack)
        window = bounded(window, plan.kernel.shape)
        grid = _around(plan.grid, window.box)
        part = replace(plan, grid=grid)
        seen = tuple(
            slice(a - first, b - first)
            for (a, b), (first, _) in zip(window.box, grid.box, strict=True)
        )
        tiles, seconds = [], 0.0
        read = grid.tile((window.t, window.channels[0], 0, 0, 0)).read
        for c in window.channels:
            yield "restoring what is seen" + (f", channel {c}" if len(window.channels) > 1 else "")
            start = perf_counter()
            tiles.append(restore_tile(part, stack, (window.t, c, 0, 0, 0)))
            seconds += perf_counter() - start
        own = [one.kernel for one in tiles if one.kernel is not None]
    # Made here, not by the window: the first time modules are loaded for it.
    summary, _ = details(plan), plan.key
    return Preview(
        window,
        np.stack([one.image[seen] for one in tiles]),
        plan,
        own[-1] if own else _kernel_at(plan, window),
        seconds,
        computed([b - a for a, b in read], plan.kernel.shape) * len(tiles),
        tuple(one.residuals for one in tiles),
        summary,
    )


def _kernel_at(plan: Plan, window: Window) -> NDArray[np.float32]:
    """Give the kernel in the middle of what is seen."""
    c = window.channels[0]
    field = plan.field(c)
    if field is None:
        return plan.kernel.at(window.t, c)
    z, y, x = ((a + b - 1) / 2 for a, b in window.box)
    return field.kernel_at((z, y, x))


def bounded(window: Window, kernel_shape: tuple[int, int, int]) -> Window:
    """Make a window small enough: its middle, and only this plane if planes don't mix.

    Of a box that was drawn, planes are left out first.
    """
    (z0, z1), *plane = window.box
    z = min(max(window.plane, z0), z1 - 1)
    planes = 1 if kernel_shape[0] == 1 and not window.chosen else min(z1 - z0, MOST_PLANES)
    if window.chosen:
        planes = min(planes, max(1, MOST_VOXELS // math.prod(b - a for a, b in plane)))
    first = min(max(z - planes // 2, z0), z1 - planes)
    room = MOST_VOXELS / planes
    shrink = max(1.0, math.sqrt(math.prod(b - a for a, b in plane) / room))
    y, x = (_middle(span, shrink) for span in plane)
    return replace(window, box=((first, first + planes), y, x))


def _middle(span: tuple[int, int], shrink: float) -> tuple[int, int]:
    length = max(1, int((span[1] - span[0]) / shrink))
    start = (span[0] + span[1] - length) // 2
    return start, start + length


def _around(grid: Grid, box: Box) -> _One:
    """Give a grid of the window, grown until it begins where tiles of the run may begin."""
    multiples = grid.multiple_of
    z, y, x = (
        (a // m * m, min(_up(b, m), n))
        for (a, b), m, n in zip(box, multiples, grid.shape[2:], strict=True)
    )
    deep, high, wide = (_up(b - a, m) for (a, b), m in zip((z, y, x), multiples, strict=True))
    hz, hy, hx = (_up(h, m) for h, m in zip(grid.halo, multiples, strict=True))
    return _One(grid.shape, (deep, high, wide), (hz, hy, hx), multiples, box=(z, y, x))


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def load_torch() -> None:
    """Import torch without stopping all other threads while its libraries are mapped.

    Python holds its lock while it loads a library: 0.4 to 0.8 s for torch, in which the window
    would stand still. A call of the system's own loader through ctypes does not hold it.
    """
    if "torch" not in sys.modules and sys.platform == "linux":
        found = find_spec("torch")
        if found is not None and found.origin is not None:
            load: Any = ctypes.CDLL(None).dlopen
            load.restype = ctypes.c_void_p
            for name in ("libtorch_cpu.so", "libtorch_python.so"):
                file = Path(found.origin).parent / "lib" / name
                if file.exists():
                    load(os.fsencode(file), os.RTLD_NOW)
    import torch  # noqa: F401
