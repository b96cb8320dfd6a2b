"""What compact models share: those whose light soon ends, or falls off, around the centre."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_deblur.protocols import Kernel
from napari_deblur.registry import psfs

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Compact", "are_three", "check", "number", "odd", "offsets", "rule"]

Shape = tuple[int, int, int]
Size = tuple[float, float, float]


class Compact(ABC):
    """A model that says which share of its energy falls into each pixel."""

    continuous: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def share(self, shape: Shape, pixel_size: Size, values: Mapping[str, Tensor]) -> Tensor:
        """Give the share of the energy in each pixel, float64, centre at ``n // 2``.

        Of a kernel of one plane it is the share of that plane.
        """

    @abstractmethod
    def reach(self, pixel_size: Size) -> Shape:
        """Give an odd shape (z, y, x) that holds 99.9 % of the energy."""

    def default_shape(self, pixel_size: Size, image: Shape | None = None) -> Shape:
        """Choose an odd shape (z, y, x) that holds 99.9 % of the energy.

        Parameters
        ----------
        pixel_size : (z, y, x) in µm
        image : (z, y, x) or None
            No axis becomes longer than twice the image less one: what is farther off reaches no
            pixel. An image of one plane has a kernel of one plane.
        """
        check((1, 1, 1), pixel_size)
        z, y, x = self.reach(pixel_size)
        if image is not None:
            z, y, x = (min(n, 2 * m - 1) for n, m in zip((z, y, x), image, strict=True))
        return z, y, x

    def tensor(self, shape: Shape, pixel_size: Size, **values: Tensor) -> Tensor:
        """Make the kernel in torch, differentiable with respect to `values`.

        Parameters
        ----------
        shape : (z, y, x)
        pixel_size : (z, y, x) in µm
        **values : Tensor
            Continuous parameters, in place of the fields of the same names.

        Returns
        -------
        Tensor, shape (z, y, x), float32
            Of sum 1, on the device of the values.

        Raises
        ------
        ValueError
            When the shape or pixel size is none, or no light falls into the shape.
        TypeError
            When a value is no continuous parameter of the model.
        """
        share = self._share(shape, pixel_size, values)
        return (share / share.sum()).float()

    def __call__(
        self, shape: Shape | Literal["auto"], pixel_size: Size, image: Shape | None = None
    ) -> Kernel:
        """Make a kernel of `shape` (z, y, x) with its centre at ``n // 2``.

        Parameters
        ----------
        shape : (z, y, x) or "auto"
            "auto" takes `default_shape`. The report says as ``left_out`` which share of the energy
            lies outside the shape.
        pixel_size : (z, y, x) in µm
        image : (z, y, x) or None
            Caps the shape that "auto" takes.
        """
        wanted = self.default_shape(pixel_size, image) if shape == "auto" else shape
        share = self._share(wanted, pixel_size, {})
        report: dict[str, Any] = {"psf": psfs.name_of(self)}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            report[field.name] = list(value) if isinstance(value, tuple) else value
        report["left_out"] = round(max(1 - float(share.sum()), 0.0), 6)
        array = (share / share.sum()).float().cpu().numpy()
        return Kernel(array, pixel_size, report)

    def _share(self, shape: Shape, pixel_size: Size, values: Mapping[str, Tensor]) -> Tensor:
        check(shape, pixel_size)
        for name in values:
            if name not in self.continuous:
                known = ", ".join(self.continuous) or "none"
                raise TypeError(
                    f'{psfs.name_of(self)} has no continuous parameter "{name}"; there are: {known}'
                )
        share = self.share(shape, pixel_size, values)
        if not float(share.detach().sum()) > 0:
            raise ValueError(
                f"no light of the {psfs.name_of(self)} falls into a kernel of shape {shape}: "
                "make it larger"
            )
        return share


def check(shape: Shape, pixel_size: Size) -> None:
    """Refuse a shape or a pixel size that is none.

    Raises
    ------
    ValueError
    """
    if not are_three(shape) or not all(int(n) == n and n >= 1 for n in shape):
        raise ValueError(f"the shape of a kernel is (z, y, x), each 1 or more, got {shape!r}")
    if not are_three(pixel_size) or not all(p > 0 for p in pixel_size):
        raise ValueError(f"pixel_size is (z, y, x) in µm, each above 0, got {pixel_size!r}")


def are_three(values: Any) -> bool:
    """Tell whether these are three finite numbers; users may pass anything."""
    try:
        return len(values) == 3 and all(math.isfinite(value) for value in values)
    except (TypeError, ValueError):
        return False


def rule(model: object, name: str, *, least: float = 0.0, above: bool = False) -> None:
    """Refuse a number of a model that is not finite or too small.

    Raises
    ------
    ValueError
    """
    value: Any = getattr(model, name)
    if not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} of {psfs.name_of(model)} is {value!r}: give a number")
    if not math.isfinite(value) or value < least or (above and value == least):
        how = f"above {least:g}" if above else f"{least:g} or more"
        raise ValueError(f"{name} of {psfs.name_of(model)} is {value:g}: give a number {how}")


def number(model: object, values: Mapping[str, Tensor], name: str) -> Tensor:
    """Give a parameter as a float64 tensor: that of `values`, or the model's own."""
    import torch

    if name in values:
        return values[name].double()
    device = next((value.device for value in values.values()), None)
    return torch.tensor(getattr(model, name), dtype=torch.float64, device=device)


def odd(far: float, size: float) -> int:
    """Give how many pixels of `size` reach `far` on both sides of the middle one's centre."""
    return 2 * max(math.ceil(far / size - 0.5 - 1e-9), 0) + 1


def offsets(n: int, size: float, like: Tensor) -> Tensor:
    """Give the n + 1 edges of n pixels of `size`, relative to the centre of pixel ``n // 2``."""
    import torch

    places = torch.arange(n + 1, dtype=torch.float64, device=like.device)
    return (places - n // 2 - 0.5) * size
