"""Kernels, fields and beads in a few lines, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.kernel_measures import full_widths
from napari_deblur.kernel_verdicts import NOTHING, sentence_of_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.beads import BeadReport
    from napari_deblur.kernel_measures import Measures
    from napari_deblur.protocols import Kernel, KernelField

__all__ = [
    "by", "number", "of_beads", "of_field", "of_kernel", "of_measures", "of_nodes", "of_report",
    "of_search",
]  # fmt: skip

Rows = Iterator[tuple[str, str]]
# Light of the last plane, of that of the brightest, that tells of a kernel cut along z.
CUT = 0.05
# Of a long tuple as many are shown.
FEW = 3


def by(values: Any, separator: str = " × ") -> str:
    """Say numbers as lengths: ``3 × 4``; a question mark for what is not known."""
    return separator.join("?" if v is None else f"{v:.4g}" for v in values)


def _wide(widths: Iterable[float | None]) -> str:
    """Write full widths at half of the peak; a kernel that doesn't fall to half of it has none."""
    return " × ".join("wider than the kernel" if w == inf else by([w]) for w in widths)


def _widths(widths: tuple[float | None, ...], axes: Iterable[int], unit: str) -> str:
    """Write the widths along some axes, and their unit; a kernel of one voxel has none."""
    if all(width is None for width in widths):
        return "none: it is a single point"
    return f"{_wide(widths[a] for a in axes)} {unit}"


def number(value: Any) -> str:
    """Say a number, or the first few of several."""
    if isinstance(value, tuple | list):
        shown = ", ".join(map(number, value[:FEW]))
        return f"({shown}{f', … {len(value)} in all' if len(value) > FEW else ''})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def of_kernel(kernel: Kernel) -> Rows:
    """Say how large kernels are, how wide, and where their centres of mass lie."""
    last = kernel.array.shape[0] - 1
    for t, c in np.ndindex(kernel.array.shape[:2]):
        if t not in (0, last):
            if (t, c) == (1, 0):
                yield "…", f"and those of frame{f's 1 to {last - 1}' if last > 2 else ' 1'}"
            continue
        several = kernel.array.shape[0] * kernel.array.shape[1] > 1
        label = f"kernel t {t}, c {c}" if several else "kernel"
        axes = range(3) if kernel.shape[0] > 1 else range(1, 3)
        names = ", ".join("zyx"[a] for a in axes)
        unit = "px" if kernel.pixel_size is None else "µm"
        wide = full_widths(kernel, t=t, c=c)
        centre = kernel.centroid(t, c)
        yield label, f"{by(kernel.shape)} voxels (z, y, x)"
        yield "  full width at half", _widths(wide, axes, f"{unit} ({names})")
        yield "  centre", f"{', '.join(f'{centre[a]:+.2f}' for a in axes)} px off the middle"


def of_measures(found: Measures, pixel_size: tuple[float, float, float] | None) -> Rows:
    """Say what was measured on a kernel."""
    axes = [a for a in range(3) if found.shape[a] > 1 or a > 0]
    names, unit = ", ".join("zyx"[a] for a in axes), found.unit
    even = any(n % 2 == 0 for n in found.shape)
    rule = "; the middle of an even length n is voxel n // 2, from 0" if even else ""
    yield "kernel", f"{by(found.shape)} voxels (z, y, x){rule}"
    known = "not stated: lengths are in pixels"
    yield "voxel size", known if pixel_size is None else f"{by(pixel_size)} µm (z, y, x)"
    yield "full width at half", _widths(found.fwhm, axes, f"{unit} ({names})")
    # Beyond rounding errors, and without a sign where there is nothing to say.
    centre = ", ".join(f"{round(found.centroid[a], 9) + 0.0:+.3g}" for a in axes)
    yield "centre of mass", f"{centre} {unit} off the middle ({names})"
    yield (
        "light in focus",
        f"50 % within {found.radius_50:.3g} {unit}, 90 % within {found.radius_90:.3g} {unit}",
    )
    odd = [found.asymmetry[a] for a in axes]
    if found.shape != (1, 1, 1):
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
    if grid == (1, 1, 1):
        yield "field", "one kernel, the same everywhere"
        return
    yield "field", f"kernels at {by(grid)} nodes (z, y, x); what follows is of their mean"
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
    yield "kernel", f"{by(report.shape)} voxels (z, y, x)"
    yield "full width at half", f"{_wide(report.fwhm[a] for a in axes)} µm ({names})"
    if report.spread is not None:
        pairs = [f"{by([report.own[a]])} ± {report.spread[a]:.2g}" for a in axes]
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
    if "one_of" in report:
        places = [f"{what} {n} of {count}, from 0" for what, (n, count) in report["one_of"].items()]
        yield "of the file", "; ".join(places)
    if isinstance(report.get("psf"), str):
        numbers = [
            f"{name.replace('_', ' ')} {number(value)}"
            for name, value in report.items()
            if isinstance(value, int | float) or (isinstance(value, list) and len(value) <= FEW)
            if name not in ("left_out", "axial_at_the_ends")
        ]
        yield "psf", f"{report['psf']}: {', '.join(numbers)}"
    if isinstance(report.get("left_out"), int | float):
        yield "light left out", f"{report['left_out']:.2%}"
    yield from _of_verdict(report, "")


def _of_verdict(report: Mapping[str, Any], of: str) -> Rows:
    if "frames" in report:
        yield "verdict" + of, sentence_of_frames(report["frames"], "")
    elif "verdict" in report:
        if report["verdict"] != NOTHING and {"family", "parameters"} <= report.keys():
            numbers = ", ".join(f"{n} {v:.4g}" for n, v in report["parameters"].items())
            yield "family" + of, f"{report['family']}: {numbers}"
        yield "verdict" + of, f"{report['verdict']}: {report['why']}"
    elif "doubt" in report:
        why = report["doubt"]
        said = f"doubtful: {why}" if why else "believe: no sign speaks against it"
        yield "verdict" + of, said
    elif "judged" in report:
        yield "verdict" + of, "{verdict}: {why}".format(**report["judged"])
