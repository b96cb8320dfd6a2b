"""The types that everything shares. Read this first.

A *kernel* is sampled blur; a *method* restores one tile with a kernel; an *estimator* finds
kernels. Methods and estimators are frozen dataclasses of parameters: the same object is data for
forms, TOML files and provenance, and a function for tiles.

Arrays inside these types are changed by nobody. Kernels and blurs have files of their own (`blurs`,
`kernel_fields`); all are imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, runtime_checkable

from napari_deblur.blurs import Blur, Kernel
from napari_deblur.kernel_fields import KernelField

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Blur",
    "Cancelled",
    "Estimate",
    "Estimator",
    "Facts",
    "Kernel",
    "KernelField",
    "Method",
    "Sample",
]

Auto = Literal["auto"]
Origin = Literal["given", "read", "estimated"]


class Cancelled(Exception):
    """Raised inside an iteration when the run was cancelled."""


@dataclass(frozen=True)
class Facts:
    """What is known of one channel's camera and optics; None where nothing is.

    Counts are in the unit of the stack; lengths in µm. `origins` says for each name whether the
    value was given by the user, read from metadata or estimated from samples. `colour` is how much
    more noise there is at low frequencies than at the highest, in an image that was filtered or
    resampled; None for a camera's own.
    """

    gain: float | None = None
    offset: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    background: float | None = None
    white: float | None = None
    noise: float | None = None
    na: float | None = None
    wavelength: float | None = None
    n_immersion: float | None = None
    n_sample: float | None = None
    colour: float | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def completed(self, origin: Origin, **values: float | None) -> Self:
        """Fill in those of `values` that are not known yet, and say where they come from."""
        new = {k: float(v) for k, v in values.items() if v is not None and getattr(self, k) is None}
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "origins"}
        return type(self)(**(kept | new), origins={**self.origins, **dict.fromkeys(new, origin)})


@dataclass(frozen=True, eq=False)
class Sample:
    """A piece of a channel on which `plan` decides.

    Parameters
    ----------
    tile : Tensor, shape ([z,] y, x), float32
        Counts of the input; NaN where there are no data.
    region : ((start, stop), ...) in voxels of the stack, one pair for z, y, x
    time, channel : int
    blur : Blur or None
        None as long as no kernel is known.
    facts : Facts
    pixel_size : (z, y, x) in µm, or None where it is not known
    """

    tile: Tensor
    region: tuple[tuple[int, int], ...]
    time: int
    channel: int
    blur: Blur | None
    facts: Facts
    pixel_size: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method makes of one tile.

    Parameters
    ----------
    image : Tensor, shape of the tile, float32
        In counts of the input, background included; NaN where nothing is known.
    kernel : Tensor, shape ([z,] y, x), or None
        The kernel found in this tile; None if it was given.
    residuals : Tensor, shape (n,), float32
        What the method says of its progress, one number per iteration; may be empty.
    """

    image: Tensor
    kernel: Tensor | None
    residuals: Tensor


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of parameters that restores one tile.

    `arrays` is the number of float32 arrays of the padded tile's size that memory must hold at the
    peak of a call, the tile itself included: the planner counts memory with it. Where transforms
    are not in place (GPUs, ARM, macOS) a few more are counted, or ``arrays_torch`` if there is one.

    One that needs more than itself, such as a file, has ``check()``, which raises `OSError` or
    `ValueError` where that isn't there: a run asks before it begins.
    """

    multiple_of: ClassVar[int]
    arrays: ClassVar[float]

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Give the same method with every "auto" decided from these samples of one channel."""
        ...

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x); pure. Raise ValueError if an "auto" is left."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """A frozen dataclass of parameters that finds kernels.

    One that serves scope "field" has, besides,
    ``estimate_field(samples, shape, first, size) -> KernelField``: `samples` are from all over the
    stack, whose (z, y, x) is `size`. With ``varies_along: ClassVar[str] = "z"`` they are planes of
    a few depths.
    """

    estimate_shapes: ClassVar[tuple[tuple[int, ...], ...]]

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Give the same estimator with every "auto" decided from these samples."""
        ...

    def estimate(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> Kernel:
        """Find the kernel (1, 1, z, y, x) that suits all samples; its report says why."""
        ...

    def restorer(self) -> Method:
        """Give the method that restores once the kernel is known."""
        ...
