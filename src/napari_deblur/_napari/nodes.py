"""A blur that varies, as layers: kernels on their nodes, and the map of what varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.placing import in_axes, kernel_kwargs, part_of, spread_of
from napari_deblur.stack import AXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.plans import Plan

__all__ = ["NodeKernels", "map_places", "node_kernels"]

# Of the distance of two nodes, and of the image's shorter side, as much is covered by a kernel.
COVERED, LARGEST = 0.5, 0.25
# Light of the widest kernel that is shown; more would show mostly black.
SHOWN = 0.99
# Of a line around each cell, as a share of the brightest: cells would be holes in the image.
FRAME = 0.1
# Voxels of the layer; of larger kernels only the middle planes are shown.
MOST = 2**26


@dataclass(frozen=True, eq=False)
class NodeKernels:
    """Kernels in square cells, NaN between them, and where the layer lies."""

    array: NDArray[np.float32]
    placed: dict[str, Any]


def node_kernels(
    plan: Plan, spatial: Mapping[str, Any], picked: Sequence[int] | None = None
) -> NodeKernels:
    """Draw the kernels of a field, the middle of each on its node.

    The cells are square, of one size, and small beside the distance of the nodes: the image is
    seen between them. A line is drawn around each. Along z a kernel reaches half way to the next
    node.
    """
    assert plan.nodes is not None
    kernels = _by_node(plan)
    half = _half(kernels)
    kernels = _cut(_cut(kernels, -2, half), -1, half)
    reach = half + 1  # the line as well
    step = _step(plan, 2 * reach + 1)
    at = [[round((one - line[0]) / step) + reach for one in line] for line in plan.nodes[1:]]
    height, width = (line[-1] + reach + 1 for line in at)
    frames, channels, deep = kernels.shape[:3]
    planes = max(1, MOST // (frames * channels * deep * height * width))
    kernels = _cut(kernels, -3, min(kernels.shape[-3], planes) // 2)
    planes = kernels.shape[-3]
    array = np.full((frames, channels, deep * planes, height, width), np.nan, np.float32)
    line = FRAME * float(kernels.max())
    for i, y in enumerate(at[0]):
        for j, x in enumerate(at[1]):
            cell = kernels[:, :, :, i, j].reshape(frames, channels, -1, *kernels.shape[-2:])
            framed = np.pad(cell, ((0, 0),) * 3 + ((1, 1),) * 2, constant_values=line)
            array[..., y - reach : y + reach + 1, x - reach : x + reach + 1] = framed
    places = spread_of(picked, channels)
    if places:
        wide = np.full((frames, places[-1] + 1, *array.shape[2:]), np.nan, np.float32)
        wide[:, places] = array
        array = wide
    return NodeKernels(*_placed(plan, spatial, array, planes, reach, step))


def map_places(plan: Plan, nodes: Any, axes: str, spatial: Mapping[str, Any], c: int) -> Any:
    """Place an image that has one voxel for each node of channel `c`."""
    scale, shift = list(spatial["scale"]), [0.0] * len(axes)
    for i, axis in enumerate(axes):
        if axis in "zyx":
            step, first = _even(nodes["zyx".index(axis)], plan.layout.shape[AXES.index(axis)])
            shift[i] = first * scale[i]
            scale[i] *= step
        elif axis == "t":  # one map for all frames
            shift[i] = (plan.layout.shape[0] - 1) / 2 * scale[i]
            scale[i] *= plan.layout.shape[0]
        elif axis == "c":
            shift[i] = c * scale[i]
    return {**_moved(spatial, shift), "scale": tuple(scale)}


def _by_node(plan: Plan) -> NDArray[np.float32]:
    """Give all kernels, shape (t, c, nz, ny, nx, z, y, x)."""
    assert plan.nodes is not None
    stored = plan.stored_kernels
    grid = [len(line) for line in plan.nodes]
    split = [size for pair in zip(grid, plan.kernel.shape, strict=True) for size in pair]
    return stored.reshape(*stored.shape[:2], *split).transpose(0, 1, 2, 4, 6, 3, 5, 7)


def _half(kernels: NDArray[np.float32]) -> int:
    """Give half the side of the squares that hold all but little of each kernel's light."""
    across = kernels.sum(axis=-3)
    y, x = (abs(np.arange(n) - n // 2) for n in across.shape[-2:])
    far = np.maximum(y[:, None], x)
    for half in range(int(far.max()) + 1):
        if float(across.sum(axis=(-2, -1), where=far <= half).min()) >= SHOWN:
            return half
    return int(far.max())


def _cut(kernels: NDArray[np.float32], axis: int, half: int) -> NDArray[np.float32]:
    """Cut or fill up an axis to `half` voxels on both sides of the middle."""
    n = kernels.shape[axis]
    before, after = half - n // 2, half - (n - 1 - n // 2)
    inside = [slice(None)] * kernels.ndim
    inside[axis] = slice(max(-before, 0), n - max(-after, 0))
    widths = [(0, 0)] * kernels.ndim
    widths[axis] = (max(before, 0), max(after, 0))
    return np.pad(kernels[tuple(inside)], widths)


def _step(plan: Plan, cell: int) -> float:
    """Give how many of the image's pixels a pixel of the layer is long."""
    assert plan.nodes is not None
    sides = plan.layout.shape[3:]
    apart = [b - a for line in plan.nodes[1:] for a, b in pairwise(line)]
    if not apart:  # in its true size, as a kernel for the whole image is
        return min(1.0, LARGEST * min(sides) / cell)
    side = min(COVERED * min(apart), LARGEST * min(sides))
    # A whole number of pixels from node to node: none needs to be moved to the next pixel.
    return min(apart) / ceil(min(apart) / side * cell)


def _even(line: Sequence[float], size: int) -> tuple[float, float]:
    """Give the distance of nodes and the place of the first, in voxels of the image.

    A single node stands for its whole axis. Nodes at uneven distances are shown at even ones.
    """
    if len(line) == 1:
        return float(size), (size - 1) / 2
    return (line[-1] - line[0]) / (len(line) - 1), line[0]


def _placed(
    plan: Plan,
    spatial: Mapping[str, Any],
    array: NDArray[np.float32],
    planes: int,
    reach: int,
    step: float,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Take the axes that the image's layer has, and place them."""
    assert plan.nodes is not None
    axes, size = spatial["axis_labels"], plan.layout.shape
    view = in_axes(array, "".join(axes))
    sizes = [size[AXES.index(axis)] for axis in axes]
    plain = kernel_kwargs(spatial, sizes, view.shape, ratio={})
    scale, moved = list(plain["scale"]), [0.0] * len(axes)
    for i, axis in enumerate(axes):
        unit = spatial["scale"][i]
        if axis == "z":
            line = plan.nodes[0]
            apart, first = _even(line, size[2])
            # The only node of solid kernels: in true size, as a kernel for the whole image is.
            long = apart / planes if len(line) > 1 or planes == 1 else 1.0
            first -= planes // 2 * long
        elif axis in "yx":
            line = plan.nodes["zyx".index(axis)]
            long = step
            first = _even(line, size[AXES.index(axis)])[1] - reach * step
        else:
            long, first = scale[i] / unit, 0.0
            if view.shape[i] == 1:  # for all frames or channels
                first = (long - 1) / 2
        scale[i], moved[i] = long * unit, first * unit
    return view, {**_moved(spatial, moved), "scale": tuple(scale)}


def _moved(spatial: Mapping[str, Any], shifts: Sequence[float]) -> dict[str, Any]:
    """Move a place along its own axes, by lengths in the unit of its scale."""
    return part_of({**spatial, "scale": tuple(float(v) for v in shifts)}, (1,) * len(shifts))
