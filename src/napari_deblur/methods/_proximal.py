"""Proximal steps: towards the data of normal or photon noise, and towards few gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Gaussian", "Poisson", "shrunk"]

# Entries of the table of a prox, exact to 2e-5 of the argument; and see `_table`.
ENTRIES = 1 << 15
SLOPE = 1.0


@dataclass(frozen=True)
class Gaussian:
    """Half the squared distance to the data, in units of the noise."""

    def prox(self, wanted: Tensor, data: Tensor, penalty: float) -> Tensor:
        """Find u of least ``(u - data)² / 2 + penalty (u - wanted)² / 2``; changes `wanted`."""
        return wanted.mul_(penalty).add_(data).mul_(1 / (1 + penalty))


@dataclass(frozen=True)
class Poisson:
    """The negative logarithm of the likelihood of photons, on a background."""

    background: float

    def prox(self, wanted: Tensor, data: Tensor, penalty: float) -> Tensor:
        """Find u of least ``u - data log(u + b) + penalty (u - wanted)² / 2``."""
        half = wanted.add_(self.background - 1 / penalty).mul_(0.5)
        root = (half * half).add_(data, alpha=1 / penalty).sqrt_()
        return root.add_(half).sub_(self.background)


def shrunk(power: float, threshold: float, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Give the prox of ``threshold · |v|ᵖ`` as a factor of v, a function of |v|.

    Parameters
    ----------
    power : float, above 0, at most 1
    threshold : float, above 0
    like : Tensor
        On the device where it will be used.

    Returns
    -------
    callable
        It takes a tensor of |v|² and gives, in its memory, the factor.
    """
    import torch

    if power == 1:

        def soft(squared: Tensor) -> Tensor:
            factor = squared.sqrt_().clamp_(min=threshold).reciprocal_().mul_(-threshold)
            return factor.add_(1)

        return soft

    # v = c φ(|v| / c): one table of φ serves every threshold.
    unit = threshold ** (1 / (2 - power))
    least, values = _table(power)
    table = torch.tensor(values, device=like.device)

    def sparse(squared: Tensor) -> Tensor:
        # In terms of least / |v| all arguments from the jump to infinity lie between 1 and 0.
        place = squared.sqrt_().clamp_(min=1e-3 * unit * least).reciprocal_()
        place.mul_(unit * least * (ENTRIES - 1)).add_(0.5).clamp_(max=len(values) - 1)
        return torch.take(table, place.long(), out=place)

    return sparse


@lru_cache(maxsize=8)
def _table(power: float) -> tuple[float, tuple[float, ...]]:
    """Tabulate φ(s) / s where φ minimises ``(v - s)² / 2 + vᵖ``.

    The entries stand for least / s = 0 … 1. Beyond, the minimum is at 0; the jump to there is made
    a slope, as long as a `SLOPE` of least / s, because rounding errors grow at a jump: counts
    times 1000 gave a result that differed by 1 % of the peak, and photographs came out no better.
    """
    import numpy as np

    jump = (2 * (1 - power)) ** (1 / (2 - power))
    least = jump + power * jump ** (power - 1)
    s = least / np.linspace(0, 1, ENTRIES)[1:]
    v = s.copy()
    for _ in range(60):
        v -= (v - s + power * v ** (power - 1)) / (1 + power * (power - 1) * v ** (power - 2))
        v = np.maximum(v, jump)
    factors = v / s
    slope = factors[-1] * np.linspace(1, 0, int(SLOPE * ENTRIES))[1:]
    return least, (1.0, *factors.tolist(), *slope.tolist())
