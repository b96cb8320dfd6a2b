"""The grid of a plan: which axes are cut, how large a core is, what it needs in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur import cuts, devices
from napari_deblur.cuts import AXES, Triple, rounded_up
from napari_deblur.devices import chosen_device
from napari_deblur.tiles import Grid

if TYPE_CHECKING:
    from napari_deblur.cuts import Costs
    from napari_deblur.halos import Halo
    from napari_deblur.protocols import KernelField, Method
    from napari_deblur.stack import Stack

__all__ = [
    "LEAST",
    "PROCESS",
    "SCANT",
    "Laid",
    "allowed_memory",
    "arrays_of",
    "chosen_device",
    "lay",
    "output_type",
    "share_of",
]

GIB = 2**30
LEAST = 10**6  # as people write 1MB
# What a worker process holds before its first tile, and how much of what is free all may fill.
PROCESS = 400_000_000
FILLED = 0.8
# With less than that for a task, there are too many processes rather than too large tiles.
SCANT = 2**24
# Arrays of a tile's size that a blur which varies needs besides two for each of its kernels: 6.8
# were measured for three kernels, on a volume, and 10.7 for six.
VARYING = 3
# Arrays more where transforms are not in place, of a method that does not say it (`arrays_torch`):
# 0 to 3.6 were measured, of total variation 5.7.
OUT_OF_PLACE = 3.5


@dataclass(frozen=True)
class Laid:
    """A grid, the halo curves of its cut axes, the seam they leave, bytes for one task."""

    grid: Grid
    halos: dict[str, Halo]
    seam: float | None
    memory: int
    notes: tuple[str, ...] = ()


def allowed_memory(
    memory: int | None, device: str, *, processes: int = 1, free: int | None = None
) -> int:
    """Give the bytes that one task may use: what was asked, or half of what is free.

    Parameters
    ----------
    memory : int or None
        What was asked.
    device : str
    processes : int
        How many share this machine's memory. Those that share a GPU take turns on it.
    free : int or None
        What is free where it is to be done, if not here.

    Raises
    ------
    ValueError
        When that is too little for any tile.
    """
    from napari_deblur.system import available_memory

    if memory is not None:
        if memory < LEAST:
            raise ValueError(
                f"memory of {memory} bytes is too little for any tile: give 1 MB or more"
            )
        return memory
    if device.startswith("cuda"):
        return (devices.free_memory(device) if free is None else free) // 2
    left = available_memory() if free is None else free
    share = left // 2
    if processes > 1:
        each = share_of(left, processes)
        # Else the run says that there are too many; in one of them others hold it.
        share = min(share, each if each >= SCANT else share // processes)
    return min(share, 2 * GIB)


def share_of(free: int, processes: int) -> int:
    """Give the bytes that each of several processes has for a task."""
    return int(FILLED * free) // processes - PROCESS


def arrays_of(method: Method, field: KernelField | None, device: str) -> float:
    """Count the arrays of a call: a field adds its weights and transforms, and a few more."""
    from napari_deblur.ops import transforms

    count = method.arrays
    if transforms.engine(device) == "torch":
        count = getattr(method, "arrays_torch", count + OUT_OF_PLACE)
    return count + (0 if field is None else 2 * field.rank + VARYING)


def output_type(stack: Stack, dtype: str | None, white: float | None) -> tuple[str, float, float]:
    """Choose the stored type, with the scale and offset that turn stored numbers into counts."""
    if dtype is None:
        own = stack.dtype.name
        dtype = own if stack.rgb and own in ("uint8", "uint16") else "float32"
    if dtype not in ("float32", "uint16", "uint8"):
        raise ValueError(f'dtype "{dtype}" is not one of float32, uint16, uint8')
    if dtype == "float32":
        return dtype, 1.0, 0.0
    full = float(np.iinfo(dtype).max)
    if stack.dtype.kind in "ui" and (stack.rgb or 4 * (white or 0.0) <= full):
        return dtype, 1.0, 0.0
    # Deblurring piles light up: room for eight times what is bright before.
    top = 8 * (white or 1.0)
    return dtype, (top / full if top > 0 else 1.0), 0.0


def lay(
    stack: Stack,
    kernel: Triple,
    arrays: float,
    halo: Callable[[int], Halo],
    *,
    tile: Triple | None,
    memory: int,
    seam: float,
    accept_seam: bool,
    free: bool = False,
    device: str = "cpu",
    multiple_of: int = 1,
) -> Laid:
    """Choose the grid: the least work that memory allows, halos measured only where it is cut.

    Parameters
    ----------
    arrays : float
        That a call of the method needs, of the padded tile's size.
    halo : function of an axis (0, 1, 2)
        Measures it; called only for axes that are to be cut.
    tile : (z, y, x) or None
        The core that the user wants.
    free : bool
        The method needs no halo at all (identity).
    device : str
        Where the method runs.
    multiple_of : int
        At which tiles begin.

    Raises
    ------
    ValueError
        When no grid keeps the seam within the memory.
    """
    sizes = stack.shape[2:]
    plane_by_plane = kernel[0] == 1
    multiples = (1 if plane_by_plane else multiple_of, multiple_of, multiple_of)
    measured: dict[int, Halo] = {}
    notes: list[str] = []
    whole: set[int] = set()  # axes that turned out impossible to cut

    def width(axis: int) -> int:
        """Measure an axis once; 0 where a kernel does not reach at all."""
        if free or (axis == 0 and plane_by_plane):
            return 0
        if axis not in measured:
            measured[axis] = halo(axis)
        found = measured[axis]
        if found.width is not None:
            return rounded_up(found.width, multiples[axis])
        if accept_seam:
            wide = max(0, min(len(found.curve) - 1, sizes[axis] // 4))
            return rounded_up(wide, multiples[axis])
        whole.add(axis)
        return 0

    def expected() -> Triple:
        """Take x to be like y where only one of them is measured yet."""
        z, y, x = widths
        return z, y if 1 in measured else x, x if 2 in measured else y

    costs = cuts.costs_of(stack, arrays, device)
    widths = (0, 0, 0)
    while True:
        if tile is not None:
            core = _triple([
                n if a in whole else min(rounded_up(tile[a], multiples[a]), n)
                for a, n in enumerate(sizes)
            ])  # fmt: skip
        else:
            core = cuts.fitted(sizes, expected(), kernel, costs, memory, whole, multiples)
        # Measuring tells how wide a cut's halo is, and which axes can't be cut: then once more.
        found = _triple([width(a) if core[a] < sizes[a] else widths[a] for a in range(3)])
        if found == widths and not any(core[a] < sizes[a] for a in whole):
            break
        widths = found
    for a in sorted(whole):
        notes.append(
            f"{AXES[a]} is not cut: no halo that could be measured keeps the seam of "
            f"{seam:g} safely (the widest leaves {measured[a].curve[-1]:.1g})"
        )

    laid = Grid(stack.shape, core, widths, multiples)
    need = costs.of(laid, kernel)
    if need > memory and tile is None:
        raise ValueError(
            f"one task would need {need / 1e6:.3g} MB of {memory / 1e6:.3g} MB: "
            + _too_much(costs, memory, need, cut=bool(whole) or any(widths))
        )
    if need > memory:
        notes.append(f"one task needs {need / 1e6:.3g} MB, more than {memory / 1e6:.3g} MB")
    notes += _unpacked_often(costs, laid, kernel)
    # An uncut axis gets a guess, used only if a tile must be split when memory runs out.
    guess = _triple([
        widths[a] if core[a] < sizes[a] or (a == 0 and plane_by_plane) or free
        else rounded_up(min(sizes[a], 2 * kernel[a]), multiples[a])
        for a in range(3)
    ])  # fmt: skip
    halos = {AXES[a]: measured[a] for a in measured if core[a] < sizes[a]}
    # Cuts along several axes meet in corners, where what they leave adds up.
    left = [h.seam(widths[AXES.index(name)]) for name, h in halos.items()]
    grid = Grid(stack.shape, core, guess, multiples)
    return Laid(grid, halos, sum(left) if left else None, need, tuple(notes))


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return z, y, x


def _too_much(costs: Costs, memory: int, need: int, *, cut: bool) -> str:
    """Say why no tile is small enough, and what to do."""
    more = f"allow more memory (--memory {ceil(need / 1e6)}MB)"
    if costs.chunks is not None and costs.held(1) > memory / 2:
        return (
            f"a chunk of the input has {costs.chunks.nbytes / 1e6:.3g} MB and is unpacked as a "
            f"whole; {more}, or write the input again in smaller chunks"
        )
    if not cut:  # not even the smallest
        return more
    return f"the halo is too long; {more}, a larger seam (--seam), or accept_seam (--accept-seam)"


def _unpacked_often(costs: Costs, grid: Grid, kernel: Triple) -> list[str]:
    """Say so where unpacking the input again and again takes longer than to restore it."""
    unpacked, chunks = costs.unpacked(grid), costs.chunks
    if chunks is None or costs.unpacking * unpacked <= cuts.work(grid, kernel):
        return []
    times = unpacked / prod(grid.shape[2:])
    return [
        f"chunks of the input, {' × '.join(map(str, chunks.shape))} voxels in "
        f"{chunks.nbytes / 1e6:.3g} MB, are unpacked as a whole, each about {times:.2g} times: "
        "that takes longer than to restore them; write the input again in smaller chunks first"
    ]
