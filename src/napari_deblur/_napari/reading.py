"""What a layer says of its axes and voxel size, and how it becomes a `Stack`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.stated import said_at_once
from napari_deblur.opening import open_stack
from napari_deblur.stack import Channel, Optics

if TYPE_CHECKING:
    import napari.layers

    from napari_deblur.protocols import Kernel
    from napari_deblur.stack import Stack

__all__ = [
    "axes_of",
    "channel_in",
    "described_by",
    "finest",
    "kernel_of",
    "kernel_read",
    "kernel_stack",
    "offered",
    "pixel_size_of",
    "size_in",
    "stack_of",
    "stated_by",
    "stated_size",
    "with_optics",
]

Sizes = tuple[float | None, float | None, float | None]

WORDS = {"time": "t", "channel": "c", "channels": "c", "depth": "z", "plane": "z"}
USUAL = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}
# More than any kernel; a layer of that size is an image.
MOST_KERNEL = 2**24


def offered(layer: Any) -> bool:
    """Whether a layer can be deblurred: an image of at least two axes of real numbers."""
    from napari.layers import Image, Labels

    if not isinstance(layer, Image) or isinstance(layer, Labels):
        return False
    return layer.ndim >= 2 and np.dtype(layer.dtype).kind in "buif"


def finest(layer: napari.layers.Image) -> Any:
    """Give the array of a layer; of a pyramid the finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def axes_of(layer: napari.layers.Image) -> str:
    """Give a letter for each axis: as the labels say, or else the file, or else the usual ones."""
    labels = [str(label).strip().lower() for label in layer.axis_labels]
    letters = [WORDS.get(label, label) for label in labels]
    if set(letters) <= set("tczyx") and len(set(letters)) == layer.ndim:
        return "".join(letters)
    return _stored_axes(layer) or USUAL.get(layer.ndim, "")


def _stored_axes(layer: napari.layers.Image) -> str:
    """Give the axes that the layer's file states, if the layer has their shape, or else "".

    Readers may leave out axes of length 1, or show each channel as a layer.
    """
    said = said_at_once(layer.source.path)
    if said is None:
        return ""
    shape = tuple(int(n) for n in finest(layer).shape)
    stored = list(zip(said.axes, said.shape, strict=True))
    if layer.rgb:
        if stored[-1:] != [("c", shape[-1])]:
            return ""
        stored, shape = stored[:-1], shape[:-1]
    for gone in ("", "c"):
        left = [(a, n) for a, n in stored if a not in gone]
        for rows in (left, [(a, n) for a, n in left if n > 1 or a in "yx"]):
            if tuple(n for _, n in rows) == shape:
                return "".join(a for a, _ in rows)
    return ""


def size_in(unit: Any, value: float, wanted: str) -> float | None:
    """Turn a number with a unit of pint into µm or s; None where that has no meaning."""
    from pint import DimensionalityError

    try:
        return float((value * (1 * unit)).to(wanted).magnitude)
    except (DimensionalityError, AttributeError):
        return None


def pixel_size_of(layer: napari.layers.Image, axes: str) -> Sizes:
    """Give (z, y, x) in µm.

    Many readers set a scale and forget the unit: any scale but 1 is then taken for µm.
    """
    found: dict[str, float | None] = {}
    for axis, scale, unit in zip(axes, layer.scale, layer.units, strict=False):
        bare = None if scale == 1 else float(scale)
        pixels = str(unit) in ("pixel", "dimensionless")
        size = bare if pixels else size_in(unit, float(scale), "um")
        found[axis] = size if size is not None and size > 0 and np.isfinite(size) else None
    return found.get("z"), found.get("y"), found.get("x")


def stated_size(layer: napari.layers.Image) -> Sizes:
    """Give (z, y, x) in µm as the layer's own file says it, if that is known.

    Readers often leave it out. The window waits for no file: see `watching.when_read`.
    """
    try:
        size = stack_of(layer).pixel_size
    except (ValueError, OSError, TypeError):
        return (None, None, None)
    if size is None and (said := said_at_once(layer.source.path)) is not None:
        size = said.pixel_size
    return size or (None, None, None)


def described_by(layer: napari.layers.Image) -> tuple[tuple[Channel, ...], Optics]:
    """Give the channels and optics that the layer's file says, or else its metadata.

    The window waits for no file, and none in a network says anything. Metadata are what our samples
    have: ``{"optics": {"na": 1.2, "n_immersion": 1.33, "wavelengths": [0.52, 0.61]}}``.
    """
    found = said_at_once(layer.source.path)
    if found is not None:
        # One channel of a file with several: napari calls it by its name, if it has one.
        own = tuple(one for one in found.channels if one.name and one.name in layer.name)
        return (own if len(own) == 1 else found.channels), found.optics
    said = layer.metadata.get("optics")
    if not isinstance(said, Mapping):
        return (), Optics()
    lights = said.get("wavelengths") or ([said["wavelength"]] if said.get("wavelength") else [])
    numbers = {n: said[n] for n in ("na", "n_immersion", "n_sample") if said.get(n)}
    return tuple(Channel(emission=float(v)) for v in lights), Optics(**numbers)


