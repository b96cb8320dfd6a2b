"""Stacks, plans, results, kernels and catalogues in a few lines, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import starmap
from math import inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.kernel_measures import full_widths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.beads import BeadReport
    from napari_deblur.kernel_measures import Measures
    from napari_deblur.plans import ChannelPlan, Plan
    from napari_deblur.protocols import Facts, Kernel, KernelField
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
# Light of the last plane, of that of the brightest, that tells of a kernel cut along z.
CUT = 0.05
# Of a long tuple as many are shown.
FEW = 3


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


def _by(values: Any, separator: str = " × ") -> str:
    return separator.join("?" if v is None else f"{v:.4g}" for v in values)


def _wide(widths: Iterable[float | None]) -> str:
    """Write full widths at half of the peak; a kernel that doesn't fall to half of it has none."""
    return " × ".join("wider than the kernel" if w == inf else _by([w]) for w in widths)


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
    yield "voxel size", f"{_by(stack.pixel_size)} µm (z, y, x)" if known else "not stated"
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
    yield "chunks", f"{_by(stack.pixels.chunks)} (z, y, x)"
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
    yield "tiles", f"{len(plan)} ({counts} along t, c, z, y, x) of {_by(grid.core)} voxels"
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
    yield "key", plan.key[:12]


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
        grid = _by(one.grid)
        said = [f"{one.rank} kernels mixed by weights at {grid} nodes (z, y, x)"]
        said += [f"{name} {v.min():.4g} to {v.max():.4g}" for name, v in one.maps.items()]
        yield "field" if len(plan.fields) == 1 else f"field, channel {c}", ", ".join(said)


def of_method(channel: ChannelPlan) -> str:
    """Say which method with which numbers; "(auto)" marks those that the program decided."""
    from napari_deblur.registry import parameters_of

    parameters = parameters_of(channel.method)
    said = [parameters.pop("name")]
    for name, value in parameters.items():
        if value == ():
            continue
        auto = " (auto)" if name in channel.decided and name not in PLAIN else ""
        said.append(f"{name.replace('_', ' ')} {_number(value)}{auto}")
    return ", ".join(said)


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
    told = [name for name in told if getattr(method, name) != ()]
    if not told:
        return []
    numbers = ", ".join(f"{n.replace('_', ' ')} {_number(getattr(method, n))}" for n in told)
    noise = (
        "normal noise" + ("" if facts.noise is None else f" of {facts.noise:.3g} counts")
        if facts.gain is None
        else f"photon noise, {facts.gain:.3g} counts per photon ({facts.origins.get('gain')})"
    )
    channel = "" if c is None else f"channel {c}: "
    return [f"{channel}{numbers}: decided on samples, for {noise}"]


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
    return f"{light}: photon noise{level}"


def _number(value: Any) -> str:
    if isinstance(value, tuple | list):
        shown = ", ".join(map(_number, value[:FEW]))
        return f"({shown}{f', … {len(value)} in all' if len(value) > FEW else ''})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def of_kernel(kernel: Kernel) -> Rows:
    """Say how large kernels are, how wide, and where their centres of mass lie."""
    for t, c in np.ndindex(kernel.array.shape[:2]):
        if t not in (0, kernel.array.shape[0] - 1):
            continue
        several = kernel.array.shape[0] * kernel.array.shape[1] > 1
        label = f"kernel t {t}, c {c}" if several else "kernel"
        axes = range(3) if kernel.shape[0] > 1 else range(1, 3)
        names = ", ".join("zyx"[a] for a in axes)
        unit = "px" if kernel.pixel_size is None else "µm"
        wide = full_widths(kernel, t=t, c=c)
        centre = kernel.centroid(t, c)
        yield label, f"{_by(kernel.shape)} voxels (z, y, x)"
        yield "  full width at half", f"{_wide(wide[a] for a in axes)} {unit} ({names})"
        yield "  centre", f"{', '.join(f'{centre[a]:+.2f}' for a in axes)} px off the middle"


def of_measures(found: Measures, pixel_size: tuple[float, float, float] | None) -> Rows:
    """Say what was measured on a kernel."""
    axes = [a for a in range(3) if found.shape[a] > 1 or a > 0]
    names, unit = ", ".join("zyx"[a] for a in axes), found.unit
    yield "kernel", f"{_by(found.shape)} voxels (z, y, x)"
    known = "not stated: lengths are in pixels"
    yield "voxel size", known if pixel_size is None else f"{_by(pixel_size)} µm (z, y, x)"
    yield "full width at half", f"{_wide(found.fwhm[a] for a in axes)} {unit} ({names})"
    # Beyond rounding errors, and without a sign where there is nothing to say.
    centre = ", ".join(f"{round(found.centroid[a], 9) + 0.0:+.3g}" for a in axes)
    yield "centre of mass", f"{centre} {unit} off the middle ({names})"
    yield (
        "light in focus",
        f"50 % within {found.radius_50:.3g} {unit}, 90 % within {found.radius_90:.3g} {unit}",
    )
    odd = [found.asymmetry[a] for a in axes]
    yield "asymmetry", ", ".join("?" if v is None else f"{v:.1%}" for v in odd) + f" ({names})"
    for n, where in enumerate(("along z", "across")):
        end, limit = found.cutoff[n], None if found.limit is None else found.limit[n]
        if end is None:
            continue
        of = "" if limit is None else f", {end / limit:.0%} of the optical limit {limit:.3g}"
        # Lobes of the cut, at more than 1 %: no fault of the light.
        cut = n == 0 and limit is not None and end > limit and (found.ends or 0) > CUT
        hint = "; beyond it for the kernel is cut along z, and rings" if cut else ""
        yield f"transfer ends {where}", f"{end:.3g} cycles/{unit}{of}{hint}"
    if found.beyond is not None:
        yield "power beyond the limit", f"{found.beyond:.2%}"
    yield "light at the border", f"{found.border:.2%}"


