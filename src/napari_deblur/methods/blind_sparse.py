"""Blind deconvolution by sparse edges: for motion, and for kernels of any form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from napari_deblur.methods.hyper_laplacian import HyperLaplacian

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Kernel, Sample

__all__ = ["BlindSparse"]

# Above this noise, as a share of the range from background to white, data count as noisy. Levin's
# photographs have 0.3 %; with 1 % the division follows the noise.
NOISY = 0.006
# Refinements of a kernel found in clean data; in noisy data they lost up to 2 dB.
REFINEMENTS = 3
# Least noise, as a share of the range: float32 shows no less.
LEAST = 1e-4
# Where a tile's start is below this share of its largest value, the kernel stays 0.
SUPPORT = 1e-6
# The second search for a large kernel starts from so many times the weight of an edge.
HEAVIER = 3.0
# Pixels, at least, of what is looked at.
FEWEST = 100
# A start is kept for a tile that it explains with residuals of so many times the noise, or of this
# share of the signal; else another kernel must have residuals (squared) of less than this share.
EXPLAINED, SMALL, BETTER = 1.5, 3e-3, 0.9


@dataclass(frozen=True)
class BlindSparse:
    """Find a kernel of any form from the strong edges, coarse to fine; then restore.

    A sharp image has few edges. On copies of the image from coarse to fine, the image of fewest
    edges that explains what was seen and the kernel take turns. It is made for motion and for
    optics of which nothing is known, in images with clear edges, such as photographs; where the
    blur has a model, fitting that model is better.
    The final image is the one of ``hyper-laplacian``.

    A kernel wider than 64 px is searched for where it is 48 px wide at most, and then enlarged:
    what is finer is lost. Give large kernels the whole image, not crops of it.

    Parameters
    ----------
    edges : float
        Weight of an edge at first, with the range from background to white as unit. More for
        images with strong edges and noise, less for low contrast.
    rounds : int
        How often image and kernel take turns on each level.
    refinements : int or "auto"
        Rounds at the end with images of all their detail; "auto": 3 for clean data, 0 for noisy.
    data : "auto", "clean" or "noisy"
        How the kernel follows from the edges: by division (clean) or with its sum and sign kept
        (noisy). "auto" decides by the noise.
    twice : bool
        Search in both ways, to take the other kernel where the first has collapsed, and to say
        whether they agree. Costs twice the time. Large kernels, for which `data` and `refinements`
        have no meaning, are searched for with two weights of an edge instead.
    weight, iterations, noise, background, scale, spacing
        Of the final image: see ``hyper-laplacian``. With a kernel for each tile, "auto" is decided
        with the kernel that they start from.
    white : float or "auto"
        Counts of the brightest.

    References
    ----------
    Xu, Zheng and Jia, Unnatural L0 sparse representation for natural image deblurring, IEEE CVPR
    1107 (2013), doi:10.1109/CVPR.2013.147. Cho and Lee, Fast motion deblurring, ACM Trans. Graph.
    28, 145 (2009), doi:10.1145/1618452.1618491.
    Departs from them by the kernel's step, which is chosen by the noise, and by the refinements.
    """

    edges: Annotated[float, {"min": 1e-5, "max": 1.0}] = 8e-3
    rounds: Annotated[int, {"min": 1, "max": 50}] = 5
    refinements: int | Literal["auto"] = "auto"
    data: Literal["auto", "clean", "noisy"] = "auto"
    twice: bool = True
    weight: float | Literal["auto"] = "auto"
    iterations: int | Literal["auto"] = "auto"
    noise: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    white: float | Literal["auto"] = "auto"
    scale: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 38
    # From crops of 144² photographs of 280² came out 0.4 to 10 dB worse than from 256².
    estimate_shapes: ClassVar[tuple[tuple[int, ...], ...]] = ((256, 256),)

    def __post_init__(self) -> None:
        if not self.edges > 0:
            raise ValueError(f"edges is {self.edges} and must be above 0")
        if not isinstance(self.rounds, int) or self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds!r} and must be a whole number of 1 or more")
        if self.refinements != "auto" and (
            not isinstance(self.refinements, int) or self.refinements < 0
        ):
            raise ValueError(
                f"refinements is {self.refinements!r} and must be a whole number of 0 or more, "
                'or "auto"'
            )
        if self.data not in ("auto", "clean", "noisy"):
            raise ValueError(f'data is "{self.data}" and must be auto, clean or noisy')
        self.restorer()  # its checks are ours

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Decide noise and range; what concerns the final image only where a kernel is known."""
        from napari_deblur.methods import _splitting_numbers as splitting
        from napari_deblur.ops.statistics import background_of

        noise = splitting.noise_of(samples) if self.noise == "auto" else self.noise
        background = background_of(samples) if self.background == "auto" else self.background
        white = _white_of(samples, background) if self.white == "auto" else self.white
        noisy = noise > NOISY * (white - background)
        data = ("noisy" if noisy else "clean") if self.data == "auto" else self.data
        refinements = self.refinements
        if refinements == "auto":
            refinements = REFINEMENTS if data == "clean" else 0
        fixed = replace(
            self,
            noise=noise,
            background=background,
            white=white,
            data=data,
            refinements=refinements,
        )
        if not all(sample.blur is not None for sample in samples):
            return fixed
        final = fixed.restorer().resolved(samples)
        return replace(
            fixed,
            weight=final.weight,
            iterations=final.iterations,
            scale=final.scale,
            spacing=final.spacing,
        )

    def restorer(self) -> HyperLaplacian:
        """Give the method of the final image, with the same numbers."""
        return HyperLaplacian(
            weight=self.weight,
            iterations=self.iterations,
            noise=self.noise,
            background=self.background,
            scale=self.scale,
            spacing=self.spacing,
        )

    def estimate(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> Kernel:
        """Find one kernel for all samples, from nothing.

        Samples should be at least four kernels wide.

        Parameters
        ----------
        samples : of one channel
        shape : (z, y, x) of the kernel; z = 1 for a blur within planes
        first : Kernel or None
            Gives its pixel size alone: coarse to fine starts from a point.

        Raises
        ------
        ValueError
            When a sample has fewer than 100 pixels.
        """
        from napari_deblur.protocols import Kernel

        for sample in samples:
            ny, nx = sample.tile.shape[-2:]
            if ny * nx < FEWEST:
                raise ValueError(f"the image has {ny} × {nx} pixels: too few to find a kernel")
        tiles = [sample.tile for sample in samples]
        kernel, found = self._found(tiles, shape[1:] if shape[0] == 1 else shape)
        found |= self._doubted(samples, kernel, found)
        report: dict[str, Any] = {
            "method": "blind-sparse",
            "samples": [[list(span) for span in sample.region] for sample in samples],
            "data": self.data,
            **found,
        }
        array = kernel.cpu().reshape(shape).numpy()
        return Kernel(array, first.pixel_size if first else None, report)

    def _doubted(
        self, samples: Sequence[Sample], kernel: Tensor, found: dict[str, Any]
    ) -> dict[str, Any]:
        """Give what the report says of doubt, once held-out light was asked as well."""
        from napari_deblur.methods._sparse_trust import REFUTED, refuted

        sign, why = refuted(samples, kernel)
        said: dict[str, Any] = {} if sign is None else {"wider gaussian": sign}
        if why is not None:
            reasons = [one for one in (found["doubt"], why) if one]
            said["doubt"] = ", and ".join(reasons)
            said["doubt_number"] = max(found["doubt_number"], REFUTED)
        return said

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile with its own kernel, which is 0 where `blur` is.

        Where `blur` explains the tile already, it is kept.
        """
        from napari_deblur import ops
        from napari_deblur.protocols import Blur, Estimate

        if "auto" in vars(self).values():
            raise ValueError('blind-sparse has an "auto" left: call resolved(samples) first')
        if blur.weights is not None:
            raise ValueError(
                "blind-sparse finds one kernel for a tile, not a field: give one kernel"
            )
        final, start = self.restorer(), blur.basis[0]
        support = start > SUPPORT * start.max()
        kept = final(tile, blur)
        if int(support.sum()) == 1 or float(kept.residuals[-1]) <= self._explained:
            return Estimate(kept.image, start, kept.residuals)
        found = self._found([tile], blur.shape)[0] * support
        if not float(found.sum()) > 0:
            return Estimate(kept.image, start, kept.residuals)
        kernel = ops.normalised(found)
        new = final(tile, Blur(kernel[None]))
        if float(new.residuals[-1]) > BETTER * float(kept.residuals[-1]):
            return Estimate(kept.image, start, kept.residuals)
        return Estimate(new.image, kernel, new.residuals)

    @property
    def _explained(self) -> float:
        """The mean squared residual, in counts, of a kernel that leaves nothing to explain."""
        return max(EXPLAINED * float(self.noise), SMALL * float(self.scale)) ** 2

    def _found(
        self, tiles: Sequence[Tensor], shape: tuple[int, ...]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Search twice, by division and on the simplex; take the one that suits the noise.

        The other one is taken where the first has collapsed, and says how far to trust.
        """
        from napari_deblur import ops
        from napari_deblur.methods import _sparse_large as large
        from napari_deblur.methods import _sparse_search as search
        from napari_deblur.methods import _sparse_trust as trust

        if "auto" in (self.noise, self.background, self.white, self.data, self.refinements):
            raise ValueError('blind-sparse has an "auto" left: call resolved(samples) first')
        dark, ndim = float(self.background), len(shape)
        reach = float(self.white) - dark
        views = []
        for tile in tiles:
            counts, mask = ops.split(tile)
            size = (-1, *tile.shape[-ndim:])
            counts = counts.sub_(dark).div_(reach).reshape(size)
            views.append((counts, None if mask is None else mask.reshape(size)))
        noise = max(float(self.noise) / reach, LEAST)
        if max(shape) > large.LARGE:
            return self._found_large(views, shape, noise)
        problem = search.problem_of(noise, ndim)
        noisy = self.data == "noisy"
        kernels, signs = [], []
        for simplex in (noisy, not noisy)[: 2 if self.twice else 1]:
            recipe = search.Recipe(self.edges, simplex, self.rounds)
            kernel = search.searched(views, shape, recipe)
            kernel = search.refined(views, kernel, problem, int(self.refinements))
            kernels.append(kernel)
            signs.append(trust.signs_of(views, kernel, problem))
        chosen = int(len(kernels) == 2 and trust.better(*signs))
        agreed = trust.agreement(*kernels) if len(kernels) == 2 else None
        number, sentence = trust.doubt(
            signs[chosen], agreed, problem.unit, refined=int(self.refinements) > 0
        )
        report: dict[str, Any] = {
            "run": ("projection" if noisy != bool(chosen) else "division"),
            "agreement": agreed,
            "signs": vars(signs[chosen]),
            "doubt_number": number,
            "doubt": sentence,
        }
        return kernels[chosen], report

    def _found_large(
        self, views: Sequence[tuple[Tensor, Tensor | None]], shape: tuple[int, ...], noise: float
    ) -> tuple[Tensor, dict[str, Any]]:
        """Search for a large kernel from two weights of an edge; take the one of less cost.

        What speaks for it is looked at where the search ended: on a coarser copy.
        """
        from napari_deblur import ops
        from napari_deblur.methods import _sparse_grids as grids
        from napari_deblur.methods import _sparse_large as large
        from napari_deblur.methods import _sparse_search as search
        from napari_deblur.methods import _sparse_trust as trust

        weights = (self.edges, HEAVIER * self.edges)[: 2 if self.twice else 1]
        tried = [large.searched(views, shape, weight, self.rounds) for weight in weights]
        found = [one for one in tried if one is not None]
        report: dict[str, Any] = {"run": "projection", "agreement": None, "signs": None}
        if not found:
            return ops.delta(shape).to(views[0][0]), {**report, "doubt_number": 0.0, "doubt": None}
        best = min(found, key=lambda one: one.cost)
        agreed = trust.agreement(*(one.kernel for one in found)) if len(found) == 2 else None
        axes = sum(n > 1 for n in shape)
        left = grids.noise_left(best.scale) ** axes
        problem = search.problem_of(noise * left, len(shape))
        small = [grids.coarser(*view, best.scale, len(shape)) for view in views]
        # Neighbours on a coarser copy share noise: colour says nothing there.
        signs = replace(trust.signs_of(small, best.small, problem), colour=0.0)
        number, sentence = trust.doubt(signs, agreed, problem.unit, refined=False)
        report.update(
            agreement=agreed,
            signs=vars(signs),
            scale=best.scale,
            doubt_number=number,
            doubt=sentence,
        )
        return best.kernel, report


def _white_of(samples: Sequence[Sample], background: float) -> float:
    """Take the white from the facts, or the brightest 0.1 %; above the background anyway."""
    import numpy as np

    known = samples[0].facts.white
    if known is None:
        values = np.concatenate([s.tile.cpu().numpy().ravel() for s in samples])
        values = values[np.isfinite(values)]
        known = float(np.percentile(values, 99.9)) if values.size else 0.0
    return known if known > background else background + max(abs(background), 1.0)
