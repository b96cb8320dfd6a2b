"""The kernel that blurs given edges into what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_deblur.methods._sparse_grids import View, differences

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Equations",
    "centred",
    "cleaned",
    "descended",
    "divided",
    "equations",
    "lags",
    "on_simplex",
]

# Values below this share of the largest are noise, and so are islands of less of the mass. With
# 5 % and 10 % thin strands of hand-shake paths were lost for good (Levin's kernels 6 and 7).
FAINT, ISLAND = 0.03, 0.03
DIVIDING, PROJECTING = 30, 60
# Of the centre, in pixels.
NEAR = 0.03
# A lag that fewer pixels than this share have a say in counts no more than so many would.
RARE = 0.05


@dataclass(frozen=True, eq=False)
class Equations:
    """Least squares for a kernel: a matrix of lags, and the right side.

    Parameters
    ----------
    matrix : Tensor, complex64
        The transform of the edges' autocorrelation, up to the kernel's largest lag.
    right : Tensor, shape of the kernel
    lengths : of the transform
    """

    matrix: Tensor
    right: Tensor
    lengths: tuple[int, ...]

    def times(self, kernel: Tensor) -> Tensor:
        """Multiply a kernel by the matrix."""
        from napari_deblur import ops

        spectrum = ops.forward(kernel, self.lengths) * self.matrix
        inner: tuple[Any, ...] = tuple(slice(n) for n in kernel.shape)
        return ops.backward(spectrum, self.lengths)[inner].clone()

    def steepest(self) -> float:
        """Give a bound of the matrix's largest eigenvalue."""
        import torch

        largest = torch.view_as_real(self.matrix).square().sum(dim=-1).max().sqrt()
        return float(largest)


