"""What is learned from, and how: the form of the widget Train, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from napari_deblur.stack import Region, Stack

__all__ = ["Lesson", "Teaching"]

# Pixels along each axis of a piece, at least, and pieces of all layers together, at most.
PIECE, MOST = 512, 240


@dataclass(frozen=True)
class Teaching:
    """How a network is trained on layers.

    Parameters
    ----------
    configuration : "light" or "tiny"
        How large the network is: tiny takes a quarter less time, its images are less good.
    side : int
        Pixels along each axis of the images that are shown to the network, a multiple of 8.
    kernel : int
        Pixels along each axis of the largest kernels, odd.
    batch : int
        Images that are shown at a time.
    rate : float
        Of learning: with more it learns faster, or not at all.
    photons_least, photons_most : float
        Photons per bright pixel, as of the images that are to be restored later.
    made : float
        Share of objects that are made up beside yours: with more the network stays more versatile.
    objects, kernels : int
        How many objects and kernels are made before the training begins.
    validate_every : int
        Iterations between looks at what is held back.
    seed : int
        Of all that is drawn by chance.
    """

    configuration: Literal["light", "tiny"] = "light"
    side: Annotated[int, {"min": 32, "max": 512, "step": 8}] = 96
    kernel: Annotated[int, {"min": 5, "max": 63, "step": 2}] = 31
    batch: Annotated[int, {"min": 1, "max": 64}] = 4
    rate: Annotated[float, {"min": 1e-6, "max": 0.01, "step": 1e-4}] = 0.0003
    photons_least: Annotated[float, {"min": 1, "max": 1e6, "label": "photons from"}] = 30.0
    photons_most: Annotated[float, {"min": 1, "max": 1e6, "label": "photons to"}] = 5000.0
    made: Annotated[float, {"min": 0, "max": 1, "step": 0.05}] = 0.3
    objects: Annotated[int, {"min": 4, "max": 10_000}] = 200
    kernels: Annotated[int, {"min": 8, "max": 20_000, "label": "kernels made"}] = 800
    validate_every: Annotated[int, {"min": 1, "max": 10_000}] = 100
    seed: Annotated[int, {"min": 0, "max": 10_000}] = 1

    def __post_init__(self) -> None:
        if self.side % 8 or self.kernel % 2 == 0:
            raise ValueError(
                f"side is {self.side} and kernel is {self.kernel}: take a multiple of 8 and an odd "
                "number"
            )
        if self.kernel > self.side // 2:
            raise ValueError(
                f"kernels of {self.kernel} px are too large for images of {self.side} px: take at "
                f"most {self.side // 2}, or larger images"
            )
        if self.photons_least >= self.photons_most:
            raise ValueError("photons from must be below photons to")

    @property
    def smallest(self) -> int:
        """Pixels along each axis that a sharp image needs at least."""
        return self.side + self.kernel - 1

    def settings(self, iterations: int, *, begun: bool) -> dict[str, Any]:
        """Give the settings of `gdunet.schedule.Settings`; easy cases first if nothing is known."""
        small = max(5, int(0.7 * self.kernel) // 2 * 2 + 1)
        # On top of the packaged stages, as they were trained.
        larger = {"learned": "dense", "decibels": True}
        return {
            "configuration": self.configuration,
            **(larger if begun and self.configuration == "light" else {}),
            "iterations": iterations,
            "batch": self.batch,
            "sizes": [[self.side, self.kernel], [self.side, small]],
            "rate": self.rate,
            "warm_up": max(1, min(200, iterations // 10)),
            "decay": max(1, iterations // 5),
            "curriculum": 0 if begun else min(2500, iterations // 4),
            "made": self.made,
            "objects": self.objects,
            "kernels": self.kernels,
            "photons": [self.photons_least, self.photons_most],
            "log_every": max(1, min(10, self.validate_every // 2)),
            "validate_every": self.validate_every,
            "checkpoint_minutes": 2.0,
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned from.

    Parameters
    ----------
    sharp : sequence of Stack
    blurred : sequence of Stack
        One for each of `sharp`, of the same place; or none.
    optics : {"na", "wavelength", "pixel_size"}, lengths in µm, or None
        Of the lens whose blur is to be undone later.
    start : str
        Weights to begin with: "packaged" for those of the network's size; "" for none.
    iterations : int
    teaching : Teaching
    """

    sharp: Sequence[Stack]
    blurred: Sequence[Stack] = ()
    optics: dict[str, float] | None = None
    start: Literal["packaged", ""] = "packaged"
    iterations: int = 2000
    teaching: Teaching = field(default_factory=Teaching)

    def __post_init__(self) -> None:
        least = self.teaching.side if self.blurred else self.teaching.smallest
        for stack in self.sharp:
            y, x = stack.shape[-2:]
            if min(y, x) < least:
                raise ValueError(
                    f'"{stack.name}" has {y} × {x} pixels, and {least} × {least} are needed: take '
                    "a larger layer, or less for side and kernel under Advanced"
                )
        for one, other in zip(self.blurred, self.sharp, strict=bool(self.blurred)):
            if one.shape != other.shape:
                raise ValueError(
                    f'"{one.name}" has {_sizes(one)} and "{other.name}" has {_sizes(other)}: a '
                    "pair must show the same place, voxel by voxel"
                )

    def pieces(self) -> list[tuple[int, int, int, Region]]:
        """Give (number of the stack, t, c, region) of each piece, at most 240, spread evenly."""
        counts = [_count(stack) for stack in self.sharp]
        ends = np.cumsum(counts)
        total = int(ends[-1]) if counts else 0
        chosen = np.linspace(0, total - 1, min(total, MOST)).round().astype(int)
        found = []
        for at in chosen:
            n = int(np.searchsorted(ends, at, side="right"))
            found.append((n, *_piece(self.sharp[n], int(at - ends[n] + counts[n]))))
        return found

    def summary(self) -> str:
        """Say in a sentence what will be learned from."""
        count = len(self.pieces())
        names = ", ".join(f'"{stack.name}"' for stack in self.sharp)
        what = "pair{} of pieces" if self.blurred else "piece{}"
        return f"{count} {what.format('s' if count > 1 else '')} of {names}"


def _cut(stack: Stack) -> tuple[tuple[int, int, int], list[list[tuple[int, int]]]]:
    """Give the counts along t, c, z, and the parts along y and x."""
    frames, channels, depth, height, width = stack.shape
    return (frames, 1 if stack.rgb else channels, depth), [_spans(height), _spans(width)]


def _count(stack: Stack) -> int:
    planes, (rows, columns) = _cut(stack)
    return int(np.prod(planes)) * len(rows) * len(columns)


def _piece(stack: Stack, number: int) -> tuple[int, int, Region]:
    planes, (rows, columns) = _cut(stack)
    t, c, z, y, x = map(int, np.unravel_index(number, (*planes, len(rows), len(columns))))
    return t, c, ((z, z + 1), rows[y], columns[x])


def _spans(n: int) -> list[tuple[int, int]]:
    """Cut a length into parts of about `PIECE`, none of them smaller."""
    ends = np.linspace(0, n, max(1, n // PIECE) + 1).astype(int)
    return [(int(a), int(b)) for a, b in pairwise(ends)]


def _sizes(stack: Stack) -> str:
    sizes = dict(zip("tczyx", stack.shape, strict=True))
    return " × ".join(f"{axis} {sizes[axis]}" for axis in stack.axes)
