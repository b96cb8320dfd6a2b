"""`restore_tile`: the one function that restores a tile.

The loop, the cluster, previews and the lazy dask view all call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_deblur.devices import alone_on, give_back
from napari_deblur.methods.identity import Identity
from napari_deblur.tiles import Box, Index, halves

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.plans import Plan
    from napari_deblur.protocols import Blur, Facts
    from napari_deblur.stack import Source, Stack

__all__ = [
    "Readable",
    "Restored",
    "as_counts",
    "blur_of",
    "encoded",
    "linear_light",
    "restore_tile",
    "source_of",
]

# Each split halves the memory; after five the rest of the machine is the problem.
MOST_SPLITS = 5
# Words of torch for that; cuFFT, cuBLAS and cuDNN say CUFFT_ALLOC_FAILED and so on.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")


class Readable(Protocol):
    """What a tile reads from: a stack, or what reads one ahead."""

    def read(self, t: int, c: int, region: Box) -> NDArray[Any]:
        """Read the voxels of one frame and channel; (z, y, x), in the type of the source."""
        ...


@dataclass(frozen=True, eq=False)
class Restored:
    """A restored core, trimmed, in counts, with the kernel found in it and its residuals.

    Parameters
    ----------
    image : array (z, y, x), float32; NaN where nothing is known
    kernel : array (z, y, x), float32, or None if the plan's kernel was used
    residuals : array (n,), float32
    splits : int
        How often the core was halved because memory ran out.
    emptied : int
        Voxels that had data and are NaN now.
    """

    image: NDArray[np.float32]
    kernel: NDArray[np.float32] | None
    residuals: NDArray[np.float32]
    splits: int = 0
    emptied: int = 0


def source_of(plan: Plan, stack: Stack | None) -> Stack:
    """Give the stack, or open the plan's source once per process."""
    if stack is not None:
        return stack
    if plan.source is None:
        raise ValueError("the plan's stack lives in memory: pass it, or save it as a file first")
    return _opened(plan.source)


def restore_tile(
    plan: Plan,
    stack: Stack | Readable | None,
    index: Index,
    *,
    splits: int = 0,
    on_split: Callable[[int], None] | None = None,
) -> Restored:
    """Read one haloed block from the source, restore it, and give its core.

    Parameters
    ----------
    plan : Plan
    stack : Stack, what reads one ahead, or None
        None opens `plan.source`, once per process.
    index : (t, c, z, y, x) of the grid
    splits : int
        Halve the core that many times from the start, as an earlier try had to.
    on_split : function of the new number of splits, called before the tile is tried again
        So that a resumed run can repeat the same splits.

    Raises
    ------
    MemoryError
        When even the smallest piece does not fit.
    """
    source = source_of(plan, None) if stack is None else stack
    while True:
        try:
            return _restore_pieces(plan, source, index, plan.tile(index).core, splits)
        except Exception as error:
            if not _out_of_memory(error) or splits >= MOST_SPLITS:
                raise
        # Outside the except block, so that the traceback no longer holds the tensors.
        _free(plan.device)
        splits += 1
        if on_split is not None:
            on_split(splits)


def _restore_pieces(plan: Plan, stack: Readable, index: Index, core: Box, splits: int) -> Restored:
    parts = halves(core, multiple_of=plan.grid.multiple_of) if splits else None
    if parts is None:
        return _restore_core(plan, stack, index, core)
    first, second = (_restore_pieces(plan, stack, index, part, splits - 1) for part in parts)
    axis = next(a for a in range(3) if parts[0][a] != core[a])
    kernel = None
    if first.kernel is not None and second.kernel is not None:
        kernel = ((first.kernel + second.kernel) / 2).astype(np.float32)
    return Restored(
        np.concatenate([first.image, second.image], axis=axis),
        kernel,
        ((first.residuals + second.residuals) / 2).astype(np.float32),
        splits,
        first.emptied + second.emptied,
    )