def stated_by(
    layer: napari.layers.Image,
) -> tuple[Sizes, tuple[tuple[Channel, ...], Optics]]:
    """Give what `stated_size` and `described_by` do."""
    return stated_size(layer), described_by(layer)


def with_optics(stack: Stack, channels: tuple[Channel, ...], optics: Optics) -> Stack:
    """Describe a layer's channels and optics, where it does not know them and the count fits."""
    blank = all(one == Channel() for one in stack.channels)
    fit = blank and not stack.rgb and len(channels) == stack.shape[1]
    return replace(
        stack,
        channels=channels if fit else stack.channels,
        optics=optics if stack.optics == Optics() else stack.optics,
    )


def channel_in(stack: Stack, c: int) -> int | None:
    """Give the number that a channel of the layer has in the stack; None if it is left out."""
    picked = stack.pixels.channels
    return c if picked is None else picked.index(c) if c in picked else None


def stack_of(
    layer: napari.layers.Image, axes: str | None = None, pixel_size: Sequence[float | None] = ()
) -> Stack:
    """Give a layer as a stack, without reading its pixels.

    Parameters
    ----------
    layer : Image layer
        Of a pyramid the finest level is taken.
    axes : str or None
        A letter out of "tczyx" for each axis of the layer; None: as the layer says. Colours of
        an RGB layer have no letter.
    pixel_size : (z, y, x) in µm, or () to take the layer's

    Raises
    ------
    ValueError
        When the axes do not fit.
    """
    axes = (axes if axes is not None else axes_of(layer)).lower().strip()
    strange = sorted(set(axes) - set("tczyx"))
    if layer.ndim > len("tczyx"):
        raise ValueError(
            f'"{layer.name}" has {layer.ndim} axes, and an image has five at most, t, c, z, y and '
            "x: split it along one (right click on the layer ▸ Split Stack)"
        )
    if len(axes) != layer.ndim or strange or len(set(axes)) != len(axes):
        example = USUAL.get(layer.ndim, "tczyx")
        raise ValueError(
            f'axes "{axes}" do not fit: "{layer.name}" has {layer.ndim} axes, so give '
            f"{layer.ndim} of the letters t, c, z, y, x, such as {example}"
        )
    if not {"y", "x"} <= set(axes):
        raise ValueError(
            f'axes "{axes}": every image has y and x, so name two of the axes so, such as '
            f"{USUAL.get(layer.ndim, 'tczyx')}"
        )
    if layer.rgb and "c" in axes:
        raise ValueError(
            f'"{layer.name}" is in colour, so it can have no channels besides: use t or z for '
            "that axis"
        )
    z, y, x = tuple(pixel_size) or pixel_size_of(layer, axes)
    size = (z if "z" in axes else None, y, x)
    data = finest(layer)
    letters = axes + ("s" if layer.rgb else "")
    stack = open_stack(data, letters, size if any(v is not None for v in size) else None)
    step = None
    if "t" in axes:
        at = axes.index("t")
        step = size_in(layer.units[at], float(layer.scale[at]), "s")
    known = stack.pixel_size
    if pixel_size:  # confirmed in the form, so what the file says does not matter
        known = size if any(v is not None for v in size) else None
    return replace(
        stack, name=layer.name, time_step=step if step else stack.time_step, pixel_size=known
    )


def kernel_of(layer: napari.layers.Image) -> Kernel:
    """Take a layer for a kernel, or for one kernel for each channel and frame."""
    return kernel_read(kernel_stack(layer))


def kernel_stack(layer: napari.layers.Image) -> Stack:
    """Give a layer that may be a kernel as a stack, without reading its pixels.

    The voxel size is the one in ``layer.metadata["kernel_pixel_size"]``, which our own kernels
    have, else the layer's.

    Raises
    ------
    ValueError
        When it is too large for a kernel, or in colour.
    """
    if layer.rgb:
        raise ValueError(f'"{layer.name}" is in colour: a kernel has one number for each voxel')
    if int(np.prod(finest(layer).shape, dtype=np.int64)) > MOST_KERNEL:
        raise ValueError(
            f'"{layer.name}" has {" × ".join(map(str, finest(layer).shape))} voxels, too many for '
            "a kernel: choose the layer that shows the blur of a point"
        )
    own = layer.metadata.get("kernel_pixel_size")
    if layer.metadata.get("lent_scale") == tuple(float(step) for step in layer.scale):
        own = (None, None, None)  # the image's, whatever that is by now
    return stack_of(layer, pixel_size=tuple(own) if own else ())


def kernel_read(stack: Stack) -> Kernel:
    """Read the kernel that a stack is, or one for each channel and frame; for any thread.

    Raises
    ------
    ValueError
        When it is not a kernel at all.
    """
    from napari_deblur.protocols import Kernel

    size = stack.pixel_size
    full = None
    if size and size[1] and size[2] and (size[0] or stack.shape[2] == 1):
        full = (size[0] or 1.0, size[1], size[2])
    frames, channels = stack.shape[:2]
    array = np.stack([[stack.read(t, c) for c in range(channels)] for t in range(frames)])
    return Kernel.cleaned(array, pixel_size=full)
