"""Stacks, plans, results, kernels and catalogues in a few lines, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import starmap
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.kernel_describing import (
    by,
    number,
    of_beads,
    of_field,
    of_kernel,
    of_measures,
    of_nodes,
    of_report,
    of_search,
)

if TYPE_CHECKING:
    from napari_deblur.plans import ChannelPlan, Plan
    from napari_deblur.protocols import Facts
    from napari_deblur.registry import Registry
    from napari_deblur.results import Result
    from napari_deblur.stack import Stack

__all__ = [
    "decided_fields",
    "lines",
    "of_beads",
    "of_camera",
    "of_catalogue",
    "of_field",
    "of_kernel",
    "of_measures",
    "of_method",
    "of_nodes",
    "of_plan",
    "of_report",
    "of_result",
    "of_search",
    "of_stack",
    "said_of",
    "size",
]

Rows = Iterator[tuple[str, str]]
# Numbers of methods that are always found the same way, from the channel's facts: no news.
PLAIN = {"background", "start", "lowest", "spacing", "momentum"}


def lines(rows: Iterable[tuple[str, Any]]) -> str:
    """Put names and values into two columns."""
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in pairs)


def size(count: float) -> str:
    """Say how many bytes: ``12 kB``, ``3.4 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def of_stack(stack: Stack) -> Rows:
    """Say what a reader saw."""
    source = stack.source
    if source is not None:
        yield "input", source.address
        yield "reader", source.reader
    shape = [n for axis, n in zip("tczyx", stack.shape, strict=True) if axis in stack.axes]
    yield "axes", ", ".join(starmap("{} {}".format, zip(stack.axes, shape, strict=True)))
    yield "type", f"{stack.dtype}, {size(stack.nbytes)}{', colour' if stack.rgb else ''}"
    known = stack.pixel_size is not None
    yield "voxel size", f"{by(stack.pixel_size)} µm (z, y, x)" if known else "not stated"
    if stack.time_step is not None:
        yield "time step", f"{stack.time_step:g} s"
    for c, channel in enumerate(stack.channels if not stack.rgb else ()):
        facts = [channel.name, channel.color]
        facts += [f"emission {channel.emission:g} µm" if channel.emission else None]
        facts += [f"excitation {channel.excitation:g} µm" if channel.excitation else None]
        if any(facts):
            yield f"channel {c}", ", ".join(filter(None, facts))
    optics = stack.optics
    names = {"na": "NA", "n_immersion": "n immersion", "n_sample": "n sample", "magnification": ""}
    said = [
        f"{label} {value:g}" if label else f"{value:g} ×"
        for name, label in names.items()
        if (value := getattr(optics, name)) is not None
    ]
    yield "optics", ", ".join(said) or "not stated"
    yield "chunks", f"{by(stack.pixels.chunks)} (z, y, x)"
    yield "levels", str(stack.levels)


