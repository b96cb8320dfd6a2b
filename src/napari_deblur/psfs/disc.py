"""A disc: a lens out of focus, as rays have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from napari_deblur.psfs._compact import Compact, number, odd, offsets, rule
from napari_deblur.psfs._sampling import FAR

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Disc"]

# Keeps roots and arc sines off their ends, where gradients are infinite; of the radius.
INSIDE = 1 - 1e-9


@dataclass(frozen=True)
class Disc(Compact):
    """The even disc that a lens out of focus makes of a point (geometric optics).

    Each pixel holds the exact area of the disc within it, which is also what makes the kernel
    differentiable in the radius. Centred at the disc's middle. It acts plane by plane.

    Parameters
    ----------
    radius : float, in µm
        0 for a point.

    References
    ----------
    The limit of the defocused transfer function for large defocus: Stokseth, J. Opt. Soc. Am. 59,
    1314 (1969), doi:10.1364/JOSA.59.001314.
    """

    radius: Annotated[float, {"label": "radius (µm)", "min": 0.0, "max": FAR}] = 0.4

    continuous: ClassVar[tuple[str, ...]] = ("radius",)

    def __post_init__(self) -> None:
        rule(self, "radius")

    def reach(self, pixel_size: tuple[float, float, float]) -> tuple[int, int, int]:
        """Give the shape that holds all of the disc."""
        y, x = (odd(self.radius, p) for p in pixel_size[1:])
        return 1, y, x

    def share(
        self,
        shape: tuple[int, int, int],
        pixel_size: tuple[float, float, float],
        values: Mapping[str, Tensor],
    ) -> Tensor:
        """Give the share of the disc in each pixel."""
        import torch

        radius = number(self, values, "radius").clamp(min=1e-6 * min(pixel_size[1:]))
        y, x = (offsets(n, p, radius) for n, p in zip(shape[1:], pixel_size[1:], strict=True))
        corners = _quadrant(y.abs()[:, None], x.abs()[None], radius)
        corners = corners * torch.sign(y)[:, None] * torch.sign(x)[None]
        pixels = corners.diff(dim=0).diff(dim=1) / (torch.pi * radius**2)
        share = pixels.new_zeros(shape)
        share[shape[0] // 2] = pixels.clamp(min=0)
        return share


def _quadrant(y: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    """Give the area of the disc within [0, y] × [0, x]."""
    import torch

    def under(u: Tensor) -> Tensor:
        """Integrate the height of the circle from 0 to u."""
        return (u * (radius**2 - u**2).sqrt() + radius**2 * torch.asin(u / radius)) / 2

    y, x = (torch.minimum(v, INSIDE * radius) for v in (y, x))
    # Where the circle falls below y; before it there is a rectangle.
    meeting = (radius**2 - y**2).sqrt()
    beyond = y * meeting + under(x) - under(meeting * INSIDE)
    return torch.where(x <= meeting, x * y, beyond)
