"""One picture of a result: before, after, the kernel, and what is left unexplained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import describing
from napari_deblur.opening import reopen
from napari_deblur.pictures import DIM, FIXED, GLOW, SIGNED, Box, Page, Picture, wrapped
from napari_deblur.results import Result, open_result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.places import Remote
    from napari_deblur.stack import Stack

__all__ = ["write_report"]

# What is looked at, at most: enough for a page, and little to read from a stack of any size.
MOST = (64, 512, 512)
# Of the values, from which on everything is white: single bright voxels don't count.
WHITE = 99.8
MARGIN, GAP, COLUMN = 36, 28, 520
HEAD, LINE, SMALL = 118, 24, 16  # above all with one line of settings, each more, their letters
STEP, INSET = 46, 380  # between panels, with a heading; height of the part that is enlarged


@dataclass(frozen=True, eq=False)
class Seen:
    """The same voxels before and after, in counts: (z, y, x), or (z, y, x, 3) in colour."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    region: tuple[tuple[int, int], ...]
    plane: int


def write_report(store: str | Path | Remote, png: str | Path, stack: Stack | None = None) -> None:
    """Draw a finished result as a PNG; of frame 0 and channel 0, or of a picture's colours.

    Parameters
    ----------
    store : path of a result
    png : path of the picture, which is replaced
    stack : Stack or None
        The input; None opens what the plan names.

    Raises
    ------
    FileNotFoundError, ValueError
        When the result or its input cannot be read.
    """
    result = open_result(store)
    plan = result.plan
    if stack is None:
        if plan.source is None:
            raise ValueError(f"the input of {store} lived in memory: pass it as stack=")
        stack = reopen(plan.source)
    seen = _look(result, stack)
    pixel = result.pixel_size or (None, None, None)
    size = [p or 1.0 for p in pixel]
    unit = "µm" if pixel[1] and pixel[2] else "px"
    solid = seen.before.shape[0] > 1

    mark = _busiest(seen.after[seen.plane])
    across = Picture(seen.before[seen.plane], (0, 1), (size[1], size[2]), unit).aspect
    along = seen.before.shape[0] * size[0] / (seen.before.shape[2] * size[2])
    heights = [round(min(COLUMN, COLUMN * across))]
    heights += [round(min(320, max(60, COLUMN * along)))] if solid else []
    heights += [INSET]
    inner = 3 * COLUMN + 2 * GAP
    lines = wrapped(_settings(result), inner, size=SMALL)
    head = HEAD + LINE * (len(lines) - 1)
    page = Page(2 * MARGIN + inner, head + sum(heights) + STEP * len(heights) + 20)
    _words(page, result, seen, lines)
    for n, (name, image) in enumerate((("before", seen.before), ("after", seen.after))):
        left = MARGIN + n * (COLUMN + GAP)
        limits = _limits(image, plan.channels[0].facts.background)
        aside = f"{limits[0]:.3g} – {limits[1]:.3g} counts"
        boxes = _column(left, head, heights)
        flat = image[seen.plane]
        y0, y1, x0, x1 = mark
        page.heading(boxes[0], f"{name}{', xy' if solid else ''}", aside)
        page.picture(boxes[0], Picture(flat, limits, (size[1], size[2]), unit, mark=mark))
        if solid:
            cut = image[:, (y0 + y1) // 2]
            page.heading(boxes[1], f"{name}, xz", "through the middle of the frame")
            page.picture(boxes[1], Picture(cut, limits, (size[0], size[2]), unit))
        page.heading(boxes[-1], f"{name}, the frame", aside)
        inset = flat[y0:y1, x0:x1]
        page.picture(boxes[-1], Picture(inset, limits, (size[1], size[2]), unit))
    _third(page, result, seen, MARGIN + 2 * (COLUMN + GAP), head)
    page.image.save(png, "PNG", optimize=True)


def _column(left: int, head: int, heights: list[int]) -> list[Box]:
    boxes, top = [], head + STEP
    for height in heights:
        boxes.append(Box(left, top, COLUMN, height))
        top += height + STEP
    return boxes


def _look(result: Result, stack: Stack) -> Seen:
    """Read a box from the middle of the stack, and choose its plane of most contrast."""
    sizes = stack.shape[2:]
    starts = [max(0, (n - m) // 2) for n, m in zip(sizes, MOST, strict=True)]
    z, y, x = ((s, min(s + m, n)) for s, m, n in zip(starts, MOST, sizes, strict=True))
    colours = range(3) if stack.rgb else range(1)
    before = np.stack([stack.read(0, c, (z, y, x)) for c in colours], axis=-1).astype(np.float32)
    where: dict[str, Any] = dict(zip("zyx", (slice(*span) for span in (z, y, x)), strict=True))
    after = []
    for c in colours:
        spans = where | {"t": 0, "c": c}
        block = result.counts(result.levels[0][tuple(spans[axis] for axis in result.axes)])
        after.append(block.reshape(before.shape[:3]))
    deep = np.nanstd(np.where(np.isfinite(before), before, np.nan), axis=(1, 2, 3))
    stacked = np.stack(after, axis=-1)
    if not stack.rgb:
        before, stacked = before[..., 0], stacked[..., 0]
    return Seen(before, stacked, (z, y, x), int(np.nanargmax(deep)))


def _limits(image: NDArray[np.float32], background: float | None) -> tuple[float, float]:
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    low = max(float(background or 0), float(np.percentile(values, 0.1)))
    return low, max(float(np.percentile(values, WHITE)), low + 1e-6)


def _busiest(plane: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Find the part, a third as long and wide, that has most contrast."""
    grey = np.nan_to_num(plane if plane.ndim == 2 else plane.mean(axis=-1))
    grey = np.minimum(grey, np.percentile(grey, WHITE))
    tall = max(grey.shape[0] // 3, min(grey.shape[0], 24))
    wide = min(grey.shape[1], round(tall * COLUMN / INSET))
    best, place = -1.0, (0, 0)
    for y in range(0, grey.shape[0] - tall + 1, max(1, tall // 4)):
        for x in range(0, grey.shape[1] - wide + 1, max(1, wide // 4)):
            contrast = float(grey[y : y + tall, x : x + wide].std())
            if contrast > best:
                best, place = contrast, (y, x)
    return place[0], place[0] + tall, place[1], place[1] + wide


def _settings(result: Result) -> str:
    """Say what was done."""
    plan = result.plan
    rows = dict(describing.of_plan(plan))
    method = describing.of_method(plan.channels[0]).split(", background")[0]
    # As everything here, of channel 0.
    found = plan.kernel.report.get("channels", [plan.kernel.report])[0]
    if "method" in found or plan.finds_kernels:
        method = f"{found.get('method', 'blind')}, then {method}"
    how = "found in the image" if "method" in found else "given"
    if plan.finds_kernels:
        how = "found in each tile"
    widths = rows.get("  width") or rows.get("kernel", "")
    tiles = f"{len(plan)} tile{'s' if len(plan) > 1 else ''}, {rows['device'].split(',')[0]}"
    kernel = f"kernel {how}, {widths.split(';')[0].rstrip(') ')}) wide"
    # A line ends between parts, or within the method's numbers.
    parts = [method, *(part.replace(" ", FIXED) for part in (kernel, tiles))]
    return f"{FIXED}{FIXED}·{FIXED} ".join(parts)


def _words(page: Page, result: Result, seen: Seen, settings: list[str]) -> None:
    """Write what was done, above everything."""
    layout = result.plan.layout
    shape = " × ".join(
        f"{axis} {n}" for axis, n in zip("tczyx", layout.shape, strict=True) if axis in layout.axes
    )
    page.words(MARGIN, 30, layout.name, size=30)
    page.words(page.image.width - MARGIN, 36, "napari-deblur", size=18, fill=DIM, at="ra")
    (start, stop), *flat = seen.region
    shown = ", ".join(f"{a} {s}:{e}" for a, (s, e) in zip("yx", flat, strict=True))
    place = f"z {start + seen.plane} of {start}:{stop}, " if stop - start > 1 else ""
    seen_of = f"{shape}, {layout.dtype}  ·  shown: {place}{shown}"
    for n, line in enumerate([*settings, seen_of]):
        page.words(MARGIN, 76 + LINE * n, line, size=SMALL, fill=DIM)


def _third(page: Page, result: Result, seen: Seen, left: int, head: int) -> None:
    """Draw the third column: kernel, residuals, and the residual image."""
    kernel = _kernel_at(result, seen)
    size = [p or 1.0 for p in result.kernel_pixel_size or (1.0, 1.0, 1.0)]
    unit = "µm" if result.kernel_pixel_size else "px"
    solid = kernel.shape[0] > 1
    top, side, bottom = head + STEP, (COLUMN - GAP) // 2, page.image.height
    views = [("kernel, xy", kernel[kernel.shape[0] // 2], size[1])]
    if solid:
        views.append(("kernel, xz", kernel[:, kernel.shape[1] // 2], size[0]))
    for n, (name, values, height) in enumerate(views):
        box = Box(left + n * (side + GAP), top, side if solid else COLUMN, side)
        page.heading(box, name, "√ brightness" if n == len(views) - 1 else "")
        peak = (0.0, float(kernel.max()))
        page.picture(box, Picture(values, peak, (height, size[2]), unit, GLOW, power=0.5))
    curves = _curves(result)
    rest = bottom - (top + side + STEP) - MARGIN // 2
    box = Box(left, top + side + STEP, COLUMN, min(220, rest // 3))
    page.heading(box, "residual by iteration", "RMS, of the first" if curves else "not recorded")
    if curves:
        page.curves(box, curves)
    difference = _unexplained(result, seen, kernel)
    lowest = box.top + box.height + STEP
    page.heading(Box(left, lowest, COLUMN, 0), "before – blurred after, over √ signal", "± 4 SD")
    spread = float(np.nanstd(difference)) or 1.0
    pixel = [p or 1.0 for p in result.pixel_size or (1.0, 1.0, 1.0)]
    limits = (-4 * spread, 4 * spread)
    picture = Picture(difference, limits, (pixel[1], pixel[2]), "", SIGNED)
    height = min(bottom - lowest - 20, round(COLUMN * picture.aspect))
    page.picture(Box(left, lowest, COLUMN, max(height, 1)), picture)


def _kernel_at(result: Result, seen: Seen) -> NDArray[np.float32]:
    """Give the kernel of the middle of what is seen, (z, y, x)."""
    plan = result.plan
    if (varying := plan.field(0)) is not None:
        middle = [(start + stop - 1) / 2 for start, stop in seen.region]
        return np.asarray(varying.kernel_at(middle), np.float32)
    if not plan.finds_kernels:
        return plan.kernel.at(0, 0)
    nodes = [
        min(((start + stop) // 2) // core, count - 1)
        for (start, stop), core, count in zip(
            seen.region, plan.grid.core, plan.grid.counts[2:], strict=True
        )
    ]
    z, y, x = (slice(n * k, (n + 1) * k) for n, k in zip(nodes, plan.kernel.shape, strict=True))
    return np.asarray(result.kernels[0, 0, z, y, x], np.float32)


def _curves(result: Result) -> dict[str, NDArray[np.float64]]:
    """Give root mean squares by iteration: of the restoration, and of the search for a kernel."""
    curves = {}
    if result.residuals is not None:
        count = min(8, result.residuals.shape[2])  # the first tiles of many
        block = np.asarray(result.residuals[0, 0, :count], np.float64)
        flat = block.reshape(-1, block.shape[-1])
        known = np.isfinite(flat).any(axis=0)
        if known.any():
            curves["image"] = np.sqrt(np.nanmean(flat[:, known], axis=0))
    report = result.plan.kernel.report
    report = report.get("channels", [report])[0]
    if report.get("residuals"):
        curves["search for the kernel"] = np.sqrt(np.asarray(report["residuals"], np.float64))
    return curves


def _unexplained(result: Result, seen: Seen, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur the result again and compare it with the input, over the square root of the signal."""
    from scipy.signal import oaconvolve

    from napari_deblur.restoring import linear_light

    plan = result.plan
    facts = plan.channels[0].facts
    light = [linear_light(v, plan.gamma, plan.layout.dtype) for v in (seen.before, seen.after)]
    before, after = (v.mean(axis=-1) if v.ndim == 4 else v for v in light)
    background = facts.background or 0.0
    sharp = after - (background if plan.keep_background else 0.0)
    sharp = np.nan_to_num(sharp)
    depth, tall, wide = kernel.shape
    blurred = np.zeros(sharp.shape[1:], np.float32)
    sides = ((tall // 2, tall // 2), (wide // 2, wide // 2))
    for k in range(depth):
        z = min(max(seen.plane - (k - depth // 2), 0), sharp.shape[0] - 1)
        padded = np.pad(sharp[z], sides, mode="edge")
        whole = oaconvolve(padded, kernel[k], mode="full")
        y, x = 2 * (tall // 2), 2 * (wide // 2)
        blurred += whole[y : y + blurred.shape[0], x : x + blurred.shape[1]]
    peak = (facts.white or float(blurred.max())) - background
    signal = np.sqrt(np.maximum(blurred, 0.02 * max(peak, 1e-6)))
    difference: NDArray[np.float32] = (before[seen.plane] - background - blurred) / signal
    return difference