def of_nodes(kernels: Kernel, grid: tuple[int, int, int], maps: Mapping[str, NDArray[Any]]) -> Rows:
    """Say over which range the widths of a field's kernels go, and what varies.

    The kernels are frames, one for each node of `grid`.
    """
    axes = [a for a in range(3) if kernels.shape[a] > 1 or a > 0]
    unit = "px" if kernels.pixel_size is None else "µm"
    yield "field", f"kernels at {_by(grid)} nodes (z, y, x); what follows is of their mean"
    every = [full_widths(kernels, t=t) for t in range(kernels.array.shape[0])]
    for a in axes:
        widths = [w for one in every if (w := one[a]) is not None]
        if widths:
            text = f"{_wide([min(widths)])} to {_wide([max(widths)])}"
            yield f"full widths along {'zyx'[a]}", f"{text} {unit}, over the nodes"
    for name, values in maps.items():
        yield name.replace("_", " "), f"{values.min():.4g} to {values.max():.4g}, over the nodes"


def of_beads(report: BeadReport, c: int | None = None) -> Rows:
    """Say how many beads were used and what their average is like."""
    yield "beads" if c is None else f"beads, channel {c}", report.sentence()
    axes = [a for a in range(3) if report.fwhm[a] is not None]
    names = ", ".join("zyx"[a] for a in axes)
    yield "kernel", f"{_by(report.shape)} voxels (z, y, x)"
    yield "full width at half", f"{_wide(report.fwhm[a] for a in axes)} µm ({names})"
    if report.spread is not None:
        pairs = [f"{_by([report.own[a]])} ± {report.spread[a]:.2g}" for a in axes]
        yield "widths of the beads", f"{', '.join(pairs)} µm"
    for note in report.notes:
        yield "note", note


def of_search(kernel: Kernel) -> Rows:
    """Say where kernels were found: voxels of the stack, z, y, x."""
    reports = kernel.report.get("channels", [kernel.report])
    for c, report in enumerate(reports):
        of = f" channel {c}" if len(reports) > 1 else ""
        yield from _of_verdict(report, of)
        for region in report.get("samples", []):
            place = ", ".join(f"{start}:{stop}" for start, stop in region)
            yield "found in" + of, place


def of_field(field: KernelField, c: int | None = None) -> str:
    """Say in a sentence which field was found: its family, or else how wide its kernels are."""
    of = "" if c is None else f" of channel {c}"
    report, unit = field.report, "px" if field.pixel_size is None else "µm"
    if not {"family", "parameter", "range", "constant"} <= report.keys():
        typical = field.typical()
        wide = _wide(full_widths(typical)[0 if typical.shape[0] > 1 else 1 :])
        return f"kernels{of}: they vary; the mean is {wide} {unit} wide at half"
    (low, high), one = report["range"], report["constant"]
    found = f"kernels{of}: {report['family']}, {report['parameter']}"
    if low == high:
        return f"{found} {one:.4g} {unit} everywhere: no field predicts held-out light better"
    return (
        f"{found} {low:.4g} to {high:.4g} {unit} over the field, which predicts held-out light "
        f"better than {one:.4g} {unit} everywhere"
    )


def of_report(kernel: Kernel) -> Rows:
    """Say where a kernel comes from, as far as its file tells."""
    report = kernel.report
    if isinstance(report.get("psf"), str):
        numbers = [
            f"{name.replace('_', ' ')} {_number(value)}"
            for name, value in report.items()
            if isinstance(value, int | float) or (isinstance(value, list) and len(value) <= FEW)
            if name not in ("left_out", "axial_at_the_ends")
        ]
        yield "psf", f"{report['psf']}: {', '.join(numbers)}"
    if isinstance(report.get("left_out"), int | float):
        yield "light left out", f"{report['left_out']:.2%}"
    yield from _of_verdict(report, "")


def _of_verdict(report: Mapping[str, Any], of: str) -> Rows:
    if "verdict" in report:
        numbers = ", ".join(f"{n} {v:.4g}" for n, v in report["parameters"].items())
        yield "family" + of, f"{report['family']}: {numbers}"
        yield "verdict" + of, f"{report['verdict']}: {report['why']}"
    elif "doubt" in report:
        why = report["doubt"]
        said = f"doubtful: {why}" if why else "believe: no sign speaks against it"
        yield "verdict" + of, said
    elif "judged" in report:
        yield "verdict" + of, "{verdict}: {why}".format(**report["judged"])


def of_result(result: Result) -> Rows:
    """Say what a result of ours is."""
    yield "result", str(result.path)
    failed = f", {len(result.failed)} tiles failed" if result.failed else ""
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
