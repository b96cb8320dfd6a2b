"""Where a layer lies: scale, place, units and names of axes, for images and for kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.stack import AXES

if TYPE_CHECKING:
    import napari.layers
    from numpy.typing import NDArray

    from napari_deblur.plans import Layout

    Places = Sequence[float] | NDArray[np.float64]

__all__ = [
    "PLACE",
    "correct",
    "in_axes",
    "kernel_kwargs",
    "lend",
    "own_kwargs",
    "part_of",
    "picked_channels",
    "rescale",
    "same_place",
    "spatial_kwargs",
    "spread_of",
    "voxel_at",
    "world_of",
    "world_steps",
]

# What says where a layer lies.
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
# Between image and kernel, as a share of the image's width.
GAP = 0.04

Sizes = Sequence[float | None]
Span = tuple[int, int]


def voxel_at(viewer: Any, layer: Any, world: Places) -> NDArray[np.float64]:
    """Give the place in a layer, in its voxels, that lies at a place of the window."""
    n = layer.ndim
    place = np.asarray(world, float)[-n:]
    place = np.pad(place, (n - len(place), 0))
    voxel: NDArray[np.float64] = np.asarray(layer.world_to_data(place * _factors(viewer, layer)))
    return voxel


def world_of(viewer: Any, layer: Any, voxel: Places) -> NDArray[np.float64]:
    """Give the place of the window at which a voxel of a layer lies."""
    world: NDArray[np.float64] = np.asarray(layer.data_to_world(voxel)) / _factors(viewer, layer)
    return world


def world_steps(viewer: Any, layer: Any) -> NDArray[np.float64]:
    """Give the size of a layer's voxels in the units of the window."""
    steps: NDArray[np.float64] = np.asarray(layer.scale, float) / _factors(viewer, layer)
    return steps


def _factors(viewer: Any, layer: Any) -> NDArray[np.float64]:
    """Give for each axis of a layer what turns the window's unit into the layer's.

    Where layers differ the window has one unit for all of them; before napari 0.9 it had none.
    """
    from napari_deblur._napari.reading import size_in

    units = getattr(viewer.dims, "units", None) or ()
    factors = np.ones(layer.ndim)
    if len(units) >= layer.ndim:
        pairs = zip(units[-layer.ndim :], layer.units, strict=True)
        factors[:] = [size_in(unit, 1.0, str(own)) or 1.0 for unit, own in pairs]
    return factors


def spatial_kwargs(
    layer: napari.layers.Image, axes: str | None = None, shown: str | None = None
) -> dict[str, Any]:
    """Give what a new layer needs in order to lie where `layer` lies.

    Parameters
    ----------
    layer : Image layer
    axes : str or None
        Letters of the layer's axes; None keeps the labels it has.
    shown : str or None
        Letters of the new layer's axes if their order is another.
    """
    labels = tuple(axes) if axes else tuple(layer.axis_labels)
    order = [labels.index(a) for a in shown] if shown else list(range(layer.ndim))
    plain = {
        "scale": tuple(float(layer.scale[i]) for i in order),
        "translate": tuple(float(layer.translate[i]) for i in order),
        "units": tuple(layer.units[i] for i in order),
        "axis_labels": tuple(labels[i] for i in order),
    }
    if order == list(range(layer.ndim)):
        # Turned layers stay turned; with another order of axes this has no meaning.
        plain |= {"rotate": layer.rotate, "shear": layer.shear, "affine": layer.affine}
    return plain


def own_kwargs(layout: Layout) -> dict[str, Any]:
    """Give the same for a result from the disk, from what it says of itself.

    Colours have no axis in napari.
    """
    axes = layout.axes.replace("c", "") if layout.rgb else layout.axes
    sizes = dict(zip("zyx", layout.pixel_size or (None, None, None), strict=True))
    units = dict.fromkeys("zyx", "um") | {"t": "s"}
    known = {a: v for a, v in (sizes | {"t": layout.time_step}).items() if v is not None}
    return {
        "scale": tuple(float(known.get(a, 1.0)) for a in axes),
        "translate": (0.0,) * len(axes),
        "units": tuple(units[a] if a in known else "pixel" for a in axes),
        "axis_labels": tuple(axes),
    }


