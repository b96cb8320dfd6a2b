"""How fine a result is, and how sure: Fourier ring correlation before and after, and its noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gamma, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import sampling
from napari_deblur.devices import is_here
from napari_deblur.opening import as_planned, reopen
from napari_deblur.protocols import Facts, Sample
from napari_deblur.restoring import as_counts, blur_of, linear_light
from napari_deblur.stack import complete_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.ops.resolution import Rings
    from napari_deblur.plans import Plan
    from napari_deblur.protocols import Method
    from napari_deblur.stack import Stack
    from napari_deblur.tiles import Box

__all__ = ["Resolution", "resolution", "uncertainty", "write_curves", "write_map"]

# What is looked at where nothing is asked for: (z, y, x) for a blur within planes, and in volumes.
PLANE, VOLUME = (1, 512, 512), (48, 128, 128)
# Of the largest region that is restored in one piece, in voxels.
MOST = 16_000_000
# Of the light that a map's images keep.
SHARE = 0.8
# Added to seeds: NumPy's generators of 0 and of (0, 0, 0) are the same, and an image that was
# simulated with one must not be split by the same numbers.
SALT = 74_207_281


@dataclass(frozen=True, eq=False)
class Resolution:
    """Down to which detail two halves of the light agree, before and after deblurring.

    Parameters
    ----------
    before, after : Rings
        Of the halves as they were seen, and restored. `resolution` is None where there is nothing
        but noise.
    unit : "µm" or "px"
    region : ((start, stop), ...) in voxels of the stack, one pair for z, y, x
    time, channel : int
    solid : bool
        Whether shells of a volume were correlated; else rings of its planes, summed.
    photons : bool
        Whether photons were split. Else normal noise was, for the camera's gain isn't known.
    method : Method
        What restored the halves: the plan's, its "auto" numbers decided anew for half the light.
    """

    before: Rings
    after: Rings
    unit: str
    region: Box
    time: int
    channel: int
    solid: bool
    photons: bool
    method: Any

    @property
    def gain(self) -> float | None:
        """How many times finer the restored halves agree; None where one of them is noise."""
        if self.before.resolution is None or self.after.resolution is None:
            return None
        return self.before.resolution / self.after.resolution

    def rows(self) -> dict[str, str]:
        """Say it in names and values."""
        z, y, x = (f"{a}:{b}" for a, b in self.region)
        said = {
            "resolution before": self._said(self.before),
            "resolution after": self._said(self.after),
        }
        if self.gain is not None and not self.before.at_the_end:
            or_more = " or more" if self.after.at_the_end else ""
            said["finer"] = f"{self.gain:.2f} times{or_more}"
        said["measured on"] = f"{z},{y},{x} (z, y, x), channel {self.channel}, frame {self.time}"
        split = "photons" if self.photons else "normal noise, for the gain is not known"
        said["how"] = (
            f"Fourier {'shell' if self.solid else 'ring'} correlation of two halves ({split}), 1/7"
        )
        said["mind"] = (
            "after says how well the restoration repeats, not that it is true: "
            "a kernel and a prior that both halves share agree with themselves"
        )
        return said

    def _said(self, rings: Rings) -> str:
        if rings.resolution is None:
            return "none: the halves agree on nothing but noise"
        text = f"{rings.resolution:.3g} {self.unit}"
        return f"{text} or finer: the pixels end there" if rings.at_the_end else text


def resolution(
    plan: Plan,
    stack: object = None,
    region: Sequence[Sequence[int]] | None = None,
    *,
    time: int = 0,
    channel: int = 0,
    seed: int = 0,
) -> Resolution:
    """Measure the resolution of a piece before and after a plan's restoration.

    The light of the piece is split at random into two independent halves (photons by binomial
    draws where the camera's gain is known, else normal noise). They are correlated as they are,
    and after each was restored alone. Halves have less light, so the method's numbers that the
    plan decided are decided anew for it, once for both.

    The threshold of 1/7 between halves stands for 1/4 between images of all the light, so the
    numbers hold for the whole image. Restored halves are a little softer than the whole, which
    has the light for more iterations.

    Parameters
    ----------
    plan : Plan
    stack : Stack, its array, or None
        None opens the plan's source.
    region : ((start, stop), ...) in voxels, for z, y, x; or None
        None takes the place of most detail, at most 512² of a plane, or 48 × 128 × 128 where the
        kernel has several planes.
    time, channel, seed : int

    Returns
    -------
    Resolution

    Raises
    ------
    ValueError
        When the region lies outside the stack, is too small or too large, or has no data.

    References
    ----------
    Nieuwenhuizen and others, Nat. Methods 10, 557 (2013), doi:10.1038/nmeth.2448. On restored
    images: Koho and others, Nat. Commun. 10, 3103 (2019), doi:10.1038/s41467-019-11024-z; they
    take every second pixel, here it is every second photon.
    """
    from napari_deblur.ops.held_out import hold_out
    from napari_deblur.ops.resolution import ring_correlation

    plan = _here(plan)
    sample, brightness = _sample(plan, stack, region, time, channel)
    (part,) = hold_out([sample], share=0.5, seed=SALT + seed)
    held = part.held / part.scale + part.shift
    halves = [_even(part.sample, brightness), _even(replace(part.sample, tile=held), brightness)]
    method = _for_less(plan, channel, halves[0])
    third, fourth = (_restored(method, half) for half in halves)
    assert sample.blur is not None
    solid = sample.blur.ndim == 3
    size = complete_size(plan.layout.pixel_size)
    spacing = (size or (1.0, 1.0, 1.0))[0 if solid else 1 :]
    first, second = (half.tile for half in halves)
    return Resolution(
        ring_correlation(first, second, spacing),
        ring_correlation(third, fourth, spacing),
        "px" if size is None else "µm",
        _box(sample),
        time,
        channel,
        solid,
        sample.facts.gain is not None,
        method,
    )


def uncertainty(
    plan: Plan,
    stack: object = None,
    region: Sequence[Sequence[int]] | None = None,
    *,
    seeds: int = 4,
    time: int = 0,
    channel: int = 0,
) -> NDArray[np.float32]:
    """Map how much noise a plan's restoration leaves in each voxel of a piece.

    The piece is restored several times, each time with another random 80 % of its light. The
    standard deviation of these images, times two for the light that they share, is about that of
    the restoration with all the light. Errors that all of them make, as with a wrong kernel, are
    not in it.

    Parameters
    ----------
    plan, stack, region, time, channel
        As for `resolution`.
    seeds : int
        How many images, 2 or more. Of four, the map itself is uncertain by two fifths in each
        voxel.

    Returns
    -------
    array (z, y, x), float32
        Standard deviation in counts; NaN where there are no data.
    """
    from napari_deblur.ops.held_out import hold_out

    if seeds < 2:
        raise ValueError(f"seeds is {seeds} and must be 2 or more: one image has no spread")
    plan = _here(plan)
    sample, brightness = _sample(plan, stack, region, time, channel)
    parts = hold_out([sample], share=SHARE, seed=SALT, times=seeds)
    method = plan.channels[channel].method
    images = np.stack([
        _restored(method, _even(part.sample, brightness)).cpu().numpy() for part in parts
    ])  # fmt: skip
    spread = images.std(axis=0, ddof=1, dtype=np.float64) / _c4(seeds)
    scaled: NDArray[np.float32] = (spread * brightness * (SHARE / (1 - SHARE)) ** 0.5).astype(
        np.float32
    )
    return scaled.reshape([stop - start for start, stop in sample.region])


def write_curves(found: Resolution, path: str | Path) -> None:
    """Write both curves as CSV: frequency, correlation, smooth; before and after."""
    table = np.column_stack([
        found.before.frequency,
        found.before.correlation,
        found.before.smooth,
        found.after.correlation,
        found.after.smooth,
    ])  # fmt: skip
    head = f"cycles per {found.unit},before,before smooth,after,after smooth"
    np.savetxt(path, table, "%.6g", ",", header=head, comments="", encoding="utf-8")


def write_map(array: NDArray[np.float32], path: str | Path, plan: Plan) -> None:
    """Write a map as an OME-TIFF with the plan's voxel size."""
    import tifffile

    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis, value in zip("ZYX", plan.layout.pixel_size or (), strict=False):
        if value is not None:
            metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(path, array, ome=True, metadata=metadata, compression="zlib")


def _here(plan: Plan) -> Plan:
    """Give a plan for the CPU where it was made for a GPU that is not here."""
    return plan if is_here(plan.device) else replace(plan, device="cpu")


def _sample(
    plan: Plan,
    stack: object,
    region: Sequence[Sequence[int]] | None,
    time: int,
    channel: int,
) -> tuple[Sample, float]:
    """Read the piece as the run does; and the brightness of its frame."""
    if stack is None:
        if plan.source is None:
            raise ValueError("the plan's stack lives in memory: pass it as stack=")
        stack = reopen(plan.source)
    stack = as_planned(stack, plan.layout.shape, plan.layout.axes, rgb=plan.layout.rgb)
    frames = stack.shape[0]
    for what, index, count in (("frame", time, frames), ("channel", channel, len(plan.channels))):
        if not 0 <= index < count:
            raise ValueError(f"the stack has {count} {what}s, from 0: there is no {index}")
    if plan.layout.has_alpha and channel == 3:
        raise ValueError("channel 3 is opacity, which is copied: there is nothing to measure")
    facts = plan.channels[channel].facts
    solid = plan.kernel.shape[0] > 1
    box = (
        _place(plan, stack, time, channel, solid=solid) if region is None else _asked(stack, region)
    )
    counts = as_counts(stack.read(time, channel, box), facts)
    if plan.gamma != "linear":
        import torch

        light = linear_light(counts.numpy(), plan.gamma, plan.layout.dtype)
        counts = torch.from_numpy(light)
    if not bool(counts.isfinite().any()):
        raise ValueError("the region has no valid pixel: choose another")
    gains = plan.channels[channel].gains
    blur = blur_of(plan, time, channel, box)
    size = complete_size(plan.layout.pixel_size)
    sample = Sample(counts.to(plan.device), box, time, channel, blur, facts, size)
    return sample, gains[time] if gains else 1.0


def _asked(stack: Stack, region: Sequence[Sequence[int]]) -> Box:
    z, y, x = ((int(a), int(b)) for a, b in region)
    for axis, (start, stop), size in zip("zyx", (z, y, x), stack.shape[2:], strict=True):
        if not 0 <= start < stop <= size:
            raise ValueError(
                f"region {start}:{stop} along {axis} does not lie inside 0:{size} of the stack"
            )
    voxels = prod(b - a for a, b in (z, y, x))
    if voxels > MOST:
        raise ValueError(
            f"the region has {voxels} voxels, and a piece of {MOST} at most is restored at once: "
            "choose a smaller one"
        )
    return z, y, x


def _place(plan: Plan, stack: Stack, time: int, channel: int, *, solid: bool) -> Box:
    """Choose the plane or volume with the most detail."""
    sizes = stack.shape[2:]
    wanted = VOLUME if solid else PLANE
    if all(size <= want for size, want in zip(sizes, wanted, strict=True)):
        nz, ny, nx = sizes
        return (0, nz), (0, ny), (0, nx)
    one = stack.selected(times=[time])
    seen = sampling.look(sampling.in_linear_light(one, plan.gamma), channel, solid=solid)
    _, place = seen.places[0]
    grown = [
        sampling.enlarged(span, want, size)
        for span, want, size in zip(place, wanted, sizes, strict=True)
    ]
    return grown[0], grown[1], grown[2]


def _box(sample: Sample) -> Box:
    z, y, x = sample.region
    return z, y, x


def _even(sample: Sample, brightness: float) -> Sample:
    """Bring a sample and its facts to the brightness that the frames of a run share."""
    if brightness == 1.0:
        return sample
    facts, dark = sample.facts, sample.facts.background or 0.0

    def scaled(value: float | None, zero: float = 0.0) -> float | None:
        return None if value is None else (value - zero) / brightness + zero

    known = Facts(
        gain=scaled(facts.gain),
        offset=scaled(facts.offset, dark),
        read_noise=scaled(facts.read_noise),
        saturation=facts.saturation,
        background=facts.background,
        white=facts.white,
        noise=scaled(facts.noise),
        na=facts.na,
        wavelength=facts.wavelength,
        n_immersion=facts.n_immersion,
        n_sample=facts.n_sample,
    )
    return replace(sample, tile=(sample.tile - dark) / brightness + dark, facts=known)


def _for_less(plan: Plan, channel: int, half: Sample) -> Method:
    """Decide anew, for half the light, the numbers that the plan decided."""
    own = plan.channels[channel]
    again = replace(own.method, **dict.fromkeys(own.decided, "auto"))  # type: ignore[type-var]
    resolved: Method = again.resolved([half])
    return resolved


def _restored(method: Method, sample: Sample) -> Tensor:
    import torch

    assert sample.blur is not None
    with torch.no_grad():
        return method(sample.tile, sample.blur).image


def _c4(n: int) -> float:
    """Give the mean standard deviation of n normal numbers of standard deviation 1."""
    return float((2 / (n - 1)) ** 0.5 * gamma(n / 2) / gamma((n - 1) / 2))
