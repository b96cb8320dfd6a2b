"""From what is asked to what will be done: the only place that looks at pixels to decide.

Facts of every channel, then samples, the kernel, the method's numbers, the halo, the grid.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_deblur import gridding, registry, sampling
from napari_deblur.checking import check_asked, check_shape, finds_kernels, the_method, three
from napari_deblur.estimating import Views, blur_of, default_shape, estimated, start_of, views_of
from napari_deblur.kernel_sets import Kernels, fitted, off_centre, together
from napari_deblur.opening import open_stack
from napari_deblur.plans import ChannelPlan, Layout, Plan
from napari_deblur.protocols import Facts, Kernel, Method

if TYPE_CHECKING:
    from napari_deblur.halos import Halo

__all__ = ["estimate_kernel", "plan", "planning"]

Triple = tuple[int, int, int]


def plan(stack: object, method: object = "blind-richardson-lucy", **asked: Any) -> Plan:
    """Decide all that a run needs: facts, kernel, the method's numbers, halo, grid, memory.

    Parameters
    ----------
    stack : Stack, or anything that `open_stack` takes
    method : str or object of the catalogue
        A restoring method, which then needs `kernel`, or one that finds kernels.
    **asked
        The parameters of `planning`, by name.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        When what is asked cannot be done; the text says what to change.
    """
    steps = planning(stack, method, **asked)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("Plan", done.value)


def planning(
    stack: object,
    method: object = "blind-richardson-lucy",
    *,
    kernel: Kernels | None = None,
    shape: Triple | None = None,
    scope: str = "channel",
    tile: Triple | None = None,
    seam: float = 1e-3,
    accept_seam: bool = False,
    memory: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    gamma: str = "linear",
    keep_background: bool = True,
    facts: Facts | None = None,
) -> Generator[str, None, Plan]:
    """Decide a plan step by step, saying what comes next.

    Parameters
    ----------
    kernel : Kernel, or {channel: Kernel}
        What the image was blurred with; for a method that finds kernels, where it starts.
    shape : (z, y, x) or (y, x)
        Of the kernel to be found; None: from the optics, or 15 px across.
    scope : "channel", "channel-time" or "tile"
        One kernel for each channel, each channel and frame, or each tile.
    tile : (z, y, x), or (y, x) with all of z
        The core that one task restores, and a chunk of the output; it reads a halo besides.
    seam : float
        Largest difference to an untiled result that is allowed, over the channel's peak.
    accept_seam : bool
        Go on with the seam that the largest possible halo leaves, if it is larger.
    memory : int
        Bytes that one task may use; None: half of what is free, at most 2 GiB on a CPU.
    device : "auto", "cpu", "cuda", "mps"
    dtype : "float32", "uint16" or "uint8"
        Of the output; None: float32, and the input's type for pictures in colour.
    gamma : "linear" or "srgb"
        "srgb" for photographs: their numbers are turned into light before, and back after.
    keep_background : bool
        Whether the output contains the background, as the input does.
    facts : Facts
        What is known of camera and optics, for all channels.

    Yields
    ------
    str
        What is being done.
    """
    stack = open_stack(stack)
    chosen = the_method(method)
    check_asked(stack, chosen, kernel, scope, seam, gamma)
    device = gridding.chosen_device(device)
    allowed = gridding.allowed_memory(memory, device)
    gridding.output_type(stack, dtype, None)  # refused now rather than after the search
    shape, tile = three(shape, "shape", 1), three(tile, "tile", stack.shape[2])
    estimator = chosen if finds_kernels(chosen) else None
    if estimator is not None and shape is not None:
        check_shape(stack, shape)
    notes: list[str] = []
    if stack.dtype.kind in "ui" and stack.dtype.itemsize > 2:
        notes.append(
            "counts above 16,777,216 are rounded: results are 32-bit floating-point numbers"
        )
    kernels = fitted(stack, kernel, notes)
    if estimator is not None and shape is None:
        shape = default_shape(stack, facts or Facts())
        if kernels:
            shape = next(iter(kernels.values())).shape
    if not kernels and estimator is None:
        kernels = dict.fromkeys(range(stack.shape[1]), Kernel(np.ones((1, 1))))
    solid = (shape or next(iter(kernels.values())).shape)[0] > 1

    yield f"looking at {stack.name}: {stack.summary()}"
    channels = views_of(stack, solid=solid, given=facts or Facts(), gamma=gamma)
    if estimator is not None and scope != "tile":
        yield f"finding the kernel with {registry.methods.name_of(chosen)}"
        assert shape is not None
        kernels = {
            c: estimated(views, estimator, shape, kernels.get(c), scope, device)
            for c, views in channels.items()
        }
    elif estimator is not None:
        assert shape is not None
        kernels = {c: start_of(kernels.get(c), shape, v, stack) for c, v in channels.items()}
    whole = together(kernels)
    notes += off_centre(whole)

    yield "deciding the method's numbers"
    restorer = estimator.restorer() if estimator is not None and scope != "tile" else chosen
    decided: dict[int, Method] = {}
    for c, views in channels.items():
        samples = views.samples(solid=solid, blur=blur_of(whole, c, device), most=4)
        decided[c] = cast("Method", restorer).resolved(samples)

    yield "measuring the halo and laying the grid"
    probe = estimator.restorer() if estimator is not None and scope == "tile" else None

    def halo(axis: int) -> Halo:
        return _worst_halo(channels, decided, whole, probe, axis, seam, device)

    laid = gridding.lay(
        stack,
        whole.shape,
        next(iter(decided.values())),
        halo,
        tile=tile,
        memory=allowed,
        seam=seam,
        accept_seam=accept_seam,
        free=not getattr(chosen, "needs_kernel", True),
    )
    stored, scale, offset = gridding.output_type(stack, dtype, channels[0].facts.white)
    plans = []
    for c in range(stack.shape[1]):
        source = min(c, max(channels))  # colours share what was decided on their luma
        plans.append(
            ChannelPlan(
                channels[source].facts,
                decided[source],
                channels[source].gains() if getattr(chosen, "needs_kernel", True) else (),
                {axis: curve.points() for axis, curve in laid.halos.items()},
            )
        )
    return Plan(
        Layout.of(stack),
        stack.source,
        scope,
        laid.grid,
        tuple(plans),
        whole,
        seam,
        laid.seam,
        device,
        stored,
        scale,
        offset,
        gamma,
        keep_background,
        laid.memory,
        int(np.prod(stack.shape, dtype=np.int64) * np.dtype(stored).itemsize * 4 / 3)
        + whole.array.nbytes,
        (*notes, *laid.notes),
    )


def estimate_kernel(
    stack: object,
    estimator: object = "blind-richardson-lucy",
    shape: Triple | None = None,
    *,
    first: Kernels | None = None,
    scope: str = "channel",
    device: str = "auto",
    facts: Facts | None = None,
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
        raise ValueError(
            f"{name} restores with a kernel but finds none: take blind-richardson-lucy"
        )
    check_asked(stack, method, first, scope, 1e-3, "linear")
    device = gridding.chosen_device(device)
    shape = three(shape, "shape", 1)
    kernels = fitted(stack, first, [])
    if shape is None:
        shape = (
            next(iter(kernels.values())).shape
            if kernels
            else default_shape(stack, facts or Facts())
        )
    check_shape(stack, shape)
    channels = views_of(stack, solid=shape[0] > 1, given=facts or Facts(), gamma="linear")
    found = {
        c: estimated(views, method, shape, kernels.get(c), scope, device)
        for c, views in channels.items()
    }
    return together(found)


def _worst_halo(
    channels: Mapping[int, Views],
    methods: Mapping[int, Method],
    kernel: Kernel,
    probe: Any,
    axis: int,
    seam: float,
    device: str,
) -> Halo:
    """Measure one axis in every channel; the widest counts."""
    from napari_deblur import halos

    worst: Halo | None = None
    solid = kernel.shape[0] > 1
    for c, views in channels.items():
        blur = blur_of(kernel, c, device)
        method = methods[c]
        if probe is not None:
            samples = views.samples(solid=solid, blur=blur, most=2)
            method = probe.resolved(samples)
        best = sampling.best(views.seen, most=2 if solid else 4)
        places = [(t, views.channel, box) for t, box in best]
        places.append(halos.at_border(places[0], axis, views.stack))
        halo = halos.measure(
            views.stack, method, blur, views.facts, places, cast("Any", axis), seam
        )
        if (
            worst is None
            or halo.width is None
            or (worst.width is not None and halo.width > worst.width)
        ):
            worst = halo
        if worst.width is None:
            break
    assert worst is not None
    return worst
