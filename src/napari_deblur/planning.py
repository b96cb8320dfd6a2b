"""From what is asked to what will be done: the only place that looks at pixels to decide.

Facts of every channel, then samples, the kernel, the method's numbers, the halo, the grid.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_deblur import gridding, registry, sampling
from napari_deblur.halos import Halo
from napari_deblur.kernels import padded, resampled
from napari_deblur.opening import open_stack
from napari_deblur.plans import SCOPES, ChannelPlan, Layout, Plan
from napari_deblur.protocols import Blur, Estimator, Facts, Kernel, Method, Sample
from napari_deblur.stack import Stack
from napari_deblur.facts import facts_of

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["deconvolve", "estimate_kernel", "plan", "planning"]

Triple = tuple[int, int, int]
Kernels = Kernel | Mapping[int, Kernel]
# A centre of mass farther from the kernel's middle than this is worth a sentence, in pixels.
OFF_CENTRE = 0.25
# Kernels from files carry rounded voxel sizes.
SAME_SIZE = 0.01


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
    shape : (z, y, x)
        Of the kernel to be found; None: from the optics, or 15 px across.
    scope : "channel", "channel-time" or "tile"
        One kernel for each channel, each channel and frame, or each tile.
    tile : (z, y, x)
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
    method = _method(method)
    _checked(stack, method, kernel, scope, seam, gamma)
    device = gridding.chosen_device(device)
    estimator = method if _finds(method) else None
    notes: list[str] = []
    kernels = _given(stack, kernel, notes)
    if estimator is not None and shape is None:
        shape = default_shape(stack, facts or Facts())
        if kernels:
            shape = next(iter(kernels.values())).shape
    if not kernels and estimator is None:
        kernels = dict.fromkeys(range(stack.shape[1]), Kernel(np.ones((1, 1))))
    solid = (shape or next(iter(kernels.values())).shape)[0] > 1

    yield f"looking at {stack.name}: {stack.summary()}"
    channels = _channels(stack, solid=solid, given=facts or Facts(), gamma=gamma)
    if estimator is not None and scope != "tile":
        yield f"finding the kernel with {registry.methods.name_of(method)}"
        assert shape is not None
        kernels = {
            c: _estimated(views, estimator, shape, kernels.get(c), scope, device)
            for c, views in channels.items()
        }
    elif estimator is not None:
        assert shape is not None
        kernels = {c: _start(kernels.get(c), shape, v, stack) for c, v in channels.items()}
    whole = _together(kernels, stack, scope)
    notes += _off_centre(whole)

    yield "deciding the method's numbers"
    restorer = estimator.restorer() if estimator is not None and scope != "tile" else method
    decided: dict[int, Method] = {}
    for c, views in channels.items():
        samples = views.samples(solid=solid, blur=_blur(whole, c, device), most=4)
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
        memory=gridding.allowed_memory(memory, device),
        seam=seam,
        accept_seam=accept_seam,
        free=not getattr(method, "needs_kernel", True),
    )
    stored, scale, offset = gridding.output_type(stack, dtype, channels[0].facts.white)
    plans = []
    for c in range(stack.shape[1]):
        source = min(c, max(channels))  # colours share what was decided on their luma
        plans.append(
            ChannelPlan(
                channels[source].facts,
                decided[source],
                channels[source].gains(),
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
        int(np.prod(stack.shape, dtype=np.int64) * np.dtype(stored).itemsize * 4 / 3) + whole.array.nbytes,
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
    method = _method(estimator)
    if not _finds(method):
        name = registry.methods.name_of(method)
        raise ValueError(f"{name} restores with a kernel but finds none: take blind-richardson-lucy")
    _checked(stack, method, first, scope, 1e-3, "linear")
    device = gridding.chosen_device(device)
    kernels = _given(stack, first, [])
    if shape is None:
        shape = next(iter(kernels.values())).shape if kernels else default_shape(stack, facts or Facts())
    channels = _channels(stack, solid=shape[0] > 1, given=facts or Facts(), gamma="linear")
    found = {
        c: _estimated(views, method, shape, kernels.get(c), scope, device)
        for c, views in channels.items()
    }
    return _together(found, stack, scope)


def deconvolve(
    what: object, stack_or_method: object = None, kernel: Kernels | None = None, **asked: Any
) -> da.Array:
    """Give the restored stack as a lazy dask array: ``deconvolve(plan, stack)``.

    ``deconvolve(stack, method, kernel)`` makes the plan first. Each chunk is one tile's core; a
    chunk is computed when it is asked for, by the same function that a run uses.

    Returns
    -------
    dask array with the stack's axes, float32, in counts
    """
    if isinstance(what, Plan):
        made, stack = what, stack_or_method
    else:
        stack = open_stack(what)
        made = plan(stack, stack_or_method or "blind-richardson-lucy", kernel=kernel, **asked)
    return _lazy(made, cast("Stack | None", stack))


def _lazy(plan: Plan, stack: Stack | None) -> da.Array:
    import dask.array as da

    from napari_deblur.restoring import restore_tile

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


@dataclass(frozen=True, eq=False)
class _Views:
    """One channel (or the luma of a picture in colour): where to look, and its facts."""

    stack: Stack
    channel: int
    seen: sampling.Look
    facts: Facts

    def samples(
        self, *, solid: bool, blur: Blur | None, most: int, times: tuple[int, ...] | None = None
    ) -> list[Sample]:
        places = sampling.best(self.seen, times=times, most=most)
        if not places and times is not None:
            places = [(times[0], box) for _, box in sampling.best(self.seen, most=most)]
        made = [
            sampling.sample(self.stack, self.channel, place, self.facts, blur, solid=solid)
            for place in places
        ]
        with_data = [s for s in made if bool(s.tile.isfinite().any())]
        if not with_data:
            raise ValueError(
                f"channel {self.channel} has no valid pixel in any sample: all are NaN, infinite or "
                "saturated; check the file, or give facts=Facts(saturation=…)"
            )
        if blur is not None:
            made = [replace(s, tile=s.tile.to(blur.basis.device)) for s in with_data]
            return made
        return with_data

    def gains(self) -> tuple[float, ...]:
        return sampling.brightness(self.stack, self.channel, self.seen, self.facts)


def _method(method: object) -> Any:
    if isinstance(method, str):
        return registry.methods[method]()
    if isinstance(method, type):
        return method()
    if not isinstance(method, Method | Estimator):
        raise TypeError(
            f"{type(method).__name__} is no method: pass a name or an object of nd.methods, "
            f"which has {', '.join(registry.methods)}"
        )
    return method


def _finds(method: object) -> bool:
    return hasattr(method, "estimate")


def _checked(
    stack: Stack, method: object, kernel: Kernels | None, scope: str, seam: float, gamma: str
) -> None:
    name = registry.methods.name_of(method)
    if scope not in SCOPES:
        raise ValueError(f'scope "{scope}" is not one of {", ".join(SCOPES)}')
    if kernel is None and not _finds(method) and getattr(method, "needs_kernel", True):
        raise ValueError(
            f"{name} needs a kernel: give one, or take a method that finds it, such as "
            "blind-richardson-lucy"
        )
    if scope == "tile" and not (_finds(method) and callable(method)):
        raise ValueError(f'{name} can\'t find a kernel in each tile: take scope "channel"')
    if scope == "channel-time" and not _finds(method):
        raise ValueError(f'{name} finds no kernels, so there is none per frame: take scope "channel"')
    if not 0 < seam < 1:
        raise ValueError(f"seam is {seam} and must lie between 0 and 1 (it is a share of the peak)")
    if gamma not in ("linear", "srgb"):
        raise ValueError(f'gamma "{gamma}" is not one of linear, srgb')
    if stack.rgb and isinstance(kernel, Mapping):
        raise ValueError("a picture in colour has one kernel for all colours: give one kernel")


def _given(stack: Stack, kernel: Kernels | None, notes: list[str]) -> dict[int, Kernel]:
    """Fit the user's kernels to the stack: one for each channel, at the stack's voxel size."""
    if kernel is None:
        return {}
    if isinstance(kernel, np.ndarray):
        kernel = Kernel(kernel)
    each = dict(kernel) if isinstance(kernel, Mapping) else {}
    if isinstance(kernel, Kernel):
        for c in range(stack.shape[1]):
            one = kernel.array[:, c if kernel.array.shape[1] > 1 else 0][:, None]
            if kernel.array.shape[1] not in (1, stack.shape[1]):
                raise ValueError(
                    f"there are kernels for {kernel.array.shape[1]} channels but the stack has "
                    f"{stack.shape[1]}: give one, or one for each"
                )
            each[c] = Kernel(one, kernel.pixel_size, kernel.report)
    missing = sorted(set(range(stack.shape[1])) - set(each))
    if missing:
        raise ValueError(f"there is no kernel for channel {missing[0]}: give one for each")
    return {c: _at_size(stack, one, notes) for c, one in each.items()}


def _at_size(stack: Stack, kernel: Kernel, notes: list[str]) -> Kernel:
    for said in kernel.report.get("cleaned", []):
        _say(notes, f"the kernel was cleaned: {said}")
    wanted = stack.pixel_size
    if kernel.pixel_size is None:
        _say(notes, "the kernel has no voxel size: it is taken to have the image's")
        return replace(kernel, pixel_size=_complete(wanted)) if _complete(wanted) else kernel
    if wanted is None:
        _say(notes, "the image has no voxel size: the kernel is used pixel for pixel")
        return kernel
    target = tuple(w or k for w, k in zip(wanted, kernel.pixel_size, strict=True))
    axes = range(0 if kernel.shape[0] > 1 else 1, 3)
    if all(abs(target[a] / kernel.pixel_size[a] - 1) <= SAME_SIZE for a in axes):
        return kernel
    size = " × ".join(f"{v:.4g}" for v in kernel.pixel_size)
    _say(notes, f"the kernel, of {size} µm voxels, was resampled to the image's")
    z, y, x = target
    return resampled(kernel, (z, y, x))


def _say(notes: list[str], sentence: str) -> None:
    if sentence not in notes:
        notes.append(sentence)


def _complete(size: tuple[float | None, ...] | None) -> tuple[float, float, float] | None:
    if size is None or size[1] is None or size[2] is None:
        return None
    return size[0] or 1.0, size[1], size[2]


def default_shape(stack: Stack, facts: Facts) -> Triple:
    """Choose the shape of a kernel to be found: three Airy radii from the optics, or 15 px.

    Odd along each axis, and no larger than the image.
    """
    nz, ny, nx = stack.shape[2:]
    na = facts.na or stack.optics.na
    wavelength = facts.wavelength or stack.channels[0].emission
    index = facts.n_immersion or stack.optics.n_immersion or 1.515
    size = _complete(stack.pixel_size)
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


def _channels(stack: Stack, *, solid: bool, given: Facts, gamma: str) -> dict[int, _Views]:
    """Look at each channel; of a picture in colour, at its luma alone."""
    if stack.rgb:
        luma = sampling.luma_of(stack, gamma)
        seen = sampling.look(luma, 0, solid=solid)
        return {0: _Views(luma, 0, seen, facts_of(stack, 0, seen.planes, given))}
    views = {}
    for c in range(stack.shape[1]):
        seen = sampling.look(stack, c, solid=solid)
        views[c] = _Views(stack, c, seen, facts_of(stack, c, seen.planes, given))
    return views


def _estimated(
    views: _Views, estimator: Any, shape: Triple, first: Kernel | None, scope: str, device: str
) -> Kernel:
    """Find the kernel of one channel, or one for each of its frames, each from the one before."""
    solid = shape[0] > 1
    frames = views.stack.shape[0]
    # Four crops, or two volumes, carry enough structure; more only cost time.
    most = 2 if solid else 4

    def find(samples: list[Sample], start: Kernel | None) -> Kernel:
        moved = [replace(s, tile=s.tile.to(device)) for s in samples]
        found = estimator.resolved(moved).estimate(moved, shape, start)
        size = _complete(views.stack.pixel_size)
        return Kernel(found.array, size, found.report)

    start = first if first is not None else _optical(views, shape)
    if scope != "channel-time":
        return find(views.samples(solid=solid, blur=None, most=most), start)
    kernels = []
    for t in range(frames):
        start = find(views.samples(solid=solid, blur=None, most=most, times=(t,)), start)
        kernels.append(start)
    return Kernel(
        np.concatenate([k.array for k in kernels]), start.pixel_size if start else None, kernels[0].report
    )


def _optical(views: _Views, shape: Triple) -> Kernel | None:
    """Give the diffraction limit as a start, where the optics are known."""
    from napari_deblur.psfs.gaussian import Gaussian

    facts, size = views.facts, _complete(views.stack.pixel_size)
    if facts.na is None or facts.wavelength is None or size is None:
        return None
    model = Gaussian.from_optics(facts.na, facts.wavelength, facts.n_immersion or 1.515)
    return model(shape, size)


def _start(first: Kernel | None, shape: Triple, views: _Views, stack: Stack) -> Kernel:
    """Give the kernel that each tile starts from."""
    from napari_deblur.psfs.gaussian import Gaussian

    if first is not None:
        return first
    size = _complete(stack.pixel_size)
    optical = _optical(views, shape)
    if optical is not None:
        return optical
    narrow = Gaussian(sigma=(3.0, 1.0, 1.0))(shape, (1.0, 1.0, 1.0))
    return Kernel(narrow.array, size, narrow.report)


def _together(kernels: Mapping[int, Kernel], stack: Stack, scope: str) -> Kernel:
    """Put the channels' kernels into one array, padded to one shape around their centres."""
    every = [kernels[c] for c in sorted(kernels)]
    frames = max(k.array.shape[0] for k in every)
    sizes = [k.shape for k in every]
    shape = (max(s[0] for s in sizes), max(s[1] for s in sizes), max(s[2] for s in sizes))
    same = all(np.array_equal(k.array, every[0].array) for k in every)
    used = every[:1] if same and len(every) > 1 else every
    array = np.stack(
        [np.stack([padded(k.at(t), shape) for k in used]) for t in range(frames)]
    )
    reports = [dict(k.report) for k in used]
    report = reports[0] if len(reports) == 1 else {"channels": reports}
    return Kernel(array, every[0].pixel_size, report)


