"""The contract tests that every method passes; for methods of other packages too.

>>> from napari_deblur.methods.identity import Identity
>>> check_method(Identity(), blurs=False)
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.protocols import Blur, Cancelled, Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_estimator", "check_method", "scene"]

BACKGROUND = 20.0


@dataclass(frozen=True, eq=False)
class Scene:
    """An object, what a camera sees of it, and the blur between them; float32, no noise."""

    sharp: Tensor
    seen: Tensor
    blur: Blur
    background: float = BACKGROUND

    def sample(self, factor: float = 1.0, noise: float = 1.0) -> Sample:
        """Give what was seen as a sample, counts and facts times a factor; the noise is stated."""
        facts = Facts(
            background=self.background * factor,
            white=float(self.seen.max()) * factor,
            noise=noise * factor,
        )
        region = tuple((0, n) for n in (1, 1, 1, *self.seen.shape)[-3:])
        return Sample(self.seen * factor, region, 0, 0, self.blur, facts)


def kernel_of(shape: tuple[int, ...], sigma: float = 1.3) -> Kernel:
    """Make a Gaussian kernel of 2 or 3 axes."""
    solid = len(shape) == 3
    size = shape if solid else (1, *shape)
    z, y, x = size
    return Gaussian((sigma if solid else 0.0, sigma, sigma))((z, y, x), (1.0, 1.0, 1.0))


def scene(
    shape: tuple[int, ...], kernel: tuple[int, ...], *, sigma: float = 1.3, beads: int = 1
) -> Scene:
    """Blur beads of σ = 1.3 px on a background of 20 counts; the first lies near the middle.

    Parameters
    ----------
    shape : of the image, 2 or 3 axes
    kernel : shape of the kernel, as many axes
    sigma : of the kernel, in px
    beads : int
        The others lie anywhere, at least a kernel away from the border where there is room.
    """
    array = torch.from_numpy(kernel_of(kernel, sigma).at().copy())
    blur = Blur(array[None] if len(kernel) == 3 else array)
    whole = ops.object_shape(shape, kernel)
    random = np.random.default_rng(7)
    thing = torch.zeros(whole)
    for bead in range(beads):
        place = [(n - 1) // 2 + t // 2 for n, t in zip(kernel, shape, strict=True)]
        if bead:
            place = [
                int(random.integers(min(2 * n, m // 2), max(m - 2 * n, m // 2 + 1)))
                for n, m in zip(kernel, whole, strict=True)
            ]
        spot = torch.ones(())
        for axis, m in enumerate(whole):
            line = torch.exp(-((torch.arange(m) - place[axis]) ** 2) / (2 * 1.3**2))
            spot = spot[..., None] * line if axis else line
        thing += 1000.0 * spot
    seen = ops.blur(thing, blur) + BACKGROUND
    return Scene(ops.crop(thing, blur) + BACKGROUND, seen, blur)


def _resolved(method: Any, made: Scene, factor: float = 1.0, noise: float = 1.0) -> Any:
    return method.resolved([made.sample(factor, noise)])


def check_method(
    method: Any, *, blurs: bool = True, moves: float = 0.05, light: float = 5e-3
) -> None:
    """Check that a restoring method keeps its contract; AssertionError names what it breaks.

    Parameters
    ----------
    method : Method
        With its "auto" values left in.
    blurs : bool
        False for a method that ignores the kernel, whose "sharp" is what was seen.
    moves : float
        How far, in px, a bead may move.
    light : float
        By what share a bead's light may change. A prior that flattens takes some of a tiny bead's.

    Raises
    ------
    AssertionError
    """
    for name, check in _CHECKS.items():
        for complaint in check(method, blurs=blurs, moves=moves, light=light):
            raise AssertionError(f"{type(method).__name__}: {name}: {complaint}")


def _check_beads_stay(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    for ndim, image, kernel in product((2, 3), (0, 1), (0, 1)):
        size = 40 if ndim == 2 else 24
        shape = tuple(size + image + 2 * a for a in range(ndim))
        made = scene(shape, (8 + kernel,) * ndim)
        restored = _resolved(method, made)(made.seen, made.blur).image
        for axis in range(ndim):
            # An even kernel is cut lopsidedly; what was seen is the fair reference for
            # methods that don't deblur.
            wanted = _centre(made.sharp if blurs else made.seen, axis)
            found = _centre(restored, axis)
            if abs(found - wanted) > moves:
                yield (
                    f"a bead moved by {found - wanted:+.3f} px along axis {axis} of an image of "
                    f"{shape} with a kernel of {(8 + kernel,) * ndim}"
                )


def _centre(image: Tensor, axis: int) -> float:
    light = (image - BACKGROUND).clamp(min=0)
    light = light.where(light > 0.02 * light.max(), 0.0).double()
    others = [a for a in range(image.ndim) if a != axis]
    line = light.sum(dim=others)
    return float((line * torch.arange(line.numel())).sum() / line.sum())


def _check_delta_keeps_the_image(
    method: Any, *, blurs: bool, moves: float, light: float
) -> Iterator[str]:
    random = torch.Generator().manual_seed(3)
    for shape, kernel in (((30, 34), (5, 5)), ((12, 20, 22), (4, 5, 3))):
        seen = BACKGROUND + 40 + 1000 * torch.rand(shape, generator=random)
        made = Scene(seen, seen, Blur(ops.delta(kernel)[None]))
        restored = _resolved(method, made, noise=0.0)(seen, made.blur).image
        error = float((restored - seen).abs().max() / seen.max())
        if error > 1e-4:
            yield f"a delta kernel changed an image of {shape} by {error:.1e} of its peak"


def _check_flux_is_kept(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    cases = (((60, 64), (9, 9)), ((36, 38, 40), (7, 7, 7)))
    for (shape, kernel), offset in product(cases, (0.0, 980.0)):
        made = scene(shape, kernel)
        made = Scene(made.sharp + offset, made.seen + offset, made.blur, BACKGROUND + offset)
        # There is no noise: stated as strong, it would call for a prior that moves light.
        restored = _resolved(method, made, noise=0.1)(made.seen, made.blur).image
        ratio = _light(restored, kernel) / _light(made.seen, kernel)
        if abs(ratio - 1) > light:
            yield (
                f"the light of a bead on {BACKGROUND + offset:g} counts became {ratio:.4f} of what "
                f"it was in an image of {shape}"
            )


def _light(image: Tensor, kernel: tuple[int, ...]) -> float:
    """Sum a bead's light in a box around the middle, above the level on the box's surface."""
    sides = [(n // 2, k + 6) for n, k in zip(image.shape, kernel, strict=True)]
    box = image[tuple(slice(c - r, c + r + 1) for c, r in sides)].double()
    inner = box[(slice(1, -1),) * box.ndim]
    level = (box.sum() - inner.sum()) / (box.numel() - inner.numel())
    return float((inner - level).sum())


def _check_flat_stays_flat(
    method: Any, *, blurs: bool, moves: float, light: float
) -> Iterator[str]:
    for level in (BACKGROUND, 3 * BACKGROUND, 0.0):
        made = scene((40, 44), (7, 7))
        flat = torch.full((40, 44), level)
        restored = _resolved(method, Scene(flat, flat, made.blur, min(level, BACKGROUND)))(
            flat, made.blur
        ).image
        inner = restored[7:-7, 7:-7]
        if not bool(restored.isfinite().all()):
            yield f"a flat image of {level} counts came out with NaN or infinite values"
        elif float(inner.max() - inner.min()) > 2e-3 * max(level, 1.0):
            yield f"a flat image of {level} counts came out between {inner.min()} and {inner.max()}"


def _check_equivariance(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((48, 48), (7, 7), beads=4)
    fixed = _resolved(method, made)
    restored = fixed(made.seen, made.blur).image
    flipped = Blur(made.blur.basis.flip(1))
    mirrored = fixed(made.seen.flip(0), flipped).image.flip(0)
    turned = Blur(made.blur.basis.transpose(1, 2))
    transposed = fixed(made.seen.T.contiguous(), turned).image.T
    for name, other in (("mirrored", mirrored), ("transposed", transposed)):
        error = float((other - restored).abs().max() / restored.max())
        if error > 5e-4:
            yield f"the {name} image gave a result that differs by {error:.1e} of the peak"


def _check_units(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((40, 44), (7, 7), beads=3)
    once = _resolved(method, made)(made.seen, made.blur).image
    often = _resolved(method, made, 1000.0)(made.seen * 1000, made.blur).image
    error = float((often / 1000 - once).abs().max() / once.max())
    if error > 1e-3:
        yield f"counts × 1000 gave a result that differs by {error:.1e} of the peak"


def _check_batches(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((36, 40), (7, 7), beads=3)
    fixed = _resolved(method, made)
    one = fixed(made.seen, made.blur).image
    three = fixed(made.seen.expand(3, *made.seen.shape).clone(), made.blur).image
    error = float((three - one).abs().max() / one.max())
    if three.shape != (3, *one.shape) or error > 1e-4:
        yield f"a batch of three equal images differs from one by {error:.1e} of the peak"


def _check_purity(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((30, 32), (5, 5), beads=2)
    fixed = _resolved(method, made)
    before = made.seen.clone()
    first, second = (fixed(made.seen, made.blur).image for _ in range(2))
    if not torch.equal(before, made.seen):
        yield "the tile that was given was changed"
    if not torch.equal(first, second):
        yield "the same tile gave two results"
    if first.shape != made.seen.shape or first.dtype != torch.float32:
        yield f"the image has shape {tuple(first.shape)} and type {first.dtype}"
    size = len(pickle.dumps(fixed))
    if size >= 1000:
        yield f"resolved, it pickles to {size} bytes; a task may carry less than 1000"
    if "auto" in vars(method).values():
        try:
            method(made.seen, made.blur)
        except ValueError:
            pass
        else:
            yield 'it ran with an "auto" left'


def _check_holes(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    if not blurs:
        return
    made = scene((48, 52), (7, 7), beads=4)
    fixed = _resolved(method, made)
    whole = fixed(made.seen, made.blur).image
    holed = made.seen.clone()
    holed[5, 40] = torch.nan
    holed[20:22, 10:12] = torch.inf
    image = fixed(holed, made.blur).image
    if not bool(image.isfinite().all()):
        yield f"a few NaN pixels became {int((~image.isfinite()).sum())}"
    far = torch.ones_like(image, dtype=torch.bool)
    far[:20, 26:] = False
    far[5:38, :28] = False
    error = float((image - whole)[far].abs().max() / whole.max())
    if error > 5e-3:
        yield f"a few NaN pixels changed the image far from them by {error:.1e} of the peak"
    zero = fixed(torch.zeros(48, 52), made.blur).image
    if not bool(zero.isfinite().all()):
        yield "an image of zeros came out with NaN or infinite values"
    large = scene((20, 24), (31, 33), sigma=2.0)
    image = _resolved(method, large)(large.seen, large.blur).image
    if image.shape != (20, 24) or not bool(image.isfinite().all()):
        yield "a kernel larger than the image gave holes"


def _check_cancelling(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    if not blurs:
        return
    made = scene((30, 32), (5, 5))
    fixed = _resolved(method, made)
    try:
        with ops.cancellable(lambda: True):
            fixed(made.seen, made.blur)
    except Cancelled:
        return
    yield "it went on after it was cancelled: call ops.checkpoint() in each iteration"


def _check_devices(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    if not torch.cuda.is_available():
        return
    made = scene((36, 40), (7, 7), beads=3)
    fixed = _resolved(method, made)
    here = fixed(made.seen, made.blur).image
    there = fixed(made.seen.cuda(), Blur(made.blur.basis.cuda())).image.cpu()
    error = float((here - there).abs().max() / here.max())
    if error > 1e-4:
        yield f"CPU and CUDA differ by {error:.1e} of the peak"


_CHECKS = {
    "beads stay where they are": _check_beads_stay,
    "a delta kernel is the identity": _check_delta_keeps_the_image,
    "flux is kept": _check_flux_is_kept,
    "flat stays flat": _check_flat_stays_flat,
    "mirror and transposition": _check_equivariance,
    "units don't matter": _check_units,
    "a batch is its items": _check_batches,
    "a pure function": _check_purity,
    "bad pixels and large kernels": _check_holes,
    "cancel takes one iteration": _check_cancelling,
    "all devices agree": _check_devices,
}


def check_estimator(estimator: Any) -> None:
    """Check that an estimator's kernel is one: non-negative, sum 1, centred, well reported.

    Raises
    ------
    AssertionError
    """
    name = type(estimator).__name__
    for ndim in (2, 3):
        shape = (48, 52) if ndim == 2 else (24, 28, 30)
        made = scene(shape, (9,) * ndim, sigma=1.6, beads=6)
        sample = made.sample()
        if ndim == 2:
            sample = Sample(sample.tile[None], sample.region, 0, 0, None, sample.facts)
        for size in (9, 8):
            wanted = (size if ndim == 3 else 1, size, size)
            # A start that lies 2 px off: it must be brought back.
            first = kernel_of(wanted[-ndim:])
            first = Kernel(np.roll(first.array, 2, axis=-1))
            found = estimator.resolved([sample]).estimate([sample], wanted, first)
            assert found.shape == wanted, f"{name}: asked for {wanted}, got {found.shape}"
            total = float(found.array.sum())
            assert abs(total - 1) < 1e-5, f"{name}: the kernel's sum is {total}"
            off = max(abs(v) for v in found.centroid())
            assert off < 0.05, f"{name}: the kernel of {wanted} lies {off:.3f} px off its middle"
            json.dumps(dict(found.report), allow_nan=False)
    restorer = estimator.restorer()
    assert callable(restorer), f"{name}: restorer() gives no method"
