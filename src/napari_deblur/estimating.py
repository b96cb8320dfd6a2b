"""Kernels found on a few samples of each channel; and where the search starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import gridding, registry, sampling
from napari_deblur.checking import (
    check_asked,
    check_field,
    check_shape,
    finds_kernels,
    the_method,
    three,
)
from napari_deblur.kernel_judging import judged_found
from napari_deblur.kernel_sets import Kernels, fitted, together
from napari_deblur.kernel_verdicts import NOTHING, report_of_frames, verdict_of
from napari_deblur.kernels import cropped
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Facts, Kernel, KernelField, Sample
from napari_deblur.stack import complete_size
from napari_deblur.views import views_of

if TYPE_CHECKING:
    from napari_deblur.stack import Stack
    from napari_deblur.views import Views

__all__ = [
    "default_shape",
    "estimate_field",
    "estimate_kernel",
    "estimated",
    "estimated_field",
    "shape_of",
    "start_of",
]

Triple = tuple[int, int, int]
# Share of the light that stays of a kernel whose shape nobody asked for.
HELD = 0.998


def default_shape(stack: Stack, facts: Facts, c: int = 0) -> Triple:
    """Choose the shape of a kernel to be found: three Airy radii from the optics, or 15 px.

    Odd along each axis, and no larger than the image.
    """
    nz, ny, nx = stack.shape[2:]
    na = facts.na or stack.optics.na
    wavelength = facts.wavelength or stack.channels[c].emission
    index = facts.n_immersion or stack.optics.n_immersion or 1.515
    size = complete_size(stack.pixel_size)
    if na and wavelength and size is not None:
        across = 3 * 0.61 * wavelength / na
        along = 2 * index * wavelength / na**2
        z, y, x = along / size[0], across / size[1], across / size[2]
    else:
        z, y, x = 7.0, 7.0, 7.0
    depth = _odd(z, nz) if nz > 1 else 1
    return depth, _odd(y, ny), _odd(x, nx)


def _odd(radius: float, size: int) -> int:
    wanted = 2 * min(max(int(np.ceil(radius)), 3), 30) + 1
    return int(min(wanted, size - 1 + size % 2))


def estimate_kernel(
    stack: object,
    estimator: object = "blind",
    shape: Triple | None = None,
    *,
    first: Kernels | None = None,
    scope: str = "channel",
    device: str = "auto",
    facts: Facts | Mapping[int, Facts] | None = None,
) -> Kernel:
    """Find the kernel of each channel: the kernel part of `plan` alone.

    Parameters
    ----------
    stack : Stack, or anything that `open_stack` takes
    estimator : str or object of the catalogue that finds kernels
    shape : (z, y, x)
        None: from the optics, or 15 px across.
    first : Kernel or {channel: Kernel}
        Where the search starts.
    scope : "channel" or "channel-time"

    Returns
    -------
    Kernel, array of shape (t | 1, c, z, y, x)
    """
    stack = open_stack(stack)
    method = the_method(estimator)
    if not finds_kernels(method):
        name = registry.methods.name_of(method)
        raise ValueError(f"{name} restores with a kernel but finds none: take blind")
    check_asked(scope, 1e-3, "linear")
    if scope == "tile":
        raise ValueError('each tile finds its own kernel in scope "tile": take scope "channel"')
    if scope == "field":
        raise ValueError("a blur that varies is no single kernel: take estimate_field")
    device = gridding.chosen_device(device)
    shape = three(shape, "shape", 1)
    kernels = fitted(stack, first, [])
    given = known_of(stack, facts)
    shapes = {
        c: shape_of(stack, shape, kernels.get(c), given.get(c, Facts()), c, method)
        for c in range(stack.shape[1])
    }
    solid = any(one[0] > 1 for one in shapes.values())
    channels = views_of(stack, solid=solid, given=given, gamma="linear")
    found = {
        c: estimated(views, method, shapes[c], kernels.get(c), scope, device, crop=shape is None)
        for c, views in channels.items()
    }
    return together(found)


def estimate_field(
    stack: object,
    estimator: object,
    shape: Triple | None = None,
    *,
    first: Kernels | None = None,
    device: str = "auto",
    facts: Facts | Mapping[int, Facts] | None = None,
) -> dict[int, KernelField]:
    """Find how the kernel of each channel varies: the kernel part of `plan` with scope "field".

    Parameters
    ----------
    stack, shape, first, facts
        As for `estimate_kernel`.
    estimator : str or object of the catalogue that finds fields

    Returns
    -------
    {channel: KernelField}
    """
    stack = open_stack(stack)
    method = the_method(estimator)
    check_field(method)
    device = gridding.chosen_device(device)
    shape = three(shape, "shape", 1)
    kernels = fitted(stack, first, [])
    given = known_of(stack, facts)
    shapes = {
        c: shape_of(stack, shape, kernels.get(c), given.get(c, Facts()), c, method)
        for c in range(stack.shape[1])
    }
    solid = any(one[0] > 1 for one in shapes.values())
    channels = views_of(stack, solid=solid, given=given, gamma="linear")
    return {
        c: estimated_field(views, method, shapes[c], kernels.get(c), device, crop=shape is None)
        for c, views in channels.items()
    }


def known_of(stack: Stack, facts: Facts | Mapping[int, Facts] | None) -> Mapping[int, Facts]:
    """Give what the user said of each channel."""
    if isinstance(facts, Mapping):
        return facts
    return dict.fromkeys(range(stack.shape[1]), facts or Facts())


def shape_of(
    stack: Stack, shape: Triple | None, first: Kernel | None, facts: Facts, c: int, method: object
) -> Triple:
    """Give the shape of a channel's kernel that is to be found: asked for, the start's, or ours.

    An estimator that crops its kernels afterwards says itself how wide it looks (``widest``).
    """
    if shape is None and first is not None:
        shape = first.shape
    elif shape is None:
        widest = getattr(method, "widest", None)
        shape = widest(stack.shape[2:]) if widest else default_shape(stack, facts, c)
    check_shape(stack, shape)
    return shape


def estimated(
    views: Views,
    estimator: Any,
    shape: Triple,
    first: Kernel | None,
    scope: str,
    device: str,
    *,
    crop: bool = False,
) -> Kernel:
    """Find the kernel of one channel, or one for each of its frames, each from the one before.

    A network would go further from what it was trained to begin with, frame by frame: it begins
    anew in each.

    With `crop` what holds next to no light is cut off, if the estimator looked widely.
    """
    solid = shape[0] > 1
    frames = views.stack.shape[0]
    # Four crops, or two volumes, carry enough structure; more only cost time, frame by frame.
    most = 2 if solid or scope == "channel-time" else 4

    def find(samples: list[Sample], start: Kernel | None) -> Kernel:
        moved = [replace(s, tile=s.tile.to(device)) for s in samples]
        found = estimator.resolved(moved).estimate(moved, shape, start)
        size = complete_size(views.stack.pixel_size)
        return Kernel(found.array, size, found.report)

    start = first
    if start is None and not getattr(estimator, "knows_optics", False):
        start = _optical(views, shape)
    crop = crop and hasattr(estimator, "widest")
    room = _room(estimator, shape)
    if scope != "channel-time":
        samples = views.samples(solid=solid, blurs=None, most=most, shape=room)
        found = find(samples, start)
        if crop and hasattr(estimator, "widened"):
            found = estimator.widened(found, views.stack.shape[2:], views.facts)
        found = judged_found(views, found)
        return cropped(found, energy=HELD) if crop else found
    kernels = []
    for t in range(frames):
        samples = views.samples(solid=solid, blurs=None, most=most, times=(t,), shape=room)
        found = judged_found(views, find(samples, start), t)
        kernels.append(found)
        learned = getattr(estimator, "learned", False)
        if not learned and verdict_of(found.report)[0] != NOTHING:  # a point is no place to start
            start = found
    every = Kernel(
        np.concatenate([k.array for k in kernels]),
        kernels[0].pixel_size,
        report_of_frames([k.report for k in kernels]),
    )
    return cropped(every, energy=HELD) if crop else every


def _room(estimator: Any, shape: Triple) -> Triple:
    """Give the kernel whose samples are as large as the estimator wants them."""
    wanted = max(estimator.estimate_shapes, default=())
    if shape[0] > 1 or not wanted:
        return shape
    y, x = (max(n, side // sampling.ROOM) for n, side in zip(shape[1:], wanted[-2:], strict=True))
    return 1, y, x


def estimated_field(
    views: Views,
    estimator: Any,
    shape: Triple,
    first: Kernel | None,
    device: str,
    *,
    crop: bool = False,
) -> KernelField:
    """Find how the kernel of one channel varies over its field, or with depth.

    With `crop` the shape was our choice, so an estimator may give wider kernels in the end.
    """
    solid = shape[0] > 1
    if getattr(estimator, "varies_along", "") == "z":
        read = views.by_depth(max(_room(estimator, shape)[1:]) * sampling.ROOM)
    else:
        read = views.spread(solid=solid)
    samples = [replace(s, tile=s.tile.to(device)) for s in read]
    start = first
    if start is None and not getattr(estimator, "knows_optics", False):
        start = _optical(views, shape)
    able = estimator.resolved(samples)
    found: KernelField = able.estimate_field(samples, shape, start, views.stack.shape[2:])
    found = replace(found, pixel_size=complete_size(views.stack.pixel_size))
    if crop and hasattr(estimator, "widened_field"):
        found = estimator.widened_field(found, views.stack.shape[2:], views.facts)
    return _cropped_field(found) if crop and hasattr(estimator, "widest") else found


def _cropped_field(field: KernelField) -> KernelField:
    """Cut off where no kernel of a field has any light to speak of.

    All of its basis must be kernels: modes, which sum to 0, are left as they are.
    """
    if field.basis.min() < 0:
        return field
    parts = [cropped(Kernel(one), energy=HELD) for one in field.basis]
    z, y, x = (max(ns) for ns in zip(*(part.shape for part in parts), strict=True))
    cut = [cropped(Kernel(one), shape=(z, y, x)).at() for one in field.basis]
    return replace(field, basis=np.stack(cut))


def _optical(views: Views, shape: Triple) -> Kernel | None:
    """Start at twice the diffraction limit where the optics are known: see `Gaussian.wide`."""
    from napari_deblur.psfs.gaussian import Gaussian

    facts, size = views.facts, complete_size(views.stack.pixel_size)
    if facts.na is None or facts.wavelength is None or size is None:
        return None
    model = Gaussian.from_optics(facts.na, facts.wavelength, facts.n_immersion or 1.515)
    z, y, x = (2 * s for s in model.sigma)
    return Gaussian((z, y, x))(shape, size)


def start_of(first: Kernel | None, shape: Triple, views: Views, method: Any) -> Kernel:
    """Give the kernel that each tile starts from."""
    from napari_deblur.psfs.gaussian import Gaussian

    if first is not None:
        return first
    size = complete_size(views.stack.pixel_size)
    if hasattr(method, "first_kernel"):
        kernel: Kernel = method.first_kernel(shape, size, views.facts)
        return kernel
    optical = _optical(views, shape)
    if optical is not None:
        return optical
    wide = Gaussian.wide(shape)
    return Kernel(wide.array, size, wide.report)