def _restore_core(plan: Plan, stack: Readable, index: Index, core: Box) -> Restored:
    import torch

    t, c = index[:2]
    tile = plan.grid.around(index, core)
    block = stack.read(t, c, tile.read)
    if plan.layout.has_alpha and c == 3:
        opacity: NDArray[Any] = np.ascontiguousarray(block[tile.inside], dtype=np.float32)
        return Restored(opacity, None, np.zeros(0, np.float32))
    channel = plan.channels[c]
    counts = as_counts(block, channel.facts)
    if plan.gamma != "linear":
        light = linear_light(counts.numpy(), plan.gamma, plan.layout.dtype)
        counts = torch.from_numpy(light)
    background = channel.facts.background or 0.0
    gain = channel.gains[t] if channel.gains else 1.0
    if gain != 1.0:
        counts = (counts - background) / gain + background
    with alone_on(plan.device), torch.no_grad():
        method = Identity() if _still(plan, t, c) else channel.method
        estimate = method(counts.to(plan.device), blur_of(plan, t, c, tile.read))
        image = estimate.image[tile.inside].to("cpu", torch.float32)
        kernel = estimate.kernel.to("cpu").numpy() if estimate.kernel is not None else None
        residuals = estimate.residuals.to("cpu", torch.float32).numpy()
        del estimate  # the next process has the device to itself
    if gain != 1.0:
        image = (image - background) * gain + background
    if not plan.keep_background:
        image = image - background
    restored = encoded(image.contiguous().numpy(), plan.gamma, plan.layout.dtype)
    # Deep inside a saturated patch nothing is known but that it is at least this bright.
    if channel.facts.saturation is not None:
        own = block[tile.inside]
        dark = 0.0 if plan.keep_background else background
        unknown = np.isnan(restored) & (own >= channel.facts.saturation)
        restored = np.where(unknown, own - dark, restored).astype(np.float32)
    if kernel is not None:
        kernel = kernel.reshape(plan.kernel.shape)
    emptied = int((np.isnan(restored) & np.isfinite(block[tile.inside])).sum())
    return Restored(restored, kernel, residuals, emptied=emptied)


def _still(plan: Plan, t: int, c: int) -> bool:
    """Tell whether nothing is blurred in a frame, where each has a kernel of its own."""
    if plan.scope != "channel-time":
        return False
    middle = tuple(n // 2 for n in plan.kernel.shape)
    return bool(plan.kernel.at(t, c)[middle] == 1)


def as_counts(block: NDArray[Any], facts: Facts) -> Tensor:
    """Turn a block of the source into float32, NaN where there are no data."""
    import torch

    counts = torch.from_numpy(np.array(block, dtype=np.float32, order="C"))  # always a copy
    bad = ~torch.isfinite(counts)
    if facts.saturation is not None:
        bad |= counts >= facts.saturation
    if bool(bad.any()):
        counts[bad] = torch.nan
    return counts


def linear_light(counts: NDArray[Any], gamma: str, dtype: str) -> NDArray[Any]:
    """Undo the sRGB curve (IEC 61966-2-1) of values of `dtype`, if `gamma` says there is one."""
    if gamma != "srgb":
        return counts
    white = _full_scale(dtype)
    v = counts / white
    light = np.where(v <= 0.04045, v / 12.92, ((np.maximum(v, 0) + 0.055) / 1.055) ** 2.4)
    return (white * light).astype(np.float32)


def encoded(light: NDArray[Any], gamma: str, dtype: str) -> NDArray[Any]:
    """Apply the sRGB curve again."""
    if gamma != "srgb":
        return light
    white = _full_scale(dtype)
    v = np.maximum(light / white, 0)
    return (white * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)).astype(
        np.float32
    )


def _full_scale(dtype: str) -> float:
    kind = np.dtype(dtype)
    return float(np.iinfo(kind).max) if kind.kind in "ui" else 1.0


def blur_of(plan: Plan, t: int, c: int, read: Box) -> Blur:
    """Give the blur of what a tile reads of a frame and channel, on the plan's device.

    The last few kernels that hold everywhere are kept.
    """
    field = plan.field(c)
    if field is not None:
        return field.at(read, plan.device)
    frames, channels = plan.kernel.array.shape[:2]
    return _blur(plan, t if frames > 1 else 0, c if channels > 1 else 0)


@lru_cache(maxsize=8)
def _blur(plan: Plan, t: int, c: int) -> Blur:
    import torch

    from napari_deblur.protocols import Blur

    array = torch.from_numpy(plan.lean_kernel.at(t, c).copy())
    basis = array if array.shape[0] == 1 else array[None]
    return Blur(basis.to(plan.device))


@lru_cache(maxsize=8)
def _opened(source: Source) -> Stack:
    from napari_deblur.opening import reopen

    return reopen(source)


def _out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


def _free(device: str) -> None:
    import gc

    gc.collect()
    give_back(device)
