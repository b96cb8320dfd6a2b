"""Accelerated Richardson-Lucy deconvolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from napari_deblur.methods._ascent import (
    Ascent,
    checked_iterations,
    decided,
    parts_of,
    scale_of,
)
from napari_deblur.methods._pacing import KEPT, paced

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.ops.held_out import HeldOut, Stop
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["AcceleratedRichardsonLucy"]

# Beyond this an accelerated method has long passed its best.
MOST = 80
# By what the misfit to the data may rise above its least.
RUNAWAY = 1.5


@dataclass(frozen=True)
class AcceleratedRichardsonLucy:
    """Reach what Richardson-Lucy reaches, or more, in a fifth of its iterations.

    Two means. Each step starts beyond the last object, in the direction in which it moved. And
    the first steps may take another back projector than the blur's adjoint: one that also undoes
    part of the blur (Wiener's filter, damped, times Butterworth's). Alone it would run away; the
    adjoint takes over before it does. Held-out light decides all that: which back projector suits
    the blur, how many steps it takes, and when to stop. Nothing is decided by a tile.

    Parameters
    ----------
    iterations : int or "auto"
        "auto" stops where held-out light is predicted best. Too many do more harm than they do to
        plain Richardson-Lucy.
    acceleration : "auto", "heavy-ball" or "biggs-andrews"
        How far beyond: (k − 1) / (k + 2) of the last move; or, to second order, as far as the moves
        kept their direction on a sample. "auto" takes the first with the unmatched back projector
        and the second with the adjoint.
    back_projector : "auto", "matched" or "wiener-butterworth"
        "auto" takes the matched one (the adjoint) or, where that is clearly better, begins with
        the other one. Where the blur varies over the field, and in images smaller than
        the kernel: the matched one.
    unmatched : int or "auto"
        How many first iterations take the unmatched back projector: with "wiener-butterworth" all,
        up to the one after which the light would run away.
    damping : float
        Of Wiener's filter, over the blur's largest gain. Less is faster and runs away sooner.
    momentum : tuple of float, or "auto"
        Of Biggs and Andrews, one value for each iteration; the last one goes on.
    background, start, lowest : float or "auto"
        As for ``richardson-lucy``.
    most : int
        Where "auto" iterations end at the latest.

    References
    ----------
    Biggs and Andrews, Appl. Opt. 36, 1766 (1997), doi:10.1364/AO.36.001766.
    Wang and Miller (scaled heavy ball), IEEE Trans. Image Process. 23, 848 (2014),
    doi:10.1109/TIP.2013.2291324.
    Guo et al. (back projectors), Nat. Biotechnol. 38, 1337 (2020), doi:10.1038/s41587-020-0560-x;
    departs from it by stronger damping, by the momentum, and by the return to the adjoint.
    """

    iterations: int | Literal["auto"] = "auto"
    acceleration: Literal["auto", "heavy-ball", "biggs-andrews"] = "auto"
    back_projector: Literal["auto", "matched", "wiener-butterworth"] = "auto"
    unmatched: Annotated[int | Literal["auto"], {"label": "quick steps"}] = "auto"
    damping: float = 0.3
    momentum: tuple[float, ...] | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"
    most: int = MOST

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 9.5

    def __post_init__(self) -> None:
        checked_iterations(self.iterations)
        choices = {
            "acceleration": ("auto", "heavy-ball", "biggs-andrews"),
            "back_projector": ("auto", "matched", "wiener-butterworth"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name} is "{getattr(self, name)}" and must be one of {", ".join(allowed)}'
                )
        if self.most < 1:
            raise ValueError(f"most is {self.most} and must be 1 or more")
        if self.unmatched != "auto" and (not isinstance(self.unmatched, int) or self.unmatched < 0):
            raise ValueError(
                f'unmatched is {self.unmatched!r} and must be "auto" or a whole number of 0 or more'
            )
        if not self.damping > 0:
            raise ValueError(f"damping is {self.damping} and must be above 0")
        if self.start != "auto" and self.start <= 0:
            raise ValueError(f"start is {self.start} counts and must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Decide by held-out light which back projector to take, and when to stop.

        Raises
        ------
        ValueError
            Where `iterations` and `unmatched` are given and the light runs away on a sample.
        """
        scale = scale_of(samples, self)
        fixed = replace(self, background=scale.background, start=scale.start, lowest=scale.lowest)
        adjoint = self.back_projector == "matched"
        if adjoint or any(_needs_matched(s.tile, s.blur) for s in samples if s.blur is not None):
            fixed = replace(fixed, unmatched=0)
        elif self.back_projector == "wiener-butterworth" and self.unmatched == "auto":
            fixed = replace(
                fixed, unmatched=self.most if self.iterations == "auto" else self.iterations
            )
        if fixed.unmatched != "auto":
            return self._guarded(fixed, samples)
        parts = parts_of(samples, "accelerated-richardson-lucy")
        matched, least = replace(fixed, unmatched=0)._stopped(parts)
        other, turn = replace(fixed, iterations="auto", unmatched=self.most)._stopped(parts)
        if not turn.clearly_better(least):
            return matched
        other = other._tamed(samples)
        if self.iterations == "auto":
            return other
        # Beyond the step where it would begin to run away the adjoint goes on.
        return replace(fixed, unmatched=other.iterations)._stopped(parts)[0]

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        name = "accelerated-richardson-lucy"
        ascent = Ascent(tile, blur, decided(self, name, "iterations", "unmatched", "momentum"))
        steps = self._steps(ascent, self._momentum())
        for _ in range(int(self.iterations)):
            thing = next(steps)
        return ascent.finished(thing)

    def iterates(self, tile: Tensor, blur: Blur) -> Iterator[Tensor]:
        """Give the restored tile after 1, 2, … iterations, without end: for those who watch."""
        name = "accelerated-richardson-lucy"
        ascent = Ascent(tile, blur, decided(self, name, "unmatched", "momentum"))
        for thing in self._steps(ascent, self._momentum()):
            yield ascent.image(thing)

    def _momentum(self) -> list[float]:
        return [] if self.momentum == "auto" else [float(a) for a in self.momentum]

    def _orders_vary(self) -> bool:
        """Tell whether some step takes the momentum of Biggs and Andrews."""
        if self.acceleration != "auto":
            return self.acceleration == "biggs-andrews"
        return (
            self.iterations == "auto"
            or self.unmatched == "auto"
            or (self.unmatched < self.iterations)
        )

    def _guarded(self, fixed: Self, samples: Sequence[Sample]) -> Self:
        """Decide the rest where the number of unmatched steps is known, without a runaway."""
        done = fixed._numbered(samples)
        if not done.unmatched:
            return done
        tamed = done._tamed([sample for sample in samples if sample.blur is not None])
        if self.iterations == "auto" or tamed.iterations == done.iterations:
            return tamed
        if self.unmatched == "auto":
            return replace(fixed, unmatched=tamed.iterations)._numbered(samples)
        raise ValueError(
            f"unmatched is {self.unmatched} and the light runs away after {tamed.iterations} "
            f'iterations: give unmatched={tamed.iterations} or less, or leave it on "auto"'
        )

    def _numbered(self, samples: Sequence[Sample]) -> Self:
        """Decide iterations and momentum where they are not known."""
        if self.iterations != "auto" and (self.momentum != "auto" or not self._orders_vary()):
            return replace(self, momentum=() if self.momentum == "auto" else self.momentum)
        return self._stopped(parts_of(samples, "accelerated-richardson-lucy"))[0]

    def _stopped(self, parts: Sequence[HeldOut]) -> tuple[Self, Stop]:
        """Decide iterations and momentum for a given number of unmatched steps."""
        from napari_deblur.ops.held_out import best_stop

        fixed = self.iterations != "auto"
        # What the first sample finds as momentum the others take: one value for all tiles.
        found = self._momentum()
        measured = self.momentum == "auto"
        runs = [
            self._predictions(part.sample, found, measured=measured and i == 0)
            for i, part in enumerate(parts)
        ]
        most = int(self.iterations) if fixed else self.most
        stop = best_stop(parts, runs, most=most, least=most if fixed else 1)
        iterations = most if fixed else min(stop.with_all_light(1 / 4), self.most)
        kept = tuple(round(a, 4) for a in found[: min(iterations, KEPT)])
        if self.acceleration == "heavy-ball":
            kept = ()
        unmatched = min(int(self.unmatched), iterations)
        return replace(self, iterations=iterations, unmatched=unmatched, momentum=kept), stop

    def _tamed(self, samples: Sequence[Sample]) -> Self:
        """Stop before the light runs away, which shows in the misfit to the data.

        The adjoint can't, but with another back projector and a kernel that is too wide it may;
        and with all of the light earlier than with the part from which the number was decided.
        """
        import torch

        iterations = int(self.iterations)
        for sample in samples:
            assert sample.blur is not None
            # Of each step's beginning.
            misfit = self(sample.tile, sample.blur).residuals.cpu()
            misfit = misfit.nan_to_num(torch.inf)
            least = int(misfit.argmin())
            if bool((misfit[least:] > RUNAWAY * misfit[least]).any()):
                iterations = min(iterations, max(least, 1))
        unmatched = min(int(self.unmatched), iterations)
        momentum = self.momentum[:iterations] if self.momentum != "auto" else self.momentum
        return replace(self, iterations=iterations, unmatched=unmatched, momentum=momentum)

    def _predictions(
        self, sample: Sample, momentum: list[float], *, measured: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give what the object predicts, and its tile, after 1, 2, … iterations."""
        from napari_deblur import ops

        assert sample.blur is not None
        name = "accelerated-richardson-lucy"
        ascent = Ascent(sample.tile, sample.blur, decided(self, name))
        for thing in self._steps(ascent, momentum, measured=measured):
            yield ascent.predict(thing), ops.crop(thing, ascent.blur)

    def _steps(
        self, ascent: Ascent, momentum: list[float], *, measured: bool = False
    ) -> Iterator[Tensor]:
        """Give the object after 1, 2, … iterations; `momentum` grows where it is `measured`."""
        from napari_deblur import ops

        def heavy(number: int) -> bool:
            matched_too = self.acceleration == "heavy-ball"
            return matched_too or (self.acceleration == "auto" and number <= unmatched)

        unmatched, shaped = int(self.unmatched), None
        if unmatched:
            shaped = ops.wiener_butterworth(ascent.blur, ascent.tile.shape, self.damping)
        return paced(
            ascent, momentum, measured=measured, heavy=heavy, unmatched=unmatched, shaped=shaped
        )


def _needs_matched(tile: Tensor, blur: Blur) -> bool:
    """Tell whether another back projector would be wrong: for fields, and tiles thinner than it."""
    sizes = zip(tile.shape[-blur.ndim :], blur.shape, strict=True)
    return blur.weights is not None or any(n < k for n, k in sizes)
