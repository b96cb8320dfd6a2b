"""From what is asked to what will be done: the only place that looks at pixels to decide.

Facts of every channel, then samples, the kernel, the method's numbers, the halo, the grid.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from math import lcm
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_deblur import arrays, gridding, registry, sampling, system
from napari_deblur.checking import check_asked, check_field, three
from napari_deblur.describing import decided_fields, of_field, said_of
from napari_deblur.estimating import estimated, estimated_field, shape_of, start_of
from napari_deblur.fingerprints import of_pixels
from napari_deblur.kernel_judging import judged_by, judged_places, judged_tiles
from napari_deblur.kernel_sets import Kernels, believed, fields_given, off_centre, together
from napari_deblur.kernels import lean
from napari_deblur.opening import open_stack
from napari_deblur.plans import ChannelPlan, Layout, Plan
from napari_deblur.protocols import Blur, Facts, Kernel, KernelField, Method
from napari_deblur.views import Views, blurs_of, views_of
from napari_deblur.wishes import Wish, wishes_of

if TYPE_CHECKING:
    from napari_deblur.halos import Halo
    from napari_deblur.modelled import Psf
    from napari_deblur.protocols import Sample
    from napari_deblur.stack import Stack

__all__ = ["drained", "plan", "planning"]

Triple = tuple[int, int, int]


def plan(stack: object, method: object = None, **asked: Any) -> Plan:
    """Decide all that a run needs: facts, kernel, the method's numbers, halo, grid, memory.

    Parameters
    ----------
    stack : Stack, or anything that `open_stack` takes
    method : str or object of the catalogue, or {channel: method}, or None
        A restoring method, which then needs `kernel` or `psf`, or one that finds kernels. None:
        ``accelerated-richardson-lucy`` for channels with a kernel, ``blind`` for
        those without.
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
    return drained(planning(stack, method, **asked))