def equations(
    pairs: Iterable[tuple[View, Tensor]], shape: tuple[int, ...], *, even: bool
) -> Equations:
    """Make the equations ``∇x * k = ∇y`` of all tiles, on the pixels of the tiles.

    Parameters
    ----------
    pairs : of a view and its sharp image, whose tile begins at index 0
    shape : of the kernel
    even : bool
        Of far lags fewer pixels of a tile have a say. True makes up for that: right for a kernel
        that is nearly known (+0.5 dB on Levin's photographs). While the search goes on, less say
        keeps noise away from the rim (without: −0.6 dB).
    """
    import torch

    from napari_deblur import ops

    ndim = len(shape)
    near = [(-(n // 2), n) for n in shape]
    far = [(1 - n, 2 * n - 1) for n in shape]
    right: Any = 0
    auto: Any = 0
    for view, x in pairs:
        size = tuple(view.values.shape[-ndim:])
        lengths = tuple(ops.good_length(n + k, even=True) for n, k in zip(size, shape, strict=True))
        first: tuple[Any, ...] = (..., *(slice(n) for n in size))
        tile = x[first]
        # The last difference of each axis would wrap around; an axis of one pixel has none.
        inner: tuple[Any, ...] = (..., *(slice(max(n - 1, 1)) for n in size))
        cross: Any = 0
        power: Any = 0
        for of_x, of_y in zip(differences(tile, ndim), differences(view.values, ndim), strict=True):
            seen = of_y[inner] if view.mask is None else of_y[inner] * view.mask[inner]
            ours, theirs = ops.forward(of_x[inner], lengths), ops.forward(seen, lengths)
            axes = tuple(range(ours.ndim - ndim))
            cross = cross + (theirs * ours.conj()).sum(dim=axes)
            power = power + torch.view_as_real(ours).square().sum(dim=(*axes, -1))
        one = lags(ops.backward(cross, lengths), near)
        two = lags(ops.backward(power.to(cross.dtype), lengths), far)
        if even:
            known = torch.ones_like(view.values) if view.mask is None else view.mask
            known = known[inner].reshape(-1, *(max(n - 1, 1) for n in size)).mean(dim=0)
            all_of = ops.forward(torch.ones_like(known), lengths)
            some = ops.forward(known, lengths)
            one = one * _evened(some * all_of.conj(), lengths, near, known.numel())
            two = two * _evened(all_of * all_of.conj(), lengths, far, known.numel())
        right, auto = right + one, auto + two
    small = tuple(ops.good_length(2 * n, even=True) for n in shape)
    grid = auto.new_zeros(small)
    places = [
        torch.arange(1 - n, n, device=auto.device) % m for n, m in zip(shape, small, strict=True)
    ]
    grid[torch.meshgrid(*places, indexing="ij")] = auto
    return Equations(ops.forward(grid, small), right, small)


def _evened(
    spectrum: Tensor, lengths: tuple[int, ...], spans: list[tuple[int, int]], most: int
) -> Tensor:
    """Give how many pixels there are for each that has a say in a lag."""
    from napari_deblur import ops

    counts = lags(ops.backward(spectrum, lengths), spans)
    return most / counts.clamp(min=RARE * most)


def lags(values: Tensor, spans: list[tuple[int, int]]) -> Tensor:
    """Take (first, count) lags along each axis of a periodic correlation."""
    import torch

    for axis, (first, count) in enumerate(spans):
        places = torch.arange(first, first + count, device=values.device) % values.shape[axis]
        values = values.index_select(axis, places)
    return values


def divided(of: Equations, ridge: float, kernel: Tensor) -> Tensor:
    """Solve with ``ridge · |k|²`` added, by conjugate gradients from a kernel."""
    k = kernel
    rest = of.right - of.times(k) - ridge * k
    way = rest
    size = float(rest.square().sum())
    least = 1e-10 * float(of.right.square().sum())
    for _ in range(DIVIDING):
        if size <= least:
            break
        image = of.times(way) + ridge * way
        curved = float((way * image).sum())
        if curved <= 0:  # rounding errors alone are left
            break
        step = size / curved
        k = k + step * way
        rest = rest - step * image
        before, size = size, float(rest.square().sum())
        way = rest + (size / before) * way
    return k


def on_simplex(of: Equations, ridge: float, kernel: Tensor) -> Tensor:
    """Solve for a kernel of sum 1 that is nowhere negative.

    By accelerated projected gradients (FISTA: Beck and Teboulle, SIAM J. Imaging Sci. 2, 183
    (2009), doi:10.1137/080716542).
    """
    return descended(
        kernel,
        lambda k: of.times(k) + ridge * k - of.right,
        of.steepest() + ridge,
        PROJECTING,
    )


def descended(
    kernel: Tensor, slope: Callable[[Tensor], Tensor], steep: float, steps: int
) -> Tensor:
    """Follow a slope, which is nowhere steeper than `steep` times a step, on the simplex."""
    k, before, moment = kernel, kernel, 1.0
    for _ in range(steps):
        after = (1 + (1 + 4 * moment**2) ** 0.5) / 2
        ahead = k + (moment - 1) / after * (k - before)
        before, k, moment = k, _projected(ahead - slope(ahead) / steep), after
    return k


def _projected(values: Tensor) -> Tensor:
    """Project to the nearest kernel of sum 1 that is nowhere negative."""
    import torch

    ordered = values.flatten().sort(descending=True).values
    above = ordered.cumsum(0) - 1
    count = torch.arange(1, ordered.numel() + 1, device=values.device)
    last = int((ordered * count > above).sum())
    return (values - above[last - 1] / last).clamp(min=0)


def cleaned(kernel: Tensor) -> Tensor:
    """Drop faint values and small islands; move the centroid to the centre by whole pixels."""
    import numpy as np
    import torch
    from scipy.ndimage import label

    from napari_deblur import ops

    kernel = kernel.clamp(min=0)
    largest = float(kernel.max())
    if not largest > 0:
        return ops.delta(tuple(kernel.shape)).to(kernel)
    array = kernel.where(kernel >= FAINT * largest, 0.0).cpu().numpy()
    islands, count = label(array > 0, np.ones((3,) * array.ndim))
    masses = np.bincount(islands.ravel(), array.ravel(), count + 1)
    small = masses < ISLAND * array.sum()
    small[int(masses.argmax())] = False
    array[small[islands]] = 0
    kernel = ops.normalised(torch.from_numpy(array).to(kernel))
    return centred(kernel, whole=True)


def centred(kernel: Tensor, *, whole: bool = False) -> Tensor:
    """Move the centroid to the centre: by whole pixels, or to 0.03 px.

    Parts of pixels by cubic splines: linear weights would blur a path by as much as it is wide.
    """
    import torch
    from scipy.ndimage import shift

    from napari_deblur import ops

    if whole:
        moves = tuple(-float(round(float(c))) for c in ops.centroid(kernel))
        return ops.normalised(ops.shifted(kernel, moves)) if any(moves) else kernel
    for _ in range(4):  # what is cut off below 0 or at an edge moves the centroid again
        off = ops.centroid(kernel)
        if float(off.abs().max()) <= NEAR:
            break
        moved = shift(kernel.cpu().numpy(), (-off).tolist(), order=3)
        kernel = ops.normalised(torch.from_numpy(moved).to(kernel))
    return kernel
