"""Small beads in an image, and the kernel that they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.bead_averaging import (
    aligned_windows,
    averaged,
    corrected_for_size,
    in_the_middle,
    significant,
)
from napari_deblur.bead_finding import Candidate, chosen, find, look
from napari_deblur.bead_judging import MARGIN, REASONS, accept, fitting, judge, nothing
from napari_deblur.kernel_measures import full_widths
from napari_deblur.kernels import cropped
from napari_deblur.protocols import Kernel
from napari_deblur.stack import Stack, complete_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Bead", "BeadReport", "beads_to_kernel"]

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
# Of the light of the average, what stays when its empty margin is cut off.
KEPT = 0.999


@dataclass(frozen=True)
class Bead:
    """One bead: where it is, and what it is like.

    Parameters
    ----------
    place : (z, y, x) in voxels of the image
    snr : peak over noise
    light : its brightness, of the median bead's
    fwhm : full widths (z, y, x) of the Gaussian that fits it best, in µm; None along an axis of
        length 1. None if it was not fitted.
    rejected : why it was not used; empty if it was
    """

    place: tuple[float, float, float]
    snr: float
    light: float = 1.0
    fwhm: tuple[float | None, float | None, float | None] | None = None
    rejected: str = ""


@dataclass(frozen=True)
class BeadReport:
    """What became of the beads of an image.

    Parameters
    ----------
    beads : every bead that was found
    fwhm : full widths (z, y, x) of the kernel at half its peak, in µm
    own : mean of the used beads' own widths (z, y, x) in µm, each that of a Gaussian fitted to it
    spread : standard deviation of these; None with one bead
    shape : of the kernel
    notes : sentences for the user
    """

    beads: tuple[Bead, ...]
    fwhm: tuple[float | None, float | None, float | None]
    own: tuple[float | None, float | None, float | None]
    spread: tuple[float | None, float | None, float | None] | None
    shape: Triple
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[Bead, ...]:
        """The beads that the kernel is the average of."""
        return tuple(b for b in self.beads if not b.rejected)

    @property
    def rejected(self) -> Mapping[str, int]:
        """How many beads were not used, for each reason."""
        found = [b.rejected for b in self.beads]
        return {reason: found.count(reason) for reason in REASONS if reason in found}

    def sentence(self) -> str:
        """Say how many beads were found and used, and why the others were not."""
        lost = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
        count = len(self.beads)
        return f"{len(self.used)} of {count} bead{'s' if count != 1 else ''} used" + (
            f"; not used: {lost}" if lost else ""
        )


def beads_to_kernel(
    image: Stack | ArrayLike,
    pixel_size: Size | None = None,
    *,
    shape: Triple | None = None,
    diameter: float | None = None,
    saturation: float | None = None,
    time: int = 0,
    channel: int = 0,
    places: ArrayLike | None = None,
    between: Callable[[], None] = nothing,
) -> tuple[Kernel, BeadReport]:
    """Find the beads of an image, and average those that are fit into a kernel.

    Beads are local maxima of the image filtered at the beads' own width. Those are left out that
    are saturated, cut off by the border, close to another, dim, or brighter or wider than a bead.
    The others are moved onto their average by parts of a pixel until nothing moves, and averaged
    with weights by their brightness over the noise; single voxels that stand out (of a
    neighbour's light) are left out where there are five beads or more. Where the average does not
    rise out of its noise the kernel is 0. The centre of mass of what
    exceeds a tenth of the peak lies at ``n // 2``; the tails of an aberrated blur have no say.

    Parameters
    ----------
    image : Stack, or array of shape (y, x) or (z, y, x)
        Counts. NaN where there are no data.
    pixel_size : (z, y, x) in µm
        None: the stack's.
    shape : (z, y, x) or None
        Of the kernel, odd. None: four full widths of a bead, and more where the beads' distances
        allow; then cut down to 99.9 % of the light that rises out of the noise.
    diameter : float or None
        Of the beads, in µm: the kernel is corrected for their size. None: it is not.
    saturation : float or None
        Counts from which on the camera is full. None: found, if the image is of integers.
    time, channel : int
        Which frame and channel of a stack.
    places : array of shape (n, 3), or (n, 2) for an image of one plane, or None
        Beads that somebody chose, in voxels (z, y, x): exactly these are taken, each at the peak
        next to its place, but for those of which the border cuts off a part. Where z is NaN the
        brightest peak along z is taken. None: beads are found and judged.
    between : function of nothing
        Called between two beads; an exception that it raises ends the work.

    Returns
    -------
    kernel : Kernel
        Its report tells of the beads too.
    report : BeadReport

    Raises
    ------
    ValueError
        When there are no beads, or none that can be used: how many were left out, and why.
    """
    array, size = _opened(image, pixel_size, time, channel)
    _check(array, size, shape, diameter)
    seen = look(array, saturation, shape)
    between()
    beads = find(seen)
    notes: list[str] = []
    if places is None:
        seen = fitting(seen, beads) if shape is None else seen
        judge(seen, beads, between)
    else:
        picked = chosen(seen, _three(places, array.shape))
        seen = fitting(seen, beads, picked) if shape is None else seen
        beads = picked
        if full := len(accept(seen, beads, between)):
            notes.append(
                f"{full} of the beads that were chosen {'are' if full > 1 else 'is'} saturated: "
                "the kernel's peak is too flat"
            )
    good = [b for b in beads if not b.rejected]
    if not good:
        raise ValueError(_nothing(beads, seen.half))
    aligned = aligned_windows(good, seen.width, between)
    average, noise = averaged(aligned, good, seen.noise)
    average = in_the_middle(average, good)
    if seen.hot:
        notes.append(
            f"{seen.hot} pixel{'s' if seen.hot > 1 else ''} far brighter than all neighbours "
            "(hot pixels) were replaced"
        )
    if diameter is not None:
        average, note = corrected_for_size(average, aligned, noise, size, diameter)
        notes += [note] if note else []
    cut = tuple(slice(MARGIN, -MARGIN) if n > 1 else slice(None) for n in average.shape)
    kernel = Kernel.cleaned(significant(average, noise, seen.width)[cut], pixel_size=size)
    if shape is None:
        kernel = cropped(kernel, energy=KEPT)
    if len(good) < 4:
        one = len(good) == 1
        notes.append(
            f"{len(good)} bead{'' if one else 's'} only: "
            + ("nothing tells a bead from an aggregate" if one else "more would be less noisy")
        )
    if any(w == np.inf for w in full_widths(kernel)):
        notes.append(
            "the kernel does not fall to half of its peak before its border: take a larger shape"
            + ("" if shape is not None else ", or an image with more room around the beads")
        )
    report = _report(kernel, beads, size, notes)
    said = {
        "source": "beads",
        "found": len(report.beads),
        "used": len(report.used),
        "rejected": dict(report.rejected),
        "fwhm": list(report.fwhm),
        "own": list(report.own),
        "spread": None if report.spread is None else list(report.spread),
        "places": [[round(v, 3) for v in b.place] for b in report.used],
        "diameter": diameter,
        "chosen": places is not None,
        "notes": notes,
    }
    return Kernel(kernel.array, size, said), report


def _opened(
    image: Stack | ArrayLike, pixel_size: Size | None, time: int, channel: int
) -> tuple[NDArray[Any], Size]:
    if isinstance(image, Stack):
        pixel_size = pixel_size or complete_size(image.pixel_size)
        if image.rgb:
            raise ValueError("the image is a picture in colour: give one channel of counts")
        array = image.read(time, channel)
    else:
        array = np.asarray(image)
    if pixel_size is None:
        raise ValueError(
            "the voxel size of the image is not known: give it, z, y, x in µm (pixel_size, "
            "--pixel-size)"
        )
    if array.ndim not in (2, 3):
        raise ValueError(
            f"beads are looked for in an image of axes y,x or z,y,x; this one has shape "
            f"{array.shape}: choose a frame and a channel"
        )
    return array.reshape((1,) * (3 - array.ndim) + array.shape), pixel_size


def _three(places: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    found = np.asarray(places, np.float64)
    if found.size == 0:
        raise ValueError("no bead was chosen: add a point for each")
    if found.ndim == 2 and found.shape[1] == 2 and shape[0] == 1:
        found = np.concatenate([np.zeros((len(found), 1)), found], axis=1)
    if found.ndim != 2 or found.shape[1] != 3:
        raise ValueError(f"places have shape {found.shape}: give z, y, x of each, (n, 3)")
    return found


def _check(array: NDArray[Any], size: Size, shape: Triple | None, diameter: float | None) -> None:
    if len(size) != 3 or not all(v > 0 and np.isfinite(v) for v in size):
        raise ValueError(f"pixel_size is (z, y, x) in µm, all > 0, got {size}")
    if diameter is not None and not (diameter > 0 and np.isfinite(diameter)):
        raise ValueError(f"diameter is {diameter:g}: give the beads' diameter in µm, above 0")
    if min(array.shape[1:]) < 2 * MARGIN + 3:
        raise ValueError(
            f"the image has {array.shape[1]} × {array.shape[2]} pixels: too few for beads; check "
            "the axes"
        )
    if shape is None:
        return
    if len(shape) != 3 or any(n < 1 or n % 2 == 0 for n in shape):
        raise ValueError(
            f"shape of the kernel is (z, y, x), odd numbers, for a bead is put on "
            f"its middle voxel, got {shape}"
        )
    for axis, want, have in zip("zyx", shape, array.shape, strict=True):
        if want > have:
            raise ValueError(
                f"the kernel is to have {want} voxels along {axis}, but the image has {have}: "
                "give a smaller shape"
            )


def _nothing(beads: list[Candidate], half: Triple) -> str:
    """Say in a sentence why none of the beads is of use, and what to change."""
    counts: dict[str, int] = {}
    for bead in beads:
        counts[bead.rejected] = counts.get(bead.rejected, 0) + 1
    lost = ", ".join(f"{counts[r]} {r}" for r in REASONS if r in counts)
    most = max(counts, key=lambda r: counts[r])
    window = " × ".join(str(2 * h + 1) for h in half)
    count = len(beads)
    return (
        f"none of {count} bead{'s' if count != 1 else ''} can be used for a kernel of {window} "
        f"voxels: {lost}; {REASONS[most]}"
    )


def _report(kernel: Kernel, beads: list[Candidate], size: Size, notes: list[str]) -> BeadReport:
    told = []
    for bead in beads:
        z, y, x = (bead.place + bead.centre).tolist()
        wide: Any = None
        if bead.width is not None:
            wide = tuple(float(w * s) if w else None for w, s in zip(bead.width, size, strict=True))
        told.append(Bead((z, y, x), float(bead.snr), float(bead.light), wide, bead.rejected))
    own: Any
    spread: Any
    widths = np.array([b.fwhm for b in told if not b.rejected], float)  # None becomes NaN
    own, spread = (
        tuple(None if n == 1 else float(v) for n, v in zip(kernel.shape, values, strict=True))
        for values in (widths.mean(axis=0), widths.std(axis=0, ddof=min(1, len(widths) - 1)))
    )
    alone = len(widths) < 2
    return BeadReport(
        tuple(told), full_widths(kernel), own, None if alone else spread, kernel.shape, tuple(notes)
    )
