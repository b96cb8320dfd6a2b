"""Shrinkage in shift-invariant wavelets, a few arrays at a time."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Shrinkage", "check_name", "finest_levels", "levels_of"]


def check_name(name: str) -> None:
    """Raise ValueError unless PyWavelets has an orthogonal wavelet of this name."""
    import pywt  # type: ignore[import-untyped, unused-ignore]

    known = pywt.wavelist(kind="discrete")
    if name not in known or not pywt.Wavelet(name).orthogonal:
        few = [n for n in known if n.startswith(name[:2].lower()) and pywt.Wavelet(n).orthogonal]
        raise ValueError(
            f"wavelet is {name!r}, which is no orthogonal wavelet of PyWavelets: "
            f"take one of {', '.join((few or ['haar', 'db2', 'sym4', 'coif1'])[:8])}"
        )


@lru_cache(maxsize=32)
def _filter(name: str) -> tuple[float, ...]:
    """Give the low-pass filter, centre first, then the taps on either side."""
    import pywt  # type: ignore[import-untyped, unused-ignore]

    taps = pywt.Wavelet(name).dec_lo
    n = len(taps)
    # All shifts: half of the filter's correlation with itself. Every other tap is 0.
    return tuple(
        sum(taps[i] * taps[i + lag] for i in range(n - lag)) / 2 if lag % 2 or lag == 0 else 0.0
        for lag in range(n)
    )


def finest_levels(spacing: tuple[float, ...], deepest: int) -> tuple[int, ...]:
    """Give the number of levels along each axis: fewer along a coarse one."""
    return tuple(max(0, deepest - ceil(log2(step) - 0.5)) for step in spacing)


def levels_of(levels: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Give, level by level, the step of the filters along each axis; 0 where there is none.

    An axis with fewer levels joins in at the coarser ones, where its pixels are as long as the
    steps.
    """
    deepest = max(levels)
    steps = []
    for level in range(deepest):
        late = [level - (deepest - n) for n in levels]
        steps.append(tuple(2**n if n >= 0 else 0 for n in late))
    return steps


class Shrinkage:
    """Takes small details away, again and again in the same memory.

    An image is the sum of its details at every scale and of what is left: along each axis it is
    split by an orthogonal wavelet's filter, correlated with itself, and the rest. That knows
    neither place nor direction (Beylkin and Torrésani, Appl. Comput. Harmon. Anal. 3, 164 (1996),
    doi:10.1006/acha.1996.0014).

    Parameters
    ----------
    name : str
        Of the wavelet.
    levels : tuple of int
        For each of the last axes.
    threshold : float
        Details from minus to plus this are taken away, larger ones made smaller by it; for white
        noise the same number of standard deviations for all.
    """

    def __init__(self, name: str, levels: tuple[int, ...], threshold: float) -> None:
        self.taps = _filter(name)
        self.steps, self.threshold = levels_of(levels), threshold
        sides = 2 * sum(tap**2 for tap in self.taps[1:])
        # What is left of white noise; both have half a pixel itself.
        self.left = (self.taps[0] ** 2 + sides) ** 0.5
        # Memory that nobody uses at the moment: fresh one each time would leave gaps.
        self.spare: list[Tensor] = []

    def space(self, like: Tensor) -> Tensor:
        """Give memory of an image's size, holding anything."""
        import torch

        return self.spare.pop() if self.spare else torch.empty_like(like)

    def clipped(self, image: Tensor) -> Tensor:
        """Give what soft thresholds take away from an image: its details, where they are small.

        Parameters
        ----------
        image : Tensor, shape (..., [z,] y, x)
            From `space`: used up.

        Returns
        -------
        Tensor, shape of the image
            Goes back to `spare` when it is no longer needed.
        """
        total, threshold = self.space(image).zero_(), self.threshold
        for steps in self.steps:
            used = [axis for axis, step in enumerate(steps, -len(steps)) if step]
            threshold *= self.left ** len(used)
            image = self._split(image, steps, used, threshold, total, detail=False)
        self.spare.append(image)
        return total

    def _split(
        self,
        image: Tensor,
        steps: tuple[int, ...],
        axes: list[int],
        threshold: float,
        total: Tensor,
        *,
        detail: bool,
    ) -> Tensor:
        """Split along one axis after the other, add up clipped details; give what is smooth."""
        if not axes:
            if detail:
                total.add_(image.clamp_(-threshold, threshold))
            return image
        smooth = self._filtered(image, axes[0], steps[axes[0]])
        fine = image.sub_(smooth)
        self.spare.append(self._split(fine, steps, axes[1:], threshold, total, detail=True))
        return self._split(smooth, steps, axes[1:], threshold, total, detail=detail)

    def _filtered(self, image: Tensor, axis: int, step: int) -> Tensor:
        """Add up copies shifted to either side; the image goes on with its border's values."""
        import torch

        n = image.shape[axis]
        total = torch.mul(image, self.taps[0], out=self.space(image))
        for number, tap in enumerate(self.taps[1:], 1):
            if not tap:
                continue
            shift = min(number * step, n)
            for start, end, edge in ((0, shift, n - 1), (shift, 0, 0)):
                moved = image.narrow(axis, end, n - shift)
                total.narrow(axis, start, n - shift).add_(moved, alpha=tap)
                beyond = total.narrow(axis, n - shift if start == 0 else 0, shift)
                beyond.add_(image.narrow(axis, edge, 1), alpha=tap)
        return total