def drained(steps: Generator[str, None, Plan]) -> Plan:
    """Let a plan be made without a word."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("Plan", done.value)


def planning(
    stack: object,
    method: object = None,
    *,
    kernel: Kernels | KernelField | None = None,
    psf: Psf | Mapping[Any, Psf] | None = None,
    centre_kernel: bool = False,
    shape: Triple | None = None,
    scope: str = "channel",
    tile: Triple | None = None,
    seam: float = 1e-3,
    accept_seam: bool = False,
    memory: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    codec: str = "zstd",
    shards: int | None = None,
    gamma: str = "linear",
    keep_background: bool = True,
    facts: Facts | Mapping[Any, Facts] | None = None,
    judge: bool = True,
    processes: int = 1,
    elsewhere: int | None = None,
) -> Generator[str, None, Plan]:
    """Decide a plan step by step, saying what comes next.

    Parameters
    ----------
    method : as in `plan`
    kernel : Kernel, array or KernelField, or {channel: one of these}
        What the image was blurred with; for a method that finds kernels, where it starts. Channels
        by index or name. Arrays are cleaned of negative values and NaN.
    psf : name, (name, parameters) or object of ``nd.psfs``, or {channel: psf}
        A model of the optics that makes the kernel, for channels that are given none.
    centre_kernel : bool
        Move the kernels' centres of mass to their middle; else it is only said how far off they
        are.
    shape : (z, y, x) or (y, x)
        Of the kernel to be found (None: from the optics, or 15 px across), or of a sampled psf
        (None: as large as the model needs).
    scope : "channel", "channel-time", "field" or "tile"
        One kernel for each channel, each channel and frame, or each tile; "field": kernels that
        vary smoothly over a channel, found all together.
    tile : (z, y, x), or (y, x) with all of z
        The core that one task restores, and a chunk of the output; it reads a halo besides.
    seam : float
        Largest difference to an untiled result that is allowed, over the channel's peak.
    accept_seam : bool
        Go on with the seam that the largest possible halo leaves, if it is larger.
    memory : int
        Bytes that one task may use; None: half of what is free, at most 2 GiB on a CPU.
    device : "auto", "cpu", "cuda", "cuda:1", "mps"
    dtype : "float32", "uint16" or "uint8"
        Of the output; None: float32, and the input's type for pictures in colour.
    codec : "zstd", "blosc" or "none"
        How the output is packed; "blosc" packs a little smaller.
    shards : int
        Most tiles that lie in one file of the output; None: one, unless that would be more than
        100,000 files.
    gamma : "linear" or "srgb"
        "srgb" for photographs: their numbers are turned into light before, and back after.
    keep_background : bool
        Whether the output contains the background, as the input does.
    facts : Facts, or {channel: Facts}
        What is known of camera and optics; the rest is read from metadata or estimated.
    judge : bool
        Whether to say of given kernels if the image speaks for them. Nothing else depends on it.
    processes : int
        How many will share this machine's memory; without `memory` each gets its part of it.
    elsewhere : int or None
        Bytes that are free on the `device` of the machines that will do it, if it is not on this
        one: then what must be decided is decided on what is here.

    Yields
    ------
    str
        What is being done.
    """
    from napari_deblur import ops

    stack = open_stack(stack)
    check_asked(scope, seam, gamma)
    shape, tile = three(shape, "shape", 1), three(tile, "tile", stack.shape[2])
    # `here` decides, `device` restores: mostly they are the same.
    here = gridding.chosen_device("auto" if elsewhere is not None else device)
    device = here if elsewhere is None or device == "auto" else device
    ops.at_most(system.cores())
    allowed = gridding.allowed_memory(memory, device, processes=processes, free=elsewhere)
    gridding.output_type(stack, dtype, None)  # refused now rather than after the search
    arrays.check(shards, codec)
    notes = _about(stack)
    given_fields, plain = fields_given(stack, kernel)
    if given_fields and centre_kernel:
        raise ValueError("centre_kernel moves single kernels, and a field is given: leave it out")
    wishes = wishes_of(
        stack,
        method=method,
        kernel=plain,
        psf=psf,
        facts=facts,
        shape=shape,
        # Given fields need no search, whatever the scope.
        scope="channel" if scope == "field" and len(given_fields) == stack.shape[1] else scope,
        centre_kernel=centre_kernel,
        notes=notes,
    )
    shapes = {
        c: shape_of(stack, shape, wish.kernel, wish.facts, c, wish.method)
        for c, wish in wishes.items()
        if wish.finds
    }
    if shape is not None and not shapes and psf is None:
        notes.append("shape is not used: no kernel is found, and none is made by a model")
    given = [wish.kernel.shape for wish in wishes.values() if wish.kernel is not None]
    solid = any(one[0] > 1 for one in (*shapes.values(), *given))

    yield f"looking at {stack.name}: {stack.summary()}"
    known = {c: wish.facts for c, wish in wishes.items()}
    channels = views_of(stack, solid=solid, given=known, gamma=gamma)
    names = {registry.methods.name_of(wishes[c].method): c for c in shapes}
    notes += [_unused(stack) for c in shapes if wishes[c].facts.na and not stack.pixel_size][:1]
    if names and scope != "tile":
        yield f"finding the kernel with {' and '.join(names)}"
    fields = {c: one for c, one in given_fields.items() if c in channels and not wishes[c].finds}
    kernels = {}
    for c, views in channels.items():
        start = wishes[c].kernel
        if scope == "field" and c not in fields and wishes[c].needs_kernel:
            check_field(wishes[c].method)
            fields[c] = estimated_field(
                views, wishes[c].method, shapes[c], start, here, crop=shape is None
            )
            kernels[c] = fields[c].typical()
            if fields[c].report.get("verdict") != "nothing to deblur":
                notes.append(of_field(fields[c], c if len(channels) > 1 else None))
        else:
            kernels[c] = _kernel(views, wishes[c], shapes.get(c), scope, here, crop=shape is None)
    brought = [c for c in channels if _is_brought(wishes[c]) and c not in fields]
    if judge and brought:
        yield "judging the kernel that was given"
        for c in brought:
            kernels[c] = judged_by(channels[c], kernels[c])
    varying = [c for c in fields if c in given_fields or "verdict" not in fields[c].report]
    if judge and varying:
        yield "judging kernels that vary"
        for c in varying:
            said = judged_places(channels[c], fields[c])
            kernels[c] = replace(kernels[c], report={**kernels[c].report, "judged": said})
    if judge and scope == "tile":
        finding = [c for c in channels if wishes[c].finds]
        if finding:
            yield "judging kernels that tiles will find"
        for c in finding:
            kernels[c] = judged_tiles(channels[c], wishes[c].method, kernels[c], here)
    whole = together(kernels)
    notes += off_centre(whole) + believed(kernels)

    yield "deciding the method's numbers"
    restorers = {c: wishes[c].restorer(scope, kernels[c]) for c in channels}
    blurring = whole if fields else lean(whole, restorers.values())
    decided: dict[int, Method] = {}
    numbers: dict[int, tuple[str, ...]] = {}
    for c, views in channels.items():
        blurs = blurs_of(blurring, fields.get(c), c, here)
        samples = views.samples(solid=solid, blurs=blurs, most=4)
        restorer = restorers[c]
        if c in fields:
            _check_varying(restorer, samples[0], fields[c])
        decided[c] = restorer.resolved(samples)
        numbers[c] = decided_fields(restorer, decided[c])
        notes += said_of(decided[c], numbers[c], views.facts, c if len(channels) > 1 else None)

    yield "measuring the halo and laying the grid"
    probes = {
        c: wish.method.restorer() for c, wish in wishes.items() if wish.finds and scope == "tile"
    }

    def halo(axis: int) -> Halo:
        return _worst_halo(channels, decided, blurring, fields, probes, axis, seam, here)

    stored, scale, offset = gridding.output_type(
        stack, dtype, max((views.facts.white or 0.0) for views in channels.values())
    )
    laid = gridding.lay(
        stack,
        blurring.shape,
        max(gridding.arrays_of(one, fields.get(c), device) for c, one in decided.items()),
        halo,
        tile=tile,
        memory=allowed,
        seam=seam,
        accept_seam=accept_seam,
        free=not any(wish.needs_kernel for wish in wishes.values()),
        device=device,
        multiple_of=lcm(*(one.multiple_of for one in decided.values())),
    )
    plans = []
    for c in range(stack.shape[1]):
        source = min(c, max(channels))  # colours share what was decided on their luma
        plans.append(
            ChannelPlan(
                channels[source].facts,
                decided[source],
                channels[source].gains() if wishes[source].needs_kernel else (),
                {axis: curve.points() for axis, curve in laid.halos.items()},
                numbers[source],
            )
        )
    whole_plan = Plan(
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
        notes=(*notes, *laid.notes),
        fields=_in_order(fields, channels),
        fingerprint=of_pixels(stack) if stack.source is None else "",
    )
    return arrays.laid_out(whole_plan, shards=shards, codec=codec)


def _in_order(fields: Mapping[int, KernelField], channels: Any) -> tuple[KernelField | None, ...]:
    """Give the fields of all channels; one where they share it, nothing where there is none."""
    every = [fields.get(c) for c in sorted(channels)]
    if not fields:
        return ()
    return tuple(every[:1] if all(one is every[0] for one in every) else every)


def _check_varying(method: Any, sample: Sample, field: KernelField) -> None:
    """Refuse a filter that restores with one kernel only, in its own words.

    What iterates and can't use a field says so when its numbers are decided.
    """
    if hasattr(method, "iterations") or not getattr(method, "needs_kernel", True):
        return
    plain = Blur(field.at(sample.region).basis[:1].to(sample.tile.device))
    resolved = method.resolved([replace(sample, blur=plain)])
    resolved(sample.tile, field.at(sample.region, str(sample.tile.device)))


def _unused(stack: Stack) -> str:
    known = f"{stack.name} has no voxel size" if stack.name else "the image has no voxel size"
    return f"the optics say nothing of the kernel: {known}, which they need (pixel_size)"


def _about(stack: Stack) -> list[str]:
    """Say what is lost of the input's numbers, if anything is."""
    if stack.dtype.kind in "ui" and stack.dtype.itemsize > 2:
        return ["counts above 16,777,216 are rounded: results are 32-bit floating-point numbers"]
    return []


