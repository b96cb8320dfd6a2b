"""Kernels compared by how well they predict light that was held out, with one as the measure.

Compared is after some more steps than that one takes to its own best: after few the narrow one
always predicts better, after many the wide one. Or each after as many as suit it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.methods._prediction import Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Sample

__all__ = ["CLEARLY", "SEED", "Duels"]

# Light held out by this seed took no part in a search, whose seeds are 0 and 1.
SEED = 2
# Steps at most, and how many more than a kernel takes to its own best.
MOST, MORE = 40, 1.25
# Gaussians that are compared, by σ in pixels, and how many pixels across these are.
GAUSSIANS = tuple(np.geomspace(0.5, 5, 11))
SIDE = 41
# Nats by which another must be better at least: less is no evidence.
EVIDENCE = 2.0
# Nats that must be gained over even light, or there is nothing but noise.
CLEARLY = 5.0


class Duels:
    """Compares kernels by how well they predict light that was held out, with one as the measure.

    Parameters
    ----------
    samples : of one channel
        The first one is looked at.
    kernel : Tensor ([z,] y, x)
    limits : of what is looked at, along each axis of the kernel
    light : Prediction
        In the place of one of the first sample.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        kernel: Tensor,
        limits: tuple[int, ...] | None = None,
        light: Prediction | None = None,
    ) -> None:
        if light is None:
            light = Prediction(samples[:1], kernel.ndim, seed=SEED, limits=limits)
        self.light = light
        self.light.most = MOST
        self.kernel = kernel.to(self.light.kept.device)
        self.course = self.light.course(self.kernel)
        level = float(self.light.compared(self.light.level()))
        # Nats that the kernel gains over even light.
        self.gained = level * self.light.nats - min(self.course)
        best = self.course.index(min(self.course)) + 1
        self.light.steps = min(max(round(MORE * best), 5), MOST)

    @property
    def blind(self) -> bool:
        """Whether there is nothing but noise to see."""
        return self.gained < CLEARLY

    def predicted(self, other: Tensor) -> Tensor:
        """Give what another kernel predicts."""
        return self.light.predicted(other.to(self.kernel.device))

    def better(self, light: Tensor) -> float:
        """Give by how much what another kernel predicts is better, as `LIMITS` has it."""
        misfit = float(self.light.compared(light)) * self.light.nats
        return self._clear(self.course[self.light.steps - 1] - misfit)

    def better_at_best(self, other: Tensor) -> float:
        """Give the same, with each after as many steps as suit it."""
        own = self.light.course(other.to(self.kernel.device))
        return self._clear(min(self.course) - min(own))

    def either(self, other: Tensor) -> float:
        """Give the larger of both: after as many steps, and each after as many as suit it."""
        steps = self.light.steps
        own = self.light.course(other.to(self.kernel.device), least=steps)
        return max(
            self._clear(self.course[steps - 1] - own[steps - 1]),
            self._clear(min(self.course) - min(own)),
        )

    def colour(self) -> float:
        """Give the structure of what the kernel leaves (see `Prediction.colour`)."""
        return self.light.colour(self.light.predicted(self.kernel))

    def gaussians(self) -> dict[float, Tensor]:
        """Make Gaussians to compare with, by σ in pixels."""
        import torch

        from napari_deblur.psfs.gaussian import Gaussian

        side = min(SIDE, min(self.light.shape) // 3 * 2 + 1)
        return {
            sigma: torch.from_numpy(
                Gaussian((0.0, sigma, sigma))((1, side, side), (1.0, 1.0, 1.0)).at()[0].copy()
            )
            for sigma in GAUSSIANS
            if sigma < side / 5
        }

    def _clear(self, nats: float) -> float:
        return float((nats if nats > EVIDENCE else min(nats, 0.0)) / self.gained**0.5)
