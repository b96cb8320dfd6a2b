"""Quality after each iteration, ours and scikit-image's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from napari_deblur import ops

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.bench.scenes import Scene
    from napari_deblur.protocols import Blur

__all__ = ["Curve", "Restored", "curve_of", "restored", "skimage_trace", "trace_of"]

# From one number of iterations to the next, where a method has to run again.
STEP = 1.12


@dataclass
class Curve:
    """PSNR after so many iterations."""

    iterations: list[int] = field(default_factory=list)
    decibels: list[float] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """Give the best PSNR and when it was reached."""
        decibels = max(self.decibels)
        return self.iterations[self.decibels.index(decibels)], decibels

    def reaches(self, decibels: float) -> int | None:
        """Give the first iteration with this PSNR or more."""
        for number, here in zip(self.iterations, self.decibels, strict=True):
            if here >= decibels:
                return number
        return None


@dataclass(frozen=True, eq=False)
class Restored:
    """A restored scene: the method as it was resolved, its quality, and the seconds."""

    method: Any
    image: Tensor
    decibels: float
    choosing: float
    running: float


def restored(method: Any, scene: Scene) -> Restored:
    """Let a method decide what is "auto", and restore the scene."""
    start = perf_counter()
    method = method.resolved([scene.sample()])
    middle = perf_counter()
    image = method(scene.tile, scene.blur).image
    end = perf_counter()
    return Restored(method, image, scene.psnr(image), middle - start, end - middle)


def trace_of(method: Any, tile: Tensor, blur: Blur, most: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the restored tile after each iteration of a resolved method.

    Methods that can't be watched run again, from the start, for some numbers of iterations.
    """
    if hasattr(method, "iterates"):
        yield from zip(range(1, most + 1), method.iterates(tile, blur), strict=False)
        return
    number = 1
    while number <= most:
        yield number, replace(method, iterations=number)(tile, blur).image
        number = max(number + 1, int(number * STEP))


def curve_of(trace: Iterator[tuple[int, Tensor]], scene: Scene) -> Curve:
    """Follow a trace until it is well past its best."""
    curve = Curve()
    for number, image in trace:
        curve.iterations.append(number)
        curve.decibels.append(scene.psnr(image))
        if number > 1.5 * curve.best[0] + 20:
            break
    return curve


def skimage_trace(scene: Scene, most: int, *, subtracted: bool) -> Iterator[tuple[int, Tensor]]:
    """Yield what ``skimage.restoration.richardson_lucy`` gives after 1, 2, … iterations.

    The same steps, of which scikit-image shows only the last: nothing but zeros beyond the
    border, start at 0.5. Their cost is measured on the function itself. The background stays in
    the image, or is subtracted before and added afterwards.
    """
    dark = float(scene.facts.background or 0) if subtracted else 0.0
    image, kernel = (scene.tile - dark).clamp(min=0), scene.blur.basis[0]
    size = tuple(image.shape)
    lengths = ops.transform_shape(ops.object_shape(size, tuple(kernel.shape)))
    # scipy's "same": the full convolution from (n - 1) // 2 on.
    where = tuple(
        slice((n - 1) // 2, (n - 1) // 2 + t) for n, t in zip(kernel.shape, size, strict=True)
    )
    forth, back = (
        torch.fft.rfftn(k, lengths) for k in (kernel, kernel.flip(tuple(range(kernel.ndim))))
    )

    def convolved(thing: Tensor, spectrum: Tensor) -> Tensor:
        return ops.backward(ops.forward(thing, lengths).mul_(spectrum), lengths)[where]

    estimate = torch.full_like(image, 0.5)
    for number in range(1, most + 1):
        ratio = image / (convolved(estimate, forth) + 1e-12)
        estimate = estimate * convolved(ratio, back)
        yield number, estimate + dark
