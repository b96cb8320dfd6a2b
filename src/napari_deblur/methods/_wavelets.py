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
def _filters(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import pywt  # type: ignore[import-untyped, unused-ignore]

    bank = pywt.Wavelet(name)
    # Undecimated, each filter carries 1/√2: then the transform and its adjoint are the identity.
    low, high = (tuple(float(v) / 2**0.5 for v in f) for f in (bank.dec_lo, bank.dec_hi))
    return low, high


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

    Parameters
    ----------
    name : str
        Of the wavelet.
    levels : tuple of int
        For each of the last axes.
    threshold : float
        Details from minus to plus this are taken away, larger ones made smaller by it.
    """

    def __init__(self, name: str, levels: tuple[int, ...], threshold: float) -> None:
        self.low, self.high = _filters(name)
        self.steps, self.threshold = levels_of(levels), threshold
        # Memory that nobody uses at the moment: fresh one each time would leave gaps.
        self.spare: list[Tensor] = []

    def space(self, like: Tensor) -> Tensor:
        """Give memory of an image's size, holding anything."""
        import torch

        return self.spare.pop() if self.spare else torch.empty_like(like)

    def clipped(self, image: Tensor) -> Tensor:
        """Give what soft thresholds take away from an image: its details, where they are small.

        The image less this is the mean, over all shifts, of shrinking in an orthogonal basis
        (Coifman and Donoho, Translation-invariant de-noising (1995),
        doi:10.1007/978-1-4612-2544-7_9).

        Parameters
        ----------
        image : Tensor, shape (..., [z,] y, x)
            From `space`: used up.

        Returns
        -------
        Tensor, shape of the image
            Goes back to `spare` when it is no longer needed.
        """
        details, threshold = [], self.threshold
        for steps in self.steps:
            # Details of white noise are smaller by √2 for each filter: so is the threshold.
            threshold /= 2 ** (sum(step > 0 for step in steps) / 2)
            coarse: list[Tensor] = []
            found = self._split(image, steps, 0, threshold, coarse)
            assert found is not None
            details.append(found)
            image = coarse.pop()
        self.spare.append(image)
        total = details.pop()
        for steps in reversed(self.steps[: len(details)]):
            for axis, step in enumerate(steps, -len(steps)):
                if step:
                    total = self._moved(total, self.low, axis, -step)
            found = details.pop()
            self.spare.append(total)
            total = found.add_(total)
        return total

    def _split(
        self,
        image: Tensor,
        steps: tuple[int, ...],
        place: int,
        threshold: float,
        coarse: list[Tensor] | None,
    ) -> Tensor | None:
        """Split along one axis after the other, clip, and join; what is smooth goes to `coarse`."""
        while place < len(steps) and not steps[place]:
            place += 1
        if place == len(steps):
            if coarse is None:
                return image.clamp_(-threshold, threshold)
            coarse.append(image)
            return None
        step, axis = steps[place], place - len(steps)
        fine = self._filtered(image, self.high, axis, step)
        found = self._split(fine, steps, place + 1, threshold, None)
        assert found is not None
        joined = self._moved(found, self.high, axis, -step)
        smooth = self._moved(image, self.low, axis, step)
        found = self._split(smooth, steps, place + 1, threshold, coarse)
        if found is not None:
            self._filtered(found, self.low, axis, -step, onto=joined)
            self.spare.append(found)
        return joined

    def _moved(self, image: Tensor, taps: tuple[float, ...], axis: int, step: int) -> Tensor:
        """Filter an image that is not needed any more."""
        result = self._filtered(image, taps, axis, step)
        self.spare.append(image)
        return result

    def _filtered(
        self,
        image: Tensor,
        taps: tuple[float, ...],
        axis: int,
        step: int,
        onto: Tensor | None = None,
    ) -> Tensor:
        """Add up copies that are shifted by steps; the image goes on with its border's values.

        To continue what was clipped in the same way is no exact adjoint, within a filter's length
        of the border.
        """
        import torch

        n = image.shape[axis]
        if onto is None:
            total = torch.mul(image, taps[0], out=self.space(image))
        else:
            total = onto.add_(image, alpha=taps[0])
        for number, tap in enumerate(taps[1:], 1):
            shift = min(number * abs(step), n)
            # From the right for a step ahead, from the left for one back.
            start, end = (0, n - shift) if step > 0 else (shift, 0)
            edge = image.narrow(axis, n - 1 if step > 0 else 0, 1)
            inner = image.narrow(axis, shift - start, n - shift)
            total.narrow(axis, start, n - shift).add_(inner, alpha=tap)
            total.narrow(axis, end, shift).add_(edge, alpha=tap)
        return total