def of_plan(plan: Plan) -> Rows:
    """Say what a plan is going to do, and what it costs."""
    grid, layout = plan.grid, plan.layout
    yield "input", plan.source.address if plan.source else layout.name
    several = len({repr(channel.method) for channel in plan.channels}) > 1
    for c, channel in enumerate(plan.channels if several else plan.channels[:1]):
        yield f"method, channel {c}" if several else "method", of_method(channel)
    yield "scope", f"{plan.scope}: {_kernels_of(plan)}"
    yield from of_kernel(plan.kernel)
    yield from _of_fields(plan)
    cameras = {c: of_camera(channel.facts) for c, channel in enumerate(plan.channels)}
    for c, text in cameras.items():
        if c == 0 or not layout.rgb:  # colours share what was found on their luma
            yield "camera" + (f", channel {c}" if len(cameras) > 1 and not layout.rgb else ""), text
    counts = " × ".join(map(str, grid.counts))
    yield "tiles", f"{len(plan)} ({counts} along t, c, z, y, x) of {by(grid.core)} voxels"
    cut = [a for a, n, c in zip("zyx", grid.shape[2:], grid.core, strict=True) if c < n]
    halo = ", ".join(f"{a} {h}" for a, h in zip("zyx", grid.halo, strict=True) if a in cut)
    yield "halo", halo or "none: nothing is cut"
    if plan.expected_seam is None:
        yield "seam", "none: nothing is cut" if not cut else "0: the method needs no halo"
    else:
        yield "seam", f"{plan.expected_seam:.1g} of the peak expected, {plan.seam:g} allowed"
    yield "device", f"{plan.device}, {size(plan.memory)} for each task"
    tile, stack = prod(grid.tile_shape) * len(plan), prod(grid.shape)
    counts_of = sorted({getattr(channel.method, "iterations", 0) for channel in plan.channels})
    few, many = counts_of[0], counts_of[-1]
    times = f" × {few if few == many else f'{few}–{many}'} iterations" if many else ""
    share = f" ({tile / stack:.2g} × the stack)" if cut else ""
    yield "work", f"{tile:.3g} voxels with halos{share}{times}"
    yield (
        "output",
        f"{plan.dtype}, up to {size(plan.disk)} on the disk"
        + ("" if plan.keep_background else ", without the background"),
    )
    if plan.files:
        yield "files", _of_files(plan)
    yield "key", plan.key[:12]


def _of_files(plan: Plan) -> str:
    """Say how many files there will be, and what is in one of the image."""
    many, voxels = prod(plan.shard), prod(plan.grid.core)
    one = size(many * voxels * np.dtype(plan.dtype).itemsize)
    tiles = "a tile each" if many == 1 else f"up to {many} tiles ({by(plan.shard)}) each"
    chunk = "" if plan.chunk is None else f", in chunks of {by(plan.chunk)} voxels"
    return f"{plan.files:,}, those of the image with {tiles}, up to {one}{chunk}, {plan.codec}"


def _kernels_of(plan: Plan) -> str:
    if plan.finds_kernels:
        return "each tile finds its own kernel"
    if plan.fields:
        where = [str(c) for c, one in enumerate(plan.fields) if one is not None]
        some = len(where) < len(plan.fields)
        channels = f", in channel {' and '.join(where)}" if some else ""
        return f"kernels that vary over the field or with depth{channels}"
    frames, channels_of = plan.kernel.array.shape[:2]
    return f"{frames * channels_of} kernel{'s' if frames * channels_of > 1 else ''}"


def _of_fields(plan: Plan) -> Rows:
    """Say how kernels vary; `of_kernel` has said what a typical one is like."""
    for c, one in enumerate(plan.fields):
        if one is None:
            continue
        grid = by(one.grid)
        said = [f"{one.rank} kernels mixed by weights at {grid} nodes (z, y, x)"]
        if one.rank == 1 or one.grid == (1, 1, 1):
            said = ["one kernel, the same everywhere"]
        said += [f"{name} {v.min():.4g} to {v.max():.4g}" for name, v in one.maps.items()]
        yield "field" if len(plan.fields) == 1 else f"field, channel {c}", ", ".join(said)


def of_method(channel: ChannelPlan) -> str:
    """Say which method with which numbers; "(auto)" marks those that the program decided."""
    from napari_deblur.registry import parameters_of

    parameters = parameters_of(channel.method)
    said = [parameters.pop("name")]
    for name, value in parameters.items():
        if text := _said_number(name, value):
            auto = " (auto)" if name in channel.decided and name not in PLAIN else ""
            said.append(text + auto)
    return ", ".join(said)


def _said_number(name: str, value: Any) -> str:
    """Say a number of a method; nothing where it says nothing."""
    if value == () or (name == "unmatched" and value == 0):
        return ""
    if name == "unmatched":  # a word for those who know the paper
        return f"the first {number(value)} with the quick back projection"
    return f"{name.replace('_', ' ')} {number(value)}"


