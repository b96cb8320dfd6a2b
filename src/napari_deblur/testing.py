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
# Of trained networks: how far a bead may move, in pixels, and by what share its light may change;
# how much a flat image and a sharp one may change, as a share of the range (root mean square).
MOVED, LIT, FLAT, SHARP = 0.1, 0.05, 0.01, 0.02
# Pixels beyond which nothing has a say, and what is left of it there, as a share of the range.
REACH, LEFT = 96, 1e-3


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

    A trained network says of itself ``learned: ClassVar[bool] = True``. It knows kernels within
    planes only, and is no identity for a point, not even nearly: what it does to beads, to sharp
    and to flat images has looser bounds, and it needs not turn with the image. As strict as for
    others are units, offsets, batches, purity and cancelling; and it must fill holes,
    know nothing of what is far away, and stay within the memory that it states. Of one that finds
    kernels too, its restorer is checked: a kernel found in a tile depends on all of it.

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
    learned = getattr(method, "learned", False)
    if learned and hasattr(method, "restorer"):
        method = method.restorer()
    checks = _LEARNED if learned else _CHECKS
    for name, check in checks.items():
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


def _range(made: Scene) -> float:
    return float(made.seen.max()) - made.background


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())


def _check_learned_beads(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    for kernel in ((9, 9), (8, 8), (15, 12)):
        made = scene((64, 70), kernel)
        restored = _resolved(method, made)(made.seen, made.blur).image
        for axis in range(2):
            off = _centre(restored, axis) - _centre(made.sharp, axis)
            if abs(off) > MOVED:
                yield f"a bead moved by {off:+.3f} px along axis {axis} with a kernel of {kernel}"
        ratio = _light(restored, (13, 13)) / _light(made.sharp, (13, 13))
        if abs(ratio - 1) > LIT:
            yield f"the light of a bead became {ratio:.3f} of what it was with a kernel of {kernel}"


def _check_learned_sharp(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((64, 70), (9, 9), beads=12)
    made = Scene(made.seen, made.seen, Blur(ops.delta((9, 9))[None]))
    restored = _resolved(method, made, noise=0.1)(made.seen, made.blur).image
    error = _rms(restored - made.seen) / _range(made)
    if error > SHARP:
        yield f"a sharp image without noise changed by {error:.1%} of its range"


def _check_learned_flat(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((64, 72), (9, 9))
    fixed = _resolved(method, made)
    for level in (0.0, 0.3, 0.8):
        flat = torch.full((64, 72), made.background + level * _range(made))
        restored = fixed(flat, made.blur).image
        error = _rms((restored - flat)[9:-9, 9:-9]) / _range(made)
        if not error <= FLAT:
            yield f"a flat image at {level:.0%} of the range changed by {error:.1%} of it"


def _check_offsets(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((40, 44), (7, 7), beads=3)
    other = Scene(made.sharp, made.seen + 500, made.blur, made.background + 500)
    once = _resolved(method, made)(made.seen, made.blur).image
    raised = _resolved(method, other)(other.seen, made.blur).image
    error = float((raised - 500 - once).abs().max() / _range(made))
    if error > 1e-3:
        yield f"500 counts more gave a result that differs by {error:.1e} of the range"


def _check_filled(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((64, 136), (7, 7), beads=9)
    fixed = _resolved(method, made)
    holed = made.seen.clone()
    holed[5, 20] = torch.inf
    holed[20:22, 10:12] = torch.nan
    image = fixed(holed, made.blur).image
    if not bool(image.isfinite().all()):
        yield f"{int((~holed.isfinite()).sum())} holes became {int((~image.isfinite()).sum())}"
    error = _rms((image - fixed(made.seen, made.blur).image)[:, -20:]) / _range(made)
    if error > LEFT:
        yield f"holes changed the image far from them by {error:.1e} of the range"
    empty = fixed(torch.full((24, 28), torch.nan), made.blur).image
    if not bool(empty.isfinite().all()):
        yield "a tile without any data came out with NaN or infinite values"
    zero = fixed(torch.zeros(24, 28), made.blur).image
    if not bool(zero.isfinite().all()):
        yield "an image of zeros came out with NaN or infinite values"
    for shape in ((20, 24), (5, 3), (1, 40), (1, 1)):
        tile = made.seen[: shape[0], : shape[1]].contiguous()
        small = fixed(tile, scene((40, 40), (31, 33), sigma=2.0).blur).image
        if small.shape != shape or not bool(small.isfinite().all()):
            yield f"a kernel larger than an image of {shape} gave holes"


def _check_reach(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((48, 48 + 2 * REACH), (15, 15), sigma=2.0, beads=60)
    fixed = _resolved(method, made)
    whole = fixed(made.seen, made.blur).image
    changed = made.seen.clone()
    changed[:, 24 + REACH :] = 3 * float(made.seen.max())
    there = fixed(changed, made.blur).image
    error = _rms((there - whole)[:, :24]) / _range(made)
    if error > LEFT:
        yield f"what lies {REACH} px away changed the image by {error:.1e} of the range"
    first = -(-48 // method.multiple_of) * method.multiple_of
    cut = fixed(made.seen[:, first:].contiguous(), made.blur).image
    error = _rms(cut[:, REACH:] - whole[:, first + REACH :]) / _range(made)
    if error > LEFT:
        yield f"a tile differs from the whole by {error:.1e} of the range {REACH} px inside"


def _check_planes_only(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((12, 20, 22), (3, 5, 5))
    try:
        _resolved(method, made)(made.seen, made.blur)
    except ValueError:
        return
    yield "it took a kernel of several planes without a word"


def _check_memory(method: Any, *, blurs: bool, moves: float, light: float) -> Iterator[str]:
    made = scene((114, 122), (15, 7), beads=9)
    fixed = _resolved(method, made)
    fixed(made.seen, made.blur)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        fixed(made.seen, made.blur)
    results = getattr(seen.profiler, "kineto_results", None)
    events = [] if results is None else [e for e in results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    peak = max(np.cumsum([event.nbytes() for event in events]), default=0)
    arrays = peak / (4 * 128 * 128)
    if arrays > method.arrays:
        yield f"it held {arrays:.0f} arrays at its peak, and states {method.arrays:g}"


_LEARNED = {
    "beads stay where they are": _check_learned_beads,
    "sharp stays sharp": _check_learned_sharp,
    "flat stays flat": _check_learned_flat,
    "units don't matter": _check_units,
    "offsets don't matter": _check_offsets,
    "a batch is its items": _check_batches,
    "a pure function": _check_purity,
    "holes are filled": _check_filled,
    "what is far away has no say": _check_reach,
    "volumes are refused": _check_planes_only,
    "cancel takes one iteration": _check_cancelling,
    "memory is as stated": _check_memory,
    "all devices agree": _check_devices,
}


def check_estimator(estimator: Any) -> None:
    """Check that an estimator's kernel is one: non-negative, sum 1, centred, well reported.

    One that says ``learned`` of itself is asked for kernels within planes only.

    Raises
    ------
    AssertionError
    """
    name = type(estimator).__name__
    for ndim in (2,) if getattr(estimator, "learned", False) else (2, 3):
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
