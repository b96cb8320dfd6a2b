"""The grid of a plan: which axes are cut, how large a core is, what it needs in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.tiles import Grid, tile_length

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
# Reading, handing over and writing a tile takes as long as restoring so many voxels: 4 % of tiles
# of seven million. Without that, 110 pixels that nothing blurs were cut into 11 × 10, since 112 is
# the next length that transforms well.
EACH = 2**18
# Of a method's arrays so many are no larger than the tile: its counts and its result.
UNPADDED = 2
# Bytes for each voxel of a core while its result is encoded and written: the image, the values,
# what they are packed to, and what is read again for its hash. Of noise, which does not pack: 11.2
# for float32, 10.0 for 16 bits, 7.1 for 8.
WRITTEN = 12
# What a process holds besides these arrays: what allocators keep, codecs, threads. Over 2,900 tiles
# of 180 MB it grew by 25 MB in the first thousand, and no more.
REST, MOST_REST = 0.1, 16 * 2**20


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
    device: str = "cpu",
) -> Laid:
    """Choose the grid: the least work that memory allows, halos measured only where it is cut.

    Parameters
    ----------
    halo : function of an axis (0, 1, 2)
        Measures it; called only for axes that are to be cut.
    tile : (z, y, x) or None
        The core that the user wants.
    free : bool
        The method needs no halo at all (identity).
    device : str
        Where the method runs.

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

    def expected() -> Triple:
        """Take x to be like y where only one of them is measured yet."""
        z, y, x = widths
        return z, y if 1 in measured else x, x if 2 in measured else y

    needed = _needed(stack, method.arrays, device)
    widths = (0, 0, 0)
    while True:
        if tile is not None:
            core = _triple([
                n if a in whole else min(_up(tile[a], multiples[a]), n)
                for a, n in enumerate(sizes)
            ])  # fmt: skip
        else:
            core = _fitted(sizes, expected(), kernel, needed, memory, whole, multiples)
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

    need = needed.of(Grid(stack.shape, core, widths, multiples), kernel)
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
    # Cuts along several axes meet in corners, where what they leave adds up.
    left = [h.seam(widths[AXES.index(name)]) for name, h in halos.items()]
    grid = Grid(stack.shape, core, guess, multiples)
    return Laid(grid, halos, sum(left) if left else None, need, tuple(notes))


def _up(n: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-n // multiple) * multiple


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return z, y, x


@dataclass(frozen=True)
class _Bytes:
    """What a task needs for each voxel of its padded tile, of its tile and of its core."""

    padded: float
    tile: float
    core: float
    rest: float = REST

    def of(self, grid: Grid, kernel: Triple) -> int:
        """Give the bytes of one task of a grid."""
        padded = prod(map(_padded, grid.tile_shape, kernel, AXES))
        tile, core = prod(grid.tile_shape), prod(grid.core)
        arrays = self.padded * padded + self.tile * tile + self.core * core
        return int(self.with_rest(arrays))

    def with_rest(self, arrays: Any) -> Any:
        """Add what a process holds besides its arrays, of one grid or of many."""
        return arrays + np.minimum(self.rest * arrays, MOST_REST)


def _needed(stack: Stack, arrays: float, device: str) -> _Bytes:
    """Count a method's arrays, the blocks in work and ahead, and the result that is written."""
    if device.startswith("cuda"):  # its memory is the scarce one, and holds what is in work
        return _Bytes(4 * arrays, 4, 0, rest=0)
    return _Bytes(4 * (arrays - UNPADDED), 4 * UNPADDED + 2 * stack.dtype.itemsize, WRITTEN)


def _padded(tile: int, kernel: int, axis: str) -> int:
    """Give the length of a tile's transform; along z of planes one by one there is none."""
    from napari_deblur.ops import good_length

    if axis == "z" and kernel == 1:
        return tile
    return good_length(tile + kernel - 1, even=axis == "x")


class _Cuts:
    """All ways to cut an axis evenly, from not at all to the least core, as columns."""

    def __init__(
        self, axis: str, size: int, *, least: int, halo: int, kernel: int, multiple: int
    ) -> None:
        from napari_deblur.ops import length_cost

        cores = {_up(ceil(size / parts), multiple) for parts in range(2, size // least + 1)}
        kept = [size, *sorted((c for c in cores if least <= c < size), reverse=True)]
        tiles = [tile_length(core, halo, size, multiple) for core in kept]
        self.core, self.tile = np.array(kept, float), np.array(tiles, float)
        lengths = [_padded(tile, kernel, axis) for tile in tiles]
        self.padded = np.array(lengths, float)
        self.parts = np.ceil(size / self.core)
        self.cost = np.array([length_cost(n, even=axis == "x") for n in lengths])


def _fitted(
    sizes: tuple[int, ...],
    widths: Triple,
    kernel: Triple,
    needed: _Bytes,
    memory: int,
    whole: set[int],
    multiples: Triple,
) -> Triple:
    """Choose the least work among the cuts that fit the memory and whose cores are handy chunks.

    No core gets smaller than two halos: more would be read than restored, several times over.
    """
    cuts = []
    for a, n in enumerate(sizes):
        least = n if a in whole else max(1 if kernel[a] == 1 else 8, 2 * widths[a], multiples[a])
        cuts.append(
            _Cuts(AXES[a], n, least=least, halo=widths[a], kernel=kernel[a], multiple=multiples[a])
        )
    for most in (MOST_CORE, inf):
        found = _least_work(cuts, needed, memory, most, kernel[0])
        if found is not None:
            return found
    return _triple([int(cut.core[-1]) for cut in cuts])  # which is too large, and is said to be


def _least_work(
    cuts: Sequence[_Cuts], needed: _Bytes, memory: int, most: float, depth: int
) -> Triple | None:
    """Cut planes as little as the memory allows, and z only if it must be.

    Of a blur that acts plane by plane z goes first. Of a solid one it is last: a widefield kernel
    reaches through all of it; unless the stack is deep.
    """
    z, y, x = cuts
    area, chosen = np.outer(y.core, x.core), None
    parts = np.outer(y.parts, x.parts)
    voxels = np.outer(y.cost, x.cost) * parts
    # Long strips are no good chunks: four times as long as wide counts as 4 % more work.
    voxels *= 1 + 0.01 * np.log2(np.divide.outer(y.core, x.core)) ** 2
    for core, tile, padded in zip(z.core, z.tile, z.padded, strict=True):
        bytes_ = needed.padded * padded * np.outer(y.padded, x.padded)
        bytes_ += needed.tile * tile * np.outer(y.tile, x.tile) + needed.core * core * area
        fits = (needed.with_rest(bytes_) <= memory) & (core * area <= most)
        if not fits.any():
            continue
        work = voxels * padded + EACH * parts
        i, j = divmod(int(np.argmin(np.where(fits, work, inf))), len(x.core))
        chosen = _triple([int(core), int(y.core[i]), int(x.core[j])])
        deep = core > DEEP or core > max(2 * y.core[i], 2 * x.core[j], 4 * depth)
        if (i, j) == (0, 0) or (depth > 1 and not deep):
            break
    return chosen