def decided_fields(asked: Any, resolved: Any) -> tuple[str, ...]:
    """Name the parameters of a method that were "auto" and are numbers now."""
    return tuple(
        f.name
        for f in fields(asked)
        if isinstance(getattr(asked, f.name), str)
        and getattr(asked, f.name) == "auto"
        and getattr(resolved, f.name) != "auto"
    )


def said_of(method: Any, decided: Iterable[str], facts: Facts, c: int | None) -> list[str]:
    """Say what was decided for a channel, and on what; nothing where all was given."""
    told = [name for name in decided if name not in PLAIN]
    numbers = ", ".join(filter(None, (_said_number(n, getattr(method, n)) for n in told)))
    if not numbers:
        return []
    noise = (
        "normal noise" + ("" if facts.noise is None else f" of {facts.noise:.3g} counts")
        if facts.gain is None
        else f"photon noise, {facts.gain:.3g} counts per photon ({facts.origins.get('gain')})"
    )
    if facts.gain is not None and facts.colour is not None:
        noise += ", in an image that was filtered or resampled"
    channel = "" if c is None else f"channel {c}: "
    said = [f"{channel}{numbers}: decided on samples, for {noise}"]
    if "iterations" in told and method.iterations >= getattr(method, "most", np.inf):
        said.append(
            f"{channel}{method.iterations} iterations are the most that are done, and light held "
            "out asks for more: there may be more noise than is assumed, or less blur"
        )
    return said


def of_camera(facts: Facts) -> str:
    """Say what noise is assumed, where its numbers come from, and the background."""

    def said(name: str, text: str) -> str:
        origin = facts.origins.get(name)
        return text.format(getattr(facts, name)) + (f" ({origin})" if origin else "")

    level = "" if facts.background is None else "; " + said("background", "background {:.4g}")
    if facts.gain is None:
        dark = [
            said(name, f"{label} {{:.4g}}")
            for name, label in (("offset", "offset"), ("read_noise", "read noise"))
            if getattr(facts, name) is not None
        ]
        noise = "" if facts.noise is None else said("noise", " of {:.3g} counts")
        return "; ".join(["gain not known", *dark, f"normal noise{noise}"]) + level
    origins = {facts.origins.get(name) for name in ("gain", "offset", "read_noise")}
    if origins == {"estimated"} and not facts.read_noise:
        light = f"{facts.gain:.3g} counts per photon above {facts.offset:.4g} (estimated)"
    else:
        light = said("gain", "{:.3g} counts per photon")
        if facts.offset is not None:
            light += said("offset", " above {:.4g}")
        if facts.read_noise is not None:
            light += said("read_noise", ", read noise {:.3g}")
    shared = "" if facts.colour is None else ", in an image that was filtered or resampled"
    return f"{light}: photon noise{shared}{level}"


def of_result(result: Result) -> Rows:
    """Say what a result of ours is."""
    yield "result", str(result.path)
    count = result.failed_count
    failed = f", {count} tiles failed" if count else ""
    yield "complete", "yes" if result.complete else f"no{failed}: run the same again to go on"
    versions = result.attributes["versions"]
    yield "made by", f"napari-deblur {versions['napari-deblur']} on {result.attributes['cpu']}"
    yield from of_plan(result.plan)


def of_catalogue(registry: Registry) -> Rows:
    """Give one line for each class of a catalogue: its name, and what it says of itself."""
    kinds = {name: _kind(registry, registry[name]) for name in registry}
    width = max(map(len, kinds.values()), default=0)
    for name, kind in kinds.items():
        first = (registry[name].__doc__ or "").strip().partition("\n")[0]
        yield name, f"{kind:<{width}}  {first}" if width else first


def _kind(registry: Registry, cls: Any) -> str:
    """Tell what a class is for: which files a reader opens, what a method finds or restores."""
    if registry.folder == "readers":
        return " ".join(cls.patterns)
    if registry.folder != "methods":
        return ""
    finds = ["finds kernels"] if hasattr(cls, "estimate") else []
    restores = ["restores"] if any("__call__" in vars(base) for base in cls.__mro__) else []
    return " + ".join(finds + restores)