def _off_centre(kernel: Kernel) -> list[str]:
    """Report centres of mass that are off the middle; the image will be moved by as much."""
    said = []
    for c in range(kernel.array.shape[1]):
        z, y, x = kernel.centroid(0, c)
        if max(abs(z), abs(y), abs(x)) > OFF_CENTRE:
            of = f" of channel {c}" if kernel.array.shape[1] > 1 else ""
            said.append(
                f"the kernel's centre of mass{of} lies ({z:+.2f}, {y:+.2f}, {x:+.2f}) px (z, y, x) "
                "off its middle, and the image will be moved the other way: centre the kernel "
                "if that is not meant"
            )
    return said


def _blur(kernel: Kernel, c: int, device: str) -> Blur:
    import torch

    array = torch.from_numpy(kernel.at(0, c if kernel.array.shape[1] > 1 else 0).copy())
    return Blur((array if array.shape[0] == 1 else array[None]).to(device))


def _worst_halo(
    channels: Mapping[int, _Views],
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
        blur = _blur(kernel, c, device)
        method = methods[c]
        if probe is not None:
            samples = views.samples(solid=solid, blur=blur, most=2)
            method = probe.resolved(samples)
        places = [
            (t, views.channel, box)
            for t, box in sampling.best(views.seen, most=2 if solid else 4)
        ]
        halo = halos.measure(
            views.stack, method, blur, views.facts, places, cast("Any", axis), seam
        )
        if worst is None or halo.width is None or (
            worst.width is not None and halo.width > worst.width
        ):
            worst = halo
        if worst.width is None:
            break
    assert worst is not None
    return worst