def kernel_kwargs(
    image: Mapping[str, Any],
    shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    ratio: Mapping[str, float],
    cores: Mapping[str, Sequence[Span]] | None = None,
    beside: bool = False,
) -> dict[str, Any]:
    """Place the kernels over or beside what they belong to; sliders move image and kernels.

    One kernel for a whole axis of time or channels, or one plane for all planes, is stretched
    over that axis. Kernels of one scope ``tile`` are stretched over their tiles:
    scale = pixel size × core ÷ kernel, shifted by (scale − pixel size) ÷ 2. One kernel for all
    has its true scale, and its centre lies at the image's centre.

    Parameters
    ----------
    image : mapping
        What `spatial_kwargs` or `own_kwargs` gave for the image.
    shape, kernel_shape : ints
        Of the image layer and of the kernels, or their mosaic; axes as in `image`.
    ratio : {axis: voxel size of the kernel ÷ voxel size of the image}
    cores : {axis: [(start, stop), …]} or None
        Bounds of the tiles for a mosaic.
    beside : bool
        Put one kernel for all to the right of the image.
    """
    scales, shifts = [], []
    rows = zip(image["axis_labels"], image["scale"], shape, kernel_shape, strict=True)
    for axis, step, size, length in rows:
        tiles = len(cores[axis]) if cores and axis in cores else 0
        if cores is not None and tiles:
            start, stop = cores[axis][0]
            scale = step * (stop - start) / (length // tiles)
            shift = (scale - step) / 2
        elif length == size and axis not in "yx":
            scale, shift = step, 0.0
        elif length == 1 and axis not in "yx":
            scale = step * size
            shift = (scale - step) / 2
        else:
            scale = step * ratio.get(axis, 1.0)
            shift = (size - 1) / 2 * step - length // 2 * scale
            if axis == "x" and beside:
                shift = (size - 0.5 + GAP * size) * step + scale / 2
        scales.append(scale)
        shifts.append(shift)
    return {**image, "scale": tuple(scales), "translate": _moved(image, shifts)}


def picked_channels(image: Mapping[str, Any], picked: Sequence[int] | None) -> dict[str, Any]:
    """Place some channels of an image, the first one beside its own; see `spread_of`."""
    labels = tuple(image["axis_labels"])
    if picked is None or "c" not in labels:
        return dict(image)
    return part_of(image, [picked[0] if label == "c" else 0 for label in labels])


def spread_of(channels: Sequence[int] | None, count: int) -> list[int] | None:
    """Give where each of some channels is shown, counted from the first, if there are gaps.

    So the slider shows each beside its own, and nothing beside those that were left out.

    Parameters
    ----------
    channels : ints or None
        Those of the image that were picked, ascending.
    count : int
        How many there are of them.
    """
    if channels is None or len(channels) != count or channels[-1] - channels[0] + 1 == count:
        return None
    return [c - channels[0] for c in channels]


def same_place(one: Any, other: Any) -> bool:
    """Tell whether two layers have the same of one of `PLACE`."""
    try:
        first, second = (np.asarray(getattr(v, "affine_matrix", v), float) for v in (one, other))
    except (TypeError, ValueError):
        return tuple(map(str, one)) == tuple(map(str, other))
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-9, atol=1e-12))


def in_axes(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Give an array (t, c, z, y, x) with the axes of a layer, in their order.

    Those that are left out have length 1.
    """
    left = [AXES.index(axis) for axis in axes]
    kept = sorted(left)
    view = array[tuple(slice(None) if i in left else 0 for i in range(len(AXES)))]
    return view.transpose([kept.index(i) for i in left])


def part_of(image: Mapping[str, Any], starts: Sequence[int]) -> dict[str, Any]:
    """Place a cut-out that begins at voxel `starts` of the image."""
    shifts = [n * step for n, step in zip(starts, image["scale"], strict=True)]
    return {**image, "translate": _moved(image, shifts)}


def _moved(image: Mapping[str, Any], shifts: Sequence[float]) -> tuple[float, ...]:
    """Add a shift along the image's own axes, which may be turned and sheared, to its place."""
    n = len(shifts)
    rotate = np.asarray(image.get("rotate", np.eye(n)), float)
    shear = np.asarray(image.get("shear", np.eye(n)), float)
    if shear.shape == (n * (n - 1) // 2,):  # the upper triangle, as layers give it
        triangle, shear = shear, np.eye(n)
        shear[np.triu_indices(n, 1)] = triangle
    turned = rotate @ shear @ np.asarray(shifts) if rotate.shape == (n, n) else shifts
    return tuple(float(a + b) for a, b in zip(image["translate"], turned, strict=True))


def correct(layer: napari.layers.Image, axes: str, pixel_size: Sizes) -> bool:
    """Give the layer the axes and the voxel size (µm) that the user confirmed.

    Otherwise original and result would lie in different places, or in different units. Where
    nothing changes, nothing is touched. Says whether it changed the place or the unit.
    """
    if tuple(layer.axis_labels) != tuple(axes):
        layer.axis_labels = tuple(axes)
    from napari_deblur._napari.reading import pixel_size_of

    before = dict(zip("zyx", pixel_size_of(layer, axes), strict=True))
    wanted = dict(zip("zyx", pixel_size, strict=True))
    scale, units = list(layer.scale), list(layer.units)
    for i, axis in enumerate(axes):
        size = wanted.get(axis)
        unnamed = str(units[i]) == "pixel"
        if size is None or (before[axis] == size and not unnamed):
            continue
        scale[i], units[i] = size, "um"
    new_units = tuple(str(u) for u in units)
    changed = tuple(scale) != tuple(layer.scale) or new_units != tuple(map(str, layer.units))
    if changed:
        rescale(layer, scale, new_units)
    return changed


def rescale(layer: Any, scale: Sequence[float], units: Sequence[Any]) -> None:
    """Give a layer another scale and units; what it was moved by is kept.

    A place in nm becomes the same place in µm; one in pixels grows with them.
    """
    from napari_deblur._napari.reading import size_in

    rows = zip(layer.units, units, layer.scale, scale, strict=True)
    ratios = [size_in(old, 1.0, str(new)) or b / a for old, new, a, b in rows]
    stretch = np.diag([*ratios, 1.0])
    before = np.asarray(layer.affine.affine_matrix, float)
    affine = stretch @ before @ np.linalg.inv(stretch)
    layer.translate = tuple(float(v) for v in np.multiply(layer.translate, ratios))
    if not np.allclose(affine, before, rtol=1e-12, atol=0):
        layer.affine = affine
    layer.scale = tuple(float(v) for v in scale)
    layer.units = tuple(str(unit) for unit in units)


def lend(kernel: napari.layers.Image, pixel_size: Sizes) -> None:
    """Give a kernel layer µm as the image has: its own size, or else the image's.

    A size that was only lent is noted, so that it follows when the image's is corrected.
    """
    from napari_deblur._napari.reading import axes_of, kernel_stack

    if "kernel_pixel_size" in kernel.metadata:
        return
    axes, own = axes_of(kernel), kernel_stack(kernel).pixel_size
    correct(kernel, axes, own or pixel_size)
    if own is None:
        sizes = tuple(float(step) for step in kernel.scale)
        kernel.metadata = {**kernel.metadata, "lent_scale": sizes}
