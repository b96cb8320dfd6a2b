"""The tile as it is: the proof of the geometry around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """Return the tile unchanged: to check reading, tiling and writing alone."""

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 2
    needs_kernel: ClassVar[bool] = False

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Nothing is to be decided."""
        return self

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Return a copy of `tile` (..., [z,] y, x)."""
        import torch

        from napari_deblur.protocols import Estimate

        return Estimate(tile.clone(), None, torch.zeros(0, device=tile.device))
