"""Which pieces of a stack are looked at before a run: bounded, whatever the size of the stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_deblur.protocols import Facts, Sample
from napari_deblur.restoring import as_counts
from napari_deblur.stack import complete_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Blur
    from napari_deblur.stack import Pixels, Stack
    from napari_deblur.tiles import Box

    Blurs = Callable[[Box], Blur]

__all__ = [
    "Look",
    "best",
    "brightness",
    "by_depth",
    "enlarged",
    "in_linear_light",
    "look",
    "luma_of",
    "piece",
    "sample",
    "spread",
    "wide",
]

# To find the places to look at: in all, whatever the number of frames, channels and planes. As
# many again may be read to compare the brightness of frames.
MOST_PLANES = 64
# Of one channel, read as volumes.
MOST_SAMPLES = 8
SIDE = 144
DEPTH, SOLID_SIDE = 48, 128
# A sample is four kernels wide at least. A kernel wider than this is found in whole planes, where
# what lies within the kernel's reach counts; of larger planes only so much is taken.
ROOM, HUGE, MOST_SIDE = 4, 64, 2048
# For a blur that varies: a plane up to this side is looked at whole, a larger one in so many parts
# along y and x; of volumes so many columns (along y and x) of these planes and sides.
WHOLE, PARTS = 512, 5
COLUMNS, COLUMN, COLUMN_SIDE = 1, 64, 64


@dataclass(frozen=True, eq=False)
class Look:
    """The planes that were looked at in one channel, best first.

    `places` are (time, box) with a box one plane thick; `planes` what was read there.
    """

    places: tuple[tuple[int, Box], ...]
    planes: tuple[NDArray[Any], ...]


def look(stack: Stack, c: int, *, solid: bool) -> Look:
    """Read a few planes of channel `c` all over the stack and rank them by their detail.

    Parameters
    ----------
    solid : bool
        Whether the kernel has several planes: samples are then smaller across.
    """
    frames, channels, nz, ny, nx = stack.shape
    most = max(MOST_PLANES // channels, 6)
    side = SOLID_SIDE if solid else SIDE
    times = sorted({0, frames // 2, frames - 1})
    depths = _spread(nz, 1, max(1, min(5, most // (2 * len(times)))))
    across = max(1, most // (len(times) * len(depths)))
    rows = max(1, round(np.sqrt(across * ny / nx)))
    ys = _spread(ny, side, min(rows, across), stack.pixels.chunks[1])
    xs = _spread(nx, side, max(1, across // len(ys)), stack.pixels.chunks[2])
    places = [(t, (z, y, x)) for t in times for z in depths for y in ys for x in xs][:most]
    planes = [stack.read(t, c, box) for t, box in places]
    order = sorted(range(len(planes)), key=lambda i: -_detail(planes[i]))
    return Look(tuple(places[i] for i in order), tuple(planes[i] for i in order))


def sample(
    stack: Stack, c: int, place: tuple[int, Box], facts: Facts, blurs: Blurs | None, *, solid: bool
) -> Sample:
    """Read the piece of the stack around a place: a plane, or a volume for a solid kernel."""
    t, (z, y, x) = place
    depth = min(DEPTH, stack.shape[2]) if solid else 1
    return piece(stack, c, (t, (enlarged(z, depth, stack.shape[2]), y, x)), facts, blurs)


def wide(
    stack: Stack,
    seen: Look,
    shape: tuple[int, int, int],
    *,
    times: Sequence[int] | None = None,
    most: int,
) -> list[tuple[int, Box]]:
    """Take the best places, as `best` does, but wide enough for a kernel of this shape.

    Planes of at most 144² are grown to four kernels along y and x, as far as the stack allows. For
    a kernel wider than 64 px one plane is taken whole, up to 2048² px around the best place.
    Volumes, for kernels of several planes, stay as they are.
    """
    if shape[0] > 1:
        return best(seen, times=times, most=most)
    ny, nx = stack.shape[3:]
    taken: list[tuple[int, Box]] = []
    huge = max(shape[1:]) > HUGE
    for t, (z, y, x) in seen.places:
        if times is not None and t not in times:
            continue
        sides = [
            MOST_SIDE if huge else max(ROOM * n, span[1] - span[0])
            for n, span in zip(shape[1:], (y, x), strict=True)
        ]
        box = (z, enlarged(y, sides[0], ny), enlarged(x, sides[1], nx))
        if not any(t == other and _overlap(box, place) for other, place in taken):
            taken.append((t, box))
        if len(taken) == (1 if huge else most):
            break
    return taken


def piece(
    stack: Stack, c: int, place: tuple[int, Box], facts: Facts, blurs: Blurs | None = None
) -> Sample:
    """Read a place as it is; `blurs` gives the blur of a box."""
    t, box = place
    counts = as_counts(stack.read(t, c, box), facts)
    blur = None if blurs is None else blurs(box)
    return Sample(counts, box, t, c, blur, facts, complete_size(stack.pixel_size))


def spread(stack: Stack, seen: Look, *, solid: bool) -> list[tuple[int, Box]]:
    """Choose places all over the field, to see how a blur varies: the best of each part.

    A plane of at most 512² is taken whole. Of a larger one the most detailed place in each of
    5 × 5 parts. Where the kernel has several planes, the best column through all of them, or pieces
    of 64 planes along it, at most three.
    """
    nz, ny, nx = stack.shape[2:]
    if not solid and max(ny, nx) <= WHOLE:
        t, (z, _, _) = seen.places[0]
        return [(t, (z, (0, ny), (0, nx)))]
    parts = COLUMNS if solid else PARTS
    best: dict[tuple[int, int], tuple[int, Box]] = {}
    for t, (z, y, x) in seen.places:
        cell = (sum(y) * parts // (2 * ny), sum(x) * parts // (2 * nx))
        best.setdefault(cell, (t, (z, y, x)))
    found = list(best.values())
    if not solid:
        return found
    depth = min(nz, COLUMN)
    count = min(3, -(-nz // depth))
    starts = np.linspace(0, nz - depth, count).round().astype(int)
    return [
        (t, ((int(z), int(z) + depth), enlarged(y, COLUMN_SIDE, ny), enlarged(x, COLUMN_SIDE, nx)))
        for t, (_, y, x) in found
        for z in starts
    ]


def best(seen: Look, *, times: Sequence[int] | None = None, most: int) -> list[tuple[int, Box]]:
    """Take the best places, no two of which overlap; of some frames only, if wanted."""
    taken: list[tuple[int, Box]] = []
    for t, box in seen.places:
        if times is not None and t not in times:
            continue
        if not any(t == other and _overlap(box, place) for other, place in taken):
            taken.append((t, box))
        if len(taken) == most:
            break
    return taken


def _overlap(one: Box, other: Box) -> bool:
    """Tell whether two boxes overlap across; their planes are widened to volumes anyway."""
    return all(a < d and c < b for (a, b), (c, d) in zip(one[1:], other[1:], strict=True))


def enlarged(span: tuple[int, int], length: int, size: int) -> tuple[int, int]:
    """Grow or shrink a span to `length` around its middle, inside 0…size."""
    length = min(length, size)
    start = min(max((span[0] + span[1] - length) // 2, 0), size - length)
    return start, start + length


def by_depth(stack: Stack, seen: Look, side: int, most: int) -> list[tuple[int, Box]]:
    """Choose the best places, at most so many, of each depth that was looked at.

    They are grown to planes of `side`, as far as the stack allows, that don't overlap.
    """
    ny, nx = stack.shape[3:]
    taken: dict[int, list[tuple[int, Box]]] = {}
    for t, (z, y, x) in seen.places:
        box = (z, enlarged(y, side, ny), enlarged(x, side, nx))
        others = taken.setdefault(z[0], [])
        if len(others) < most and not any(_overlap(box, place) for _, place in others):
            others.append((t, box))
    return [place for z in sorted(taken) for place in taken[z]]


def _spread(size: int, length: int, count: int, chunk: int = 1) -> list[tuple[int, int]]:
    """Spread `count` spans of `length` over an axis, beginning at chunks where that is possible."""
    length = min(length, size)
    count = min(count, max(1, size // length))
    spans = set()
    for i in range(count):
        start = round((size - length) * (i + 0.5) / count)
        if chunk <= length:
            start = min(start // chunk * chunk, size - length)
        spans.add((start, start + length))
    return sorted(spans)


def _detail(plane: NDArray[Any]) -> float:
    """Give the mean squared gradient of a plane binned 2 × 2, which halves the noise's share."""
    counts: NDArray[Any] = plane.astype(np.float32).reshape(plane.shape[-2:])
    counts = np.where(np.isfinite(counts), counts, np.nan)
    if min(counts.shape) >= 4:
        even = counts[: counts.shape[0] // 2 * 2, : counts.shape[1] // 2 * 2]
        counts = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    total = 0.0
    for axis in (0, 1):
        if counts.shape[axis] > 1:
            steps = np.diff(counts, axis=axis)
            steps = steps[np.isfinite(steps)]
            total += float(np.square(steps, dtype=np.float64).mean()) if steps.size else 0.0
    return total


def brightness(stack: Stack, c: int, seen: Look, facts: Facts) -> tuple[float, ...]:
    """Give a factor of mean brightness for each frame of a channel, or nothing for one frame.

    Of at most 64 frames (in all channels together) the plane with the most detail is looked at;
    frames between are interpolated. Frames with hardly any light keep the factor 1.
    """
    frames = stack.shape[0]
    if frames == 1:
        return ()
    most = max(2, MOST_PLANES // stack.shape[1])
    times = np.unique(np.linspace(0, frames - 1, min(frames, most)).round().astype(int))
    box = seen.places[0][1]
    background, noise = facts.background or 0.0, facts.noise or 0.0
    means = []
    for t in times:
        counts = as_counts(stack.read(int(t), c, box), facts)
        known = counts[counts.isfinite()]
        means.append(float(known.mean()) - background if known.numel() else 0.0)
    signal = np.array(means)
    typical = float(np.median(signal))
    if typical <= max(noise / 10, 1e-12):
        return (1.0,) * frames
    factors = np.where(signal > 0.05 * typical, signal / typical, 1.0)
    every = np.interp(np.arange(frames), times, factors)
    return tuple(float(f"{v:.6g}") for v in every)


def in_linear_light(stack: Stack, gamma: str) -> Stack:
    """Give a stack whose numbers are light, lazily: what tiles see if `gamma` is "srgb"."""
    if gamma == "linear":
        return stack
    return replace(stack, pixels=cast("Pixels", _Linear(stack.pixels, gamma)), source=None)


class _Linear:
    """Reads pixels and undoes their curve."""

    def __init__(self, pixels: Pixels, gamma: str) -> None:
        self.pixels, self.gamma = pixels, gamma
        self.shape, self.chunks, self.dtype = pixels.shape, pixels.chunks, np.dtype("f4")

    def read(self, t: int, c: int, region: Box | None = None) -> NDArray[Any]:
        from napari_deblur.restoring import linear_light

        counts = self.pixels.read(t, c, region).astype(np.float32)
        return linear_light(counts, self.gamma, self.pixels.dtype.name)


def luma_of(stack: Stack, gamma: str) -> Stack:
    """Give the luminance of a picture in colour as a stack of one channel, lazily.

    Weights of ITU-R BT.709, in linear light if `gamma` is "srgb".
    """
    return replace(
        stack,
        pixels=cast("Pixels", _Luma(stack.pixels, gamma)),
        axes=stack.axes.replace("c", ""),
        channels=stack.channels[:1],
        rgb=False,
        source=None,
    )


class _Luma:
    """Reads three colours and gives their luminance."""

    def __init__(self, pixels: Pixels, gamma: str) -> None:
        frames, _, z, y, x = pixels.shape
        self.pixels, self.gamma = pixels, gamma
        self.shape, self.chunks, self.dtype = (frames, 1, z, y, x), pixels.chunks, np.dtype("f4")

    def read(self, t: int, c: int, region: Box | None = None) -> NDArray[Any]:
        from napari_deblur.restoring import linear_light

        colours = [self.pixels.read(t, i, region) for i in range(3)]
        light = [
            linear_light(colour.astype(np.float32), self.gamma, self.pixels.dtype.name)
            for colour in colours
        ]
        luma: NDArray[Any] = np.float32(0.2126) * light[0] + np.float32(0.7152) * light[1]
        return luma + np.float32(0.0722) * light[2]
