"""What other people's Richardson-Lucy is measured against: transforms alone, plain code, ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.bench.entrants import ITERATIVE, entrant

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Task", "floor", "ours", "scipy_plain", "torch_floor", "torch_plain"]


@dataclass(frozen=True, eq=False)
class Task:
    """An image, its kernel (both [z,] y, x), and what may be used for them."""

    image: NDArray[np.float32]
    kernel: NDArray[np.float32]
    threads: int = 1
    device: str = "cpu"


def _lengths(task: Task) -> tuple[int, ...]:
    from napari_deblur import ops

    return ops.transform_shape(ops.object_shape(task.image.shape, task.kernel.shape))


def floor(task: Task) -> Callable[[int], Any]:
    """Four transforms of the padded size, in place, with nothing between."""
    import torch

    from napari_deblur.ops import transforms

    lengths = _lengths(task)
    half = (*lengths[:-1], lengths[-1] // 2 + 1)
    spectrum = torch.zeros(half, dtype=torch.complex64, device=task.device)

    def run(iterations: int) -> None:
        for _ in range(2 * iterations):
            grid = transforms.real_view(spectrum, lengths)
            transforms.forward(grid, lengths, out=spectrum)
            transforms.backward(spectrum, lengths)

    return run


def torch_floor(task: Task) -> Callable[[int], Any]:
    """Four transforms of the padded size as torch.fft does them."""
    import torch

    lengths = _lengths(task)
    grid = torch.zeros(lengths, device=task.device)

    def run(iterations: int) -> None:
        for _ in range(2 * iterations):
            torch.fft.irfftn(torch.fft.rfftn(grid), lengths)

    return run


def _plain(fft: Any, task: Task, like: Callable[[NDArray[Any]], Any], iterations: int) -> Any:
    """Write our model down plainly.

    The object is longer than the image, weighted by what is seen of it, and the background is in
    the model.
    """
    lengths, size, ndim = _lengths(task), task.image.shape, task.image.ndim
    wide = tuple(t + n - 1 for t, n in zip(size, task.kernel.shape, strict=True))
    inside, valid = (tuple(slice(n) for n in shape) for shape in (wide, size))
    padded = np.zeros(lengths, np.float32)
    padded[tuple(slice(n) for n in task.kernel.shape)] = task.kernel
    padded = np.roll(padded, [1 - n for n in task.kernel.shape], range(ndim))
    otf, image = fft.rfftn(like(padded)), like(task.image)
    back = otf.conj()

    def spread(tile: Any) -> Any:
        return fft.irfftn(fft.rfftn(tile, lengths) * back, lengths)[inside]

    weight = 1 / spread(like(np.ones(size, np.float32))).clip(0.01)
    estimate = like(np.full(wide, float(image.mean()), np.float32))
    for _ in range(iterations):
        blurred = fft.irfftn(fft.rfftn(estimate, lengths) * otf, lengths)[valid]
        estimate = estimate * weight * spread(image / (blurred + 10.0))
    return estimate


def torch_plain(task: Task) -> Callable[[int], Any]:
    """Iterate with torch.fft."""
    import torch

    def like(array: NDArray[Any]) -> Any:
        return torch.from_numpy(array).to(task.device)

    return lambda iterations: _plain(torch.fft, task, like, iterations)


def scipy_plain(task: Task) -> Callable[[int], Any]:
    """Iterate with scipy.fft."""
    import scipy.fft

    def run(iterations: int) -> Any:
        with scipy.fft.set_workers(task.threads):
            return _plain(scipy.fft, task, np.asarray, iterations)

    return run


def ours(task: Task, *, name: str) -> Callable[[int], Any]:
    """Iterate with a method of ours, with everything decided beforehand."""
    import torch

    from napari_deblur.protocols import Blur, Facts, Sample

    method, settings = ITERATIVE[name]
    # A few iterations are enough to decide what takes no more time with other values.
    made = entrant(method, iterations=4, **settings)
    if hasattr(made, "weight"):
        made = replace(made, weight=0.002)  # 0 would be decided for noise, and costs nothing
    tile = torch.from_numpy(task.image).to(task.device)
    blur = Blur(torch.from_numpy(task.kernel)[None].to(task.device))
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=10.0, noise=3.0)
    # On a corner, as a plan decides on samples: else deciding would set the peak of memory.
    corner = tile[tuple(slice(48) for _ in tile.shape)].contiguous()
    region = tuple((0, n) for n in (1, 1, *corner.shape)[-3:])
    made = made.resolved([Sample(corner, region, 0, 0, blur, facts)])
    return lambda iterations: replace(made, iterations=iterations)(tile, blur)
