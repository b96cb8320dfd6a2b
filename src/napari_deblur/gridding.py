"""The grid of a plan: which axes are cut, how large a core is, what it needs in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.tiles import Grid

if TYPE_CHECKING:
    from napari_deblur.halos import Halo
    from napari_deblur.protocols import Method
    from napari_deblur.stack import Stack

__all__ = ["Laid", "allowed_memory", "chosen_device", "lay", "output_type"]

Triple = tuple[int, int, int]
GIB = 2**30
# A core is a chunk of the output: beyond this, viewers and caches suffer. 64 MiB as float32.
MOST_CORE = 2**24
# A stack that is deeper than this is cut along z too.
DEEP = 512
AXES = "zyx"


@dataclass(frozen=True)
class Laid:
    """A grid, the halo curves of its cut axes, the seam they leave, bytes for one task."""

    grid: Grid
    halos: dict[str, Halo]
    seam: float | None
    memory: int
    notes: tuple[str, ...] = ()


def chosen_device(device: str) -> str:
    """Choose CUDA where there is one, else the CPU; check what was asked for."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(kind, False):
        having = ", ".join(name for name, has in there.items() if has)
        raise ValueError(f'there is no device "{device}" here: take auto or one of {having}')
    return device


def allowed_memory(memory: int | None, device: str) -> int:
    """Give the bytes that one task may use: what was asked, or half of what is free."""
    from napari_deblur.system import available_memory

    if memory is not None:
        if memory < 2**20:
            raise ValueError(
                f"memory of {memory} bytes is too little for any tile: give 1 MB or more"
            )
        return memory
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info()[0] // 2)
    return int(min(available_memory() // 2, 2 * GIB))


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
    method: Method,
    halo: Callable[[int], Halo],
    *,
    tile: Triple | None,
    memory: int,
    seam: float,
    accept_seam: bool,
    free: bool = False,
) -> Laid:
    """Choose the grid: as few cuts as memory allows, halos measured only where there are cuts.

    Parameters
    ----------
    halo : function of an axis (0, 1, 2)
        Measures it; called only for axes that are to be cut.
    tile : (z, y, x) or None
        The core that the user wants.
    free : bool
        The method needs no halo at all (identity).

    Raises
    ------
    ValueError
        When no grid keeps the seam within the memory.
    """
    sizes = stack.shape[2:]
    plane_by_plane = kernel[0] == 1
    m: int = getattr(method, "multiple_of", 1)
    multiples = (1 if plane_by_plane else m, m, m)
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
            return _up(found.width, multiples[axis])
        if accept_seam:
            wide = max(0, min(len(found.curve) - 1, sizes[axis] // 4))
            return _up(wide, multiples[axis])
        whole.add(axis)
        return 0

    widths = (0, 0, 0)
    while True:
        if tile is not None:
            core = _triple([
                n if a in whole else min(_up(tile[a], multiples[a]), n)
                for a, n in enumerate(sizes)
            ])  # fmt: skip
        else:
            core = _fitted(sizes, widths, kernel, method, memory, whole, multiples)
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
    if tile is None and m == 1:
        core = _handy(core, sizes, widths, kernel)
    need = _memory(Grid(stack.shape, core, widths, multiples).tile_shape, kernel, method)
    if need > memory and tile is None:
        raise ValueError(
            f"one task would need {need / 1e6:.3g} MB of {memory / 1e6:.3g} MB: "
            f"{'the halo is too long' if whole or any(widths) else 'a plane is too large'}; "
            "allow more memory, a larger seam, or accept_seam"
        )
    if need > memory:
        notes.append(f"one task needs {need / 1e6:.3g} MB, more than {memory / 1e6:.3g} MB")
    # An uncut axis gets a guess, used only if a tile must be split when memory runs out.
    guess = _triple([
        widths[a] if core[a] < sizes[a] or (a == 0 and plane_by_plane) or free
        else _up(min(sizes[a], 2 * kernel[a]), multiples[a])
        for a in range(3)
    ])  # fmt: skip
    halos = {AXES[a]: measured[a] for a in measured if core[a] < sizes[a]}
    left = [h.seam(widths[AXES.index(name)]) for name, h in halos.items()]
    grid = Grid(stack.shape, core, guess, multiples)
    return Laid(grid, halos, max(left, default=None), need, tuple(notes))


def _up(n: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-n // multiple) * multiple


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return z, y, x


def _memory(tile: Triple, kernel: Triple, method: Method) -> int:
    """Give the bytes of one call: the method's arrays, each of the padded tile's size."""
    from napari_deblur.ops import transform_shape

    lengths = [t + n - 1 if n > 1 else t for t, n in zip(tile, kernel, strict=True)]
    if kernel[0] == 1:
        padded = (lengths[0], *transform_shape((lengths[1], lengths[2])))
    else:
        padded = transform_shape(tuple(lengths))
    return int(prod(padded) * 4 * method.arrays + prod(tile) * 8)


def _fitted(
    sizes: tuple[int, ...],
    widths: Triple,
    kernel: Triple,
    method: Method,
    memory: int,
    whole: set[int],
    multiples: Triple,
) -> Triple:
    """Cut the stack until a tile fits the memory and the core is a handy chunk.

    Planes of a blur that acts plane by plane go first; z of a solid one comes last, unless the
    stack is deep: a widefield kernel reaches through all of it. No core gets smaller than two
    halos: more would be read than restored, several times over.
    """
    parts = [1, 1, 1]
    while True:
        core = _triple([
            min(n, _up(ceil(n / p), m)) for n, p, m in zip(sizes, parts, multiples, strict=True)
        ])  # fmt: skip
        tile = _triple([
            min(n, n if c >= n else c + 2 * w)
            for n, c, w in zip(sizes, core, widths, strict=True)
        ])  # fmt: skip
        if _memory(tile, kernel, method) <= memory and prod(core) <= MOST_CORE:
            return core
        order = [1, 2] if core[1] > core[2] else [2, 1]
        deep = core[0] > DEEP or (core[0] > 2 * max(core[1:]) and core[0] > 4 * kernel[0])
        order.insert(0 if deep or kernel[0] == 1 else 2, 0)
        least = [
            max(1 if kernel[a] == 1 else 8, 2 * widths[a], multiples[a]) for a in range(3)
        ]  # fmt: skip
        able = [a for a in order if a not in whole and core[a] > least[a]]
        if not able:
            return core
        parts[able[0]] += 1


def _handy(core: Triple, sizes: tuple[int, ...], widths: Triple, kernel: Triple) -> Triple:
    """Adjust cores so that the transform has a good length: a little shorter, else longer."""
    from napari_deblur.ops import good_length

    handy = []
    for a in range(3):
        c, extra = core[a], 2 * widths[a] + kernel[a] - 1
        if c < sizes[a] and kernel[a] > 1:
            lengths = range(
                c + extra, max(extra, 2 * widths[a] + extra - 1, (c + extra) * 3 // 4), -1
            )
            good = [n for n in lengths if good_length(n, even=a == 2) == n]
            c = (good[0] if good else good_length(c + extra, even=a == 2)) - extra
        handy.append(min(c, sizes[a]))
    return _triple(handy)