def _is_brought(wish: Wish) -> bool:
    """Tell whether a channel is restored with a kernel that was given, or made by a model."""
    return wish.kernel is not None and wish.needs_kernel and not wish.finds


def _kernel(
    views: Views, wish: Wish, shape: Triple | None, scope: str, device: str, *, crop: bool
) -> Kernel:
    """Give a channel's kernel: found, given, what each tile starts from, or none at all."""
    if shape is None:
        return wish.kernel if wish.kernel is not None else Kernel(np.ones((1, 1)))
    if scope == "tile":
        return start_of(wish.kernel, shape, views, wish.method)
    return estimated(views, wish.method, shape, wish.kernel, scope, device, crop=crop)


def _worst_halo(
    channels: Mapping[int, Views],
    methods: Mapping[int, Method],
    kernel: Kernel,
    fields: Mapping[int, KernelField],
    probes: Mapping[int, Any],
    axis: int,
    seam: float,
    device: str,
) -> Halo:
    """Measure one axis in every channel; the widest counts."""
    from napari_deblur import halos

    worst: Halo | None = None
    solid = kernel.shape[0] > 1
    for c, views in channels.items():
        blurs = blurs_of(kernel, fields.get(c), c, device)
        method = methods[c]
        if c in probes:
            samples = views.samples(solid=solid, blurs=blurs, most=2)
            method = probes[c].resolved(samples)
        best = sampling.best(views.seen, most=2 if solid else 4)
        places = [(t, views.channel, box) for t, box in best]
        places.append(halos.at_border(places[0], axis, views.stack))
        halo = halos.measure(
            views.stack, method, blurs, views.facts, places, cast("Any", axis), seam
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
