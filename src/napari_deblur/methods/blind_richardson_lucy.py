"""Blind Richardson-Lucy: image and kernel by turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from napari_deblur.methods._ascent import SEEN
from napari_deblur.methods._kernel_constraints import Constraints, Symmetry, limit_of
from napari_deblur.methods.richardson_lucy import RichardsonLucy

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Blur, Estimate, Kernel, Sample

__all__ = ["BlindRichardsonLucy"]

# What comes in at a kernel's edge when it is moved: not 0, from which no factor leads away.
SMALLEST = 1e-6


@dataclass(frozen=True)
class BlindRichardsonLucy:
    """Find image and kernel by turns, each with a few Richardson-Lucy steps.

    The kernel stays non-negative, of sum 1 and centred; when it is moved back to the centre,
    the image is moved the other way. Once the kernel is found, the image is restored with it
    from the start.

    People expect this method, and it is simple; it is not the most trustworthy one. It tends to
    take too wide or too narrow a kernel, since image and kernel can trade sharpness: look at the
    kernel before you believe the image.

    Parameters
    ----------
    iterations : int or "auto"
        Of the final restoration, with the kernel found; "auto" as for ``richardson-lucy``. With a
        kernel for each tile it is decided with the kernel that they start from.
    rounds : int
        How often kernel and image take turns.
    steps : int
        Richardson-Lucy steps for the kernel, then for the image, in each round.
    background, start, lowest : float or "auto"
        As for ``richardson-lucy``.
    support : float or "none"
        Radius in pixels across the planes, beyond which the kernel is 0; "none" is its shape.
    band_limit : float, "auto" or "none"
        Cycles per pixel across the planes, above which the kernel passes next to nothing. "auto"
        is 2 NA / λ where NA, wavelength and pixel size are known, else "none". That is the limit
        of a widefield microscope: a confocal one passes more, up to twice as much.
    symmetry : "none", "mirror" or "radial"
        Mirror: the same on both sides of the centre along each axis. Radial: round in each plane,
        along z as it comes.
    keep : "best" or "last"
        Which round's kernel is taken. "best" holds a fifth of the light out of the search, and
        takes the round that predicts it best. A tile that finds its own kernel takes the last.

    References
    ----------
    Fish, Brinicombe, Pike and Walker, J. Opt. Soc. Am. A 12, 58 (1995),
    doi:10.1364/JOSAA.12.000058. Departs from it by the weights at the border, the background,
    the centring, the choice of the round by held-out light, and by restoring anew at the end.
    """

    iterations: int | Literal["auto"] = "auto"
    rounds: Annotated[int, {"min": 1, "max": 200}] = 10
    steps: Annotated[int, {"min": 1, "max": 50}] = 10
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"
    support: float | Literal["none"] = "none"
    band_limit: float | Literal["auto", "none"] = "auto"
    symmetry: Symmetry = "none"
    keep: Literal["best", "last"] = "best"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 20
    estimate_shapes: ClassVar[tuple[tuple[int, ...], ...]] = ()

    def __post_init__(self) -> None:
        for name in ("rounds", "steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r} and must be a whole number of 1 or more")
        for name, unit in (("support", "pixels"), ("band_limit", "cycles per pixel")):
            value = getattr(self, name)
            if not isinstance(value, str) and not value > 0:
                raise ValueError(f'{name} is {value} {unit} and must be above 0, or "none"')
        for name, words in (
            ("support", ("none",)),
            ("band_limit", ("auto", "none")),
            ("symmetry", ("none", "mirror", "radial")),
            ("keep", ("best", "last")),
        ):
            value = getattr(self, name)
            if isinstance(value, str) and value not in words:
                raise ValueError(f'{name} "{value}" is not one of {", ".join(words)}')
        self._plain()  # its checks are ours

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Decide what Richardson-Lucy decides; iterations only where a kernel is known already."""
        plain = self._plain()
        known = any(sample.blur is not None for sample in samples)
        plain = (plain if known else replace(plain, iterations=1)).resolved(samples)
        return replace(
            self,
            iterations=plain.iterations if known else self.iterations,
            background=plain.background,
            start=plain.start,
            lowest=plain.lowest,
            band_limit=(limit_of(samples) or "none")
            if self.band_limit == "auto"
            else self.band_limit,
        )

    def restorer(self) -> RichardsonLucy:
        """Give Richardson-Lucy with the same numbers."""
        return self._plain()

    def _plain(self) -> RichardsonLucy:
        return RichardsonLucy(self.iterations, self.background, self.start, self.lowest)

    def estimate(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> Kernel:
        """Find one kernel for all samples, starting from `first` or from a Gaussian.

        Parameters
        ----------
        samples : of one channel
        shape : (z, y, x) of the kernel; z = 1 for a blur within planes
        first : Kernel or None
        """
        import torch

        from napari_deblur.protocols import Kernel

        start = torch.from_numpy(_fitted(first, shape))
        start = start[0] if shape[0] == 1 else start
        parts: list[HeldOut] = []
        if self.keep == "best":
            from napari_deblur.ops.held_out import hold_out

            parts = hold_out(samples)
        tiles = [sample.tile for sample in ([part.sample for part in parts] or samples)]
        search = self._alternate(tiles, start.to(tiles[0].device), parts)
        taken = -1
        if search.deviances:
            taken = min(range(self.rounds), key=search.deviances.__getitem__)
        kernel = search.kernels[taken]
        report: dict[str, Any] = {
            "method": "blind-richardson-lucy",
            "samples": [[list(span) for span in sample.region] for sample in samples],
            "residuals": [float(f"{float(r):.6g}") for r in search.residuals],
            "round": taken % self.rounds + 1,
            "deviances": [float(f"{d:.6g}") for d in search.deviances],
        }
        array = kernel.cpu().reshape(shape).numpy()
        return Kernel(array, first.pixel_size if first else None, report)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Find the tile's own kernel, starting from `blur`, and restore the tile with it."""
        from napari_deblur.protocols import Blur, Estimate

        if blur.weights is not None:
            raise ValueError(
                "blind-richardson-lucy starts from one kernel, not from a field: give one kernel"
            )
        kernel = self._alternate([tile], blur.basis[0]).kernels[-1]
        restored = self._plain()(tile, Blur(kernel[None]))
        return Estimate(restored.image, kernel, restored.residuals)

    def _alternate(
        self, tiles: list[Tensor], kernel: Tensor, parts: Sequence[HeldOut] = ()
    ) -> _Search:
        """Take turns; `parts` hold the light that was held out of the tiles, to score rounds by."""
        import torch

        from napari_deblur import ops
        from napari_deblur.protocols import Blur

        if "auto" in (self.background, self.start, self.lowest, self.band_limit):
            raise ValueError(
                'blind-richardson-lucy has an "auto" left: call resolved(samples) first'
            )
        start, lowest = float(self.start), float(self.lowest)
        dark, floor = float(self.background) - lowest, 1e-6 * start
        known = self._constraints()
        kernel = known.applied(ops.normalised(kernel.clamp(min=SMALLEST / kernel.numel())))
        views = []  # of each tile: counts and mask
        for tile in tiles:
            counts, mask = ops.split(tile)
            counts = counts.sub_(lowest).clamp_(min=0)
            mask = torch.ones_like(counts) if mask is None else mask
            views.append((counts.mul_(mask), mask))
        pixels = float(sum(mask.sum() for _, mask in views))
        shape = tuple(kernel.shape)
        images = [
            torch.full(ops.object_shape(tuple(c.shape), shape), start, device=c.device)
            for c, _ in views
        ]

        def ratio(image: Tensor, of: Blur, view: tuple[Tensor, Tensor]) -> Tensor:
            return view[0] / ops.blur(image, of).add_(dark).clamp_(min=floor)

        residuals, kernels, deviances = [], [], []
        for turn in range(self.rounds):
            of = Blur(kernel[None])
            for i, view in enumerate(views):
                seen = ops.blur_adjoint(view[1], of)
                weight = torch.where(seen > SEEN, 1 / seen, 0)
                # The flat image knows nothing of the kernel: the image goes first.
                for _ in range(self.steps if turn else 2 * self.steps):
                    ops.checkpoint()
                    back = ops.blur_adjoint(ratio(images[i], of, view), of).clamp_(min=0)
                    images[i] = back.mul_(images[i]).mul_(weight)
            pairs = list(zip(images, views, strict=True))
            below = _total(ops.kernel_adjoint(view[1], image, shape) for image, view in pairs)
            for _ in range(self.steps):
                ops.checkpoint()
                of = Blur(kernel[None])
                above = _total(
                    ops.kernel_adjoint(ratio(image, of, view), image, shape)
                    for image, view in pairs
                )
                new = kernel * above.clamp(min=0) / below.clamp(min=floor)
                # A tile without any light says nothing of the kernel.
                kernel = known.applied(ops.normalised(new)) if float(new.sum()) > 0 else kernel
            kernel, images = _recentred(kernel, images, known)
            predicted = [ops.blur(image, Blur(kernel[None])).add_(dark) for image in images]
            squares = [
                ops.mean_square((light - view[0]).mul_(view[1]), pixels)
                for light, view in zip(predicted, views, strict=True)
            ]
            residuals.append(torch.stack(squares).sum())
            if parts:
                deviances.append(_deviance(parts, predicted, lowest))
            kernels.append(kernel)
        if not parts:
            kernels = kernels[-1:]
        exact = replace(known, least=0.0)
        centred = [exact.applied(ops.normalised(ops.shifted(k, -ops.centroid(k)))) for k in kernels]
        return _Search(centred, torch.stack(residuals), deviances)

    def _constraints(self) -> Constraints:
        return Constraints(
            None if self.support == "none" else float(self.support),
            None if self.band_limit == "none" else float(self.band_limit),
            self.symmetry,
            SMALLEST,
        )


@dataclass(frozen=True, eq=False)
class _Search:
    """Kernels (centred) of all rounds, or of the last; residuals and deviances of all."""

    kernels: list[Tensor]
    residuals: Tensor
    deviances: list[float]


def _deviance(parts: Sequence[HeldOut], predicted: Sequence[Tensor], lowest: float) -> float:
    """Give the deviance of all that was held out, per pixel."""
    sizes = [int(part.held.isfinite().sum()) for part in parts]
    every = zip(parts, predicted, sizes, strict=True)
    total = sum(part.deviance(light + lowest) * n for part, light, n in every if n)
    return total / max(sum(sizes), 1)


def _total(parts: Iterable[Tensor]) -> Tensor:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def _recentred(
    kernel: Tensor, images: list[Tensor], known: Constraints
) -> tuple[Tensor, list[Tensor]]:
    """Move the kernel's centroid to the centre by whole pixels and the images the other way."""
    from napari_deblur import ops

    offsets = [round(float(c)) for c in ops.centroid(kernel)]
    if not any(offsets):
        return kernel, images
    moved = ops.shifted(kernel, tuple(-float(o) for o in offsets))
    moved = known.applied(ops.normalised(moved.clamp(min=SMALLEST / kernel.numel())))
    return moved, [_pushed(image, offsets) for image in images]


def _pushed(image: Tensor, offsets: list[int]) -> Tensor:
    """Move an object by whole voxels; what comes in repeats the border, and nothing wraps."""
    import torch

    for axis, by in enumerate(offsets, -len(offsets)):
        n = image.shape[axis]
        places = (torch.arange(n, device=image.device) - by).clamp(0, n - 1)
        image = image.index_select(axis, places)
    return image


def _fitted(first: Kernel | None, shape: tuple[int, int, int]) -> Any:
    """Crop or pad the first kernel to `shape` around its centre, or make a Gaussian."""
    from napari_deblur import ops

    if first is None:
        from napari_deblur.psfs.gaussian import Gaussian

        return Gaussian.wide(shape).at().copy()
    return ops.reshaped(first.at(), shape)
