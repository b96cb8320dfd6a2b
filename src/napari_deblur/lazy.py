"""The restored stack as a lazy dask array, for previews and for users' own graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.opening import as_planned, open_stack
from napari_deblur.planning import plan
from napari_deblur.plans import Plan
from napari_deblur.restoring import restore_tile

if TYPE_CHECKING:
    import dask.array as da

    from napari_deblur.kernel_sets import Kernels
    from napari_deblur.protocols import KernelField
    from napari_deblur.stack import Stack

__all__ = ["deconvolve"]


def deconvolve(
    what: object,
    stack_or_method: object = None,
    kernel: Kernels | KernelField | None = None,
    **asked: Any,
) -> da.Array:
    """Give the restored stack as a lazy dask array: ``deconvolve(plan, stack)``.

    The stack is what the plan was made for, or its array; None opens the plan's source.
    ``deconvolve(stack, method, kernel)`` makes the plan first. Each chunk is one tile's core; a
    chunk is computed when it is asked for, by the same function that a run uses.

    Returns
    -------
    dask array with the stack's axes, float32, in counts
    """
    if isinstance(what, Plan):
        layout, stack = what.layout, None
        if stack_or_method is not None:
            stack = as_planned(stack_or_method, layout.shape, layout.axes, rgb=layout.rgb)
        elif what.source is None:
            raise ValueError("the plan's stack lives in memory: pass it, deconvolve(plan, stack)")
        return _lazy(what, stack)
    stack = open_stack(what)
    return _lazy(plan(stack, stack_or_method, kernel=kernel, **asked), stack)


def _lazy(plan: Plan, stack: Stack | None) -> da.Array:
    import dask.array as da

    grid = plan.grid
    chunks: list[tuple[int, ...]] = [(1,) * grid.shape[0], (1,) * grid.shape[1]]
    for n, core in zip(grid.shape[2:], grid.core, strict=True):
        chunks.append(tuple(min(core, n - start) for start in range(0, n, core)))
    held = None if plan.source is not None else stack

    def block(block_id: tuple[int, int, int, int, int]) -> Any:
        return restore_tile(plan, held, block_id).image[None, None]

    whole = da.map_blocks(
        block,
        chunks=tuple(chunks),
        dtype=np.float32,
        meta=np.empty((0,) * 5, np.float32),
        name=f"deblur-{plan.key}" if held is None else None,
    )
    return whole[tuple(slice(None) if axis in plan.layout.axes else 0 for axis in "tczyx")]
