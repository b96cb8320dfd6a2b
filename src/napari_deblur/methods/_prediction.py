"""How well a kernel lets held-out light be predicted: what a search for kernels minimises.

The counts are split into two independent images. One is restored with the kernel by a fixed number
of accelerated Richardson-Lucy steps, and what it predicts is compared with the other.

The number of steps is the same for all kernels, on purpose. Where each may stop at its own best,
narrow ones win on sharp objects, since an object that is still blurred needs few steps and is
predicted well; where all take many, wide ones win on smooth objects. So a multiple of what the best
kernel takes to its own best, which is few for smooth objects. Those also take a prior.

How this was chosen: over 60 scenes (five objects, Gaussians of 1.3, 2 and 3 px, 100 and 1000
photons, two seeds) rules were compared by the width that each finds, and widths turned into shares
of the true kernel's gain by one rough curve for each amount of light. By that measure, median and
mean, 20 steps for all without a prior have .30 and .46 at 100 photons, .48 and .22 at 1000; own
bests .87 and .76, .60 and .54; a rule close to this one .87 and .84, .76 and .61, at worst -.29. It
was then corrected twice for what scenes of the benchmark showed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._slopes import Restoring
    from napari_deblur.protocols import Sample

__all__ = ["PRIORS", "Prediction", "Prior", "prior_called"]

# Steps for all kernels at first, and at most in the end.
FIRST, MOST = 20, 32
# Aberrations of a volume show late: of a depth of 6 µm, 0.5 was found after 16 steps, 4 after 30.
MOST_SOLID = 36
# Of the brightest 0.1 %, above the background, in what is kept: more light makes the best number of
# steps larger and the differences between kernels no clearer.
PHOTONS = 150
MOST_KEPT = 0.8
# Fewer photons than this in the brightest light hardly tell whether objects are smooth.
DIM = 100
# How far a kernel is followed to its own best: steps without a better prediction.
PATIENCE = 10
# Voxels along each axis of what is looked at.
# Planes are looked at by one thread (see `ops.one_thread`).
SIDE, SOLID = 140, (28, 72, 72)
SPLITS = 2
# Planes that are restored at once: half the calls, and they still fit a core's cache.
PAIR = 2


@dataclass(frozen=True)
class Prior:
    """What an object is thought to be like; lengths and weights in photons.

    `even` evens out (total variation).
    """

    even: float = 0.0

    def __str__(self) -> str:
        return "smooth" if self.even else "none"


# One for sparse objects (the logarithm of the light) was tried: it moved σ of 2 px to 2.56 on
# smooth objects, and beads with aberrations from a likeness of 0.998 to 0.94.
PRIORS = (Prior(), Prior(even=0.02))


def prior_called(name: str) -> Prior:
    """Give the prior of a name; the plain one if there is none of it."""
    return next((prior for prior in PRIORS if str(prior) == name), PRIORS[0])


class Prediction:
    """Samples of a channel with light held out; `deviance` of a kernel, differentiable."""

    def __init__(
        self,
        samples: Sequence[Sample],
        ndim: int,
        *,
        seed: int = 0,
        limits: tuple[int, ...] | None = None,
    ) -> None:
        import torch

        from napari_deblur.ops.held_out import hold_out
        from napari_deblur.ops.statistics import background_of, lowest_of

        tiles = [_middle(sample, ndim, limits) for sample in samples]
        shape = tuple(min(n) for n in zip(*(s.tile.shape[-ndim:] for s in tiles), strict=True))
        tiles = [_middle(sample, ndim, shape) for sample in tiles]
        facts, self.pixel_size = tiles[0].facts, tiles[0].pixel_size
        background = float(background_of(tiles))
        white = max(float(torch.nanquantile(s.tile.flatten()[:: _every(s)], 0.999)) for s in tiles)
        self.photons = facts.gain is not None
        brightest = PHOTONS / MOST_KEPT
        if facts.gain is not None:
            brightest = (white - background) / facts.gain
        elif facts.noise:
            # As much noise, over the brightest light, as so many photons have.
            brightest = ((white - background) / facts.noise) ** 2
        share = min(MOST_KEPT, PHOTONS / max(brightest, 1.0))
        self.dim = brightest < DIM
        # As if no more light had been held out than `MOST_KEPT` leaves of what was kept: beside
        # more of it, what the prediction errs by for want of light is no longer small.
        self.faint = min(1.0, share / (1 - share) / (MOST_KEPT / (1 - MOST_KEPT)))
        parts = hold_out(
            tiles, share=share, seed=seed, times=SPLITS if ndim == 2 and len(tiles) == 1 else 1
        )
        first = parts[0]
        low = first.shift
        if not self.photons:
            # Noise of both signs: without room below the background it would become light.
            noise = first.sample.facts.noise or (first.noise or 0.0) * (1 - share) ** 0.5
            low = min(float(lowest_of(tiles, background)), background - 4 * noise)
        unit = share / facts.gain if facts.gain is not None else 1 / max(white - background, 1e-6)
        kept = torch.stack([_flat(part.sample.tile, ndim) for part in parts])
        held = torch.stack([_flat(part.held, ndim) for part in parts])
        self.mask = kept.isfinite().float() if bool(kept.isnan().any()) else None
        self.kept = ((kept - low) * unit).nan_to_num(0.0).clamp_(min=0)
        self.dark = max((background - low) * unit, 1e-6)
        self.pixels = float(kept.isfinite().sum())
        mean = float(self.kept.sum()) / max(self.pixels, 1.0)
        self.start = max(mean - self.dark, 1e-3 * self.dark, 1e-6)
        # Of a predicted light unit, in the unit of what is held out.
        self.scale, self.shift = first.scale / unit, (low - first.shift) * first.scale
        self.held = held.nan_to_num(0.0)
        self.noise = first.noise
        # One sample counts once, however often it is split.
        self.nats = self.pixels / (2 * len(parts) / len(tiles))
        self.shape, self.most = shape, MOST if ndim == 2 else MOST_SOLID
        self.steps = FIRST if ndim == 2 else self.most

    def deviance(self, kernel: Tensor, prior: Prior = PRIORS[0]) -> Tensor:
        """Give the deviance per pixel that the kernel ([z,] y, x) leaves; around 1 at best."""
        import torch

        if not (torch.is_grad_enabled() and kernel.requires_grad):
            return self.compared(self.predicted(kernel, prior))
        with torch.no_grad():
            value, slope = self._sloped(kernel.detach(), prior)
        # Its value, with a slope that torch hands on.
        held = kernel.detach()
        return value + ((kernel - held) * slope).sum()

    def _sloped(self, kernel: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
        """Give the deviance of a kernel, and its slope."""
        import torch

        values, slopes = zip(
            *(
                self._restoring(kernel, prior, i).slope(self.steps, self._misfit(i))
                for i in self._images()
            ),
            strict=True,
        )
        return torch.stack(values).sum(), torch.stack(slopes).sum(dim=0)

    def _misfit(self, i: slice) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        mask = None if self.mask is None else self.mask[i]

        def misfit(light: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = self._compared(light * self.scale + self.shift, self.held[i], mask)
            return value, slope.mul_(self.scale)

        return misfit

    def _images(self) -> list[slice]:
        """Give the images that are restored at once: of planes two."""
        n = PAIR if self.kept.ndim == 3 else 1
        return [slice(i, i + n) for i in range(0, len(self.kept), n)]

    def compared(self, light: Tensor) -> Tensor:
        """Give the deviance per pixel of what was held out from a prediction of it."""
        return self._compared(light, self.held, self.mask)[0]

    def _compared(self, light: Tensor, held: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give what some images have of `compared`, and its slope by the light."""
        import torch

        if self.noise is not None:
            off = (light - held) / self.noise
            parts, slope = off.square(), off.mul_(2 / self.noise)
        else:
            lit = light.clamp(min=1e-6)
            parts = 2 * (lit - held - held * torch.log(lit)) + 2 * torch.xlogy(held, held)
            slope = (2 - 2 * held / lit).mul_(light >= 1e-6)
        if mask is not None:
            parts, slope = parts * mask, slope.mul_(mask)
        return parts.sum() / self.pixels, slope.div_(self.pixels)

    def level(self) -> Tensor:
        """Predict the same light everywhere: the mean of what was kept."""
        import torch

        return torch.full_like(self.held, (self.start + self.dark) * self.scale + self.shift)

    def colour(self, light: Tensor) -> float:
        """Give the correlation of neighbours in what a prediction leaves, the largest by axis.

        As it would be if a quarter of the light that was kept had been held out: a prediction errs
        smoothly by the noise of what it was made from, which shows where far more is held out.
        """
        spread = self.noise if self.noise is not None else light.clamp(min=1e-6).sqrt()
        left = (self.held - light) / spread
        if self.mask is not None:
            left = left * self.mask
        left = left - left.mean()
        power = max(1 - self.faint + self.faint * float(left.square().mean()), 1e-12)
        axes = [a for a in range(1 - left.ndim, 0) if left.shape[a] > 1]
        near = [(_cut(left, a, last=True) * _cut(left, a, last=False)).mean() for a in axes]
        return max((self.faint * float(one) / power for one in near), default=0.0)

    def course(self, kernel: Tensor, prior: Prior = PRIORS[0], *, least: int = 1) -> list[float]:
        """Give the deviance, in nats, after each step until it has long passed its best."""
        import torch

        seen: list[float] = []
        with torch.no_grad():
            for light in self._predictions(kernel, prior):
                seen.append(float(self.compared(light)) * self.nats)
                if len(seen) >= max(least, seen.index(min(seen)) + 1 + PATIENCE):
                    break
        return seen

    def predicted(self, kernel: Tensor, prior: Prior = PRIORS[0]) -> Tensor:
        """Restore what was kept and blur it again, in the unit of what was held out."""
        *_, last = self._predictions(kernel, prior, only=self.steps)
        return last

    def _restoring(self, kernel: Tensor, prior: Prior, i: slice) -> Restoring:
        from napari_deblur.methods._slopes import Restoring

        mask = None if self.mask is None else self.mask[i]
        start, dark = self.start, self.dark
        return Restoring(kernel, self.kept[i], mask, start=start, dark=dark, even=prior.even)

    def _predictions(
        self, kernel: Tensor, prior: Prior, *, only: int | None = None
    ) -> Iterator[Tensor]:
        """Give the prediction after each step, or after one step only."""
        import torch

        def light(i: slice) -> Iterator[Tensor]:
            restoring = self._restoring(kernel, prior, i)
            beyond = last = restoring.flat()
            for number in range(only or self.most):
                beyond, last = restoring.step(number, beyond, last)
                if only is None or number + 1 == only:
                    yield restoring.blurred(last) * self.scale + self.shift

        for parts in zip(*map(light, self._images()), strict=True):
            yield torch.cat(parts)


def _cut(thing: Tensor, axis: int, *, last: bool) -> Tensor:
    n = thing.shape[axis]
    return thing.narrow(axis, 0, n - 1) if last else thing.narrow(axis, 1, n - 1)


def _flat(tile: Tensor, ndim: int) -> Tensor:
    """Drop axes of one plane in front of the kernel's."""
    return tile.reshape(tile.shape[-ndim:])


def _every(sample: Sample) -> int:
    return max(1, sample.tile.numel() // 1_000_000)


def _middle(sample: Sample, ndim: int, most: tuple[int, ...] | None = None) -> Sample:
    """Cut the middle out of a sample; of a volume and a flat kernel the plane in the middle."""
    from dataclasses import replace

    tile = sample.tile
    while tile.ndim > ndim:
        tile = tile[tile.shape[0] // 2]
    limits = most or ((SIDE, SIDE) if ndim == 2 else SOLID)
    for axis, limit in enumerate(limits, -ndim):
        start = max(tile.shape[axis] - limit, 0) // 2
        tile = tile.narrow(axis, start, min(limit, tile.shape[axis]))
    return replace(sample, tile=tile.contiguous())
