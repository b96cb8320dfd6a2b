"""Blind deconvolution by families of kernels: what explains held-out light best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from napari_deblur.methods._families import families_of
from napari_deblur.methods.accelerated_richardson_lucy import AcceleratedRichardsonLucy

if TYPE_CHECKING:
    from napari_deblur.methods._families import Family
    from napari_deblur.methods._family_search import Fit, Search
    from napari_deblur.methods._field_fit import FieldFit
    from napari_deblur.protocols import Facts, Kernel, KernelField, Sample

__all__ = ["Blind"]

FAMILIES = ("gaussian", "disc", "pupil", "gibson-lanni")
# Samples that a search looks at: two planes, or one volume.
PLANES, VOLUMES = 2, 1
# Pixels of a kernel that is looked for.
WIDE, WIDE_SOLID, PLANES_DEEP = 41, 47, 39
# Of what is made of the kernel of a volume in the end.
WIDEST = (79, 95, 95)


@dataclass(frozen=True)
class Blind:
    """Find the kernel among those that optics make, and restore with it.

    A part of the light is held out. Each kernel restores the rest; the one from which the light
    held out is predicted best is taken. Tried are Gaussians, a lens out of focus as rays have it
    and, where aperture, wavelength and voxel size are known, a lens with aberrations (for planes)
    or one that looks into a sample of another refractive index (for volumes).

    The report tells family and parameters, the runner-up, how much better it predicts than no
    kernel at all, how well a second search on other light agrees, and in a sentence whether to
    believe it. Parameters are effective ones: depth and refractive index, say, stand for each
    other; what counts is the kernel.

    Parameters
    ----------
    families : tuple of "gaussian", "disc", "pupil", "gibson-lanni"
        Which ones to try; () for all that suit the data.
    refine : bool
        Let the kernel of a plane go free of its family in the end, if held-out light agrees.
    seed : int
        Of the light that is held out.

    References
    ----------
    Holding out light: Neufeld, Dharamshi, Gao and Witten, J. Mach. Learn. Res. 25 (2024).
    Kernels from a pupil: Hanser, Gustafsson, Agard and Sedat, J. Microsc. 216, 32 (2004),
    doi:10.1111/j.0022-2720.2004.01393.x. The search is our own: see the page on blind methods.
    """

    families: Annotated[tuple[str, ...], {"label": "families (none: all)"}] = ()
    refine: bool = True
    seed: Annotated[int, {"min": 0}] = 0

    estimate_shapes: ClassVar[tuple[tuple[int, ...], ...]] = ()
    knows_optics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in self.families:
            if name not in FAMILIES:
                raise ValueError(
                    f'families has "{name}" and must be of {", ".join(FAMILIES)}; () tries all'
                )

    @staticmethod
    def widest(image: tuple[int, int, int]) -> tuple[int, int, int]:
        """Choose the odd shape (z, y, x) that is searched in an image of nz, ny, nx voxels.

        41 px for planes, 39 × 47 × 47 for volumes; at most all planes and a third across.
        """
        nz, ny, nx = image
        most = WIDE if nz == 1 else WIDE_SOLID
        y, x = (min(max(min(most, n // 3), 1) // 2 * 2 + 1, n) for n in (ny, nx))
        return min(PLANES_DEEP, (nz + 1) // 2 * 2 - 1), y, x

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Give itself: the search has nothing to decide beforehand."""
        return self

    def restorer(self) -> AcceleratedRichardsonLucy:
        """Give the accelerated method, which stops by itself."""
        return AcceleratedRichardsonLucy()

    def estimate(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> Kernel:
        """Find one kernel for all samples.

        Parameters
        ----------
        samples : of one channel
        shape : (z, y, x) of the kernel; z = 1 for a blur within planes
        first : Kernel or None
            Of an earlier search (of the frame before, say): its family is tried from its values.
            Any other kernel is tried as it is and with an extra blur. What became of it is in the
            report under ``first``, with a sentence.
        """
        from napari_deblur import ops

        with ops.one_thread(when=shape[0] == 1):
            return self._told(samples, shape, first, *self._searched(samples, shape, first))

    def _told(
        self,
        samples: Sequence[Sample],
        shape: tuple[int, int, int],
        first: Kernel | None,
        search: Search,
        fits: list[Fit],
    ) -> Kernel:
        """Judge the best of some fits and make its kernel."""
        from napari_deblur.methods._families import given
        from napari_deblur.methods._first import compared
        from napari_deblur.methods._trust import trusted
        from napari_deblur.protocols import Kernel

        again = self._second(samples, search, fits[0])
        used = self._used(samples, shape)
        array, report = trusted(used, search, fits, again, refine=self.refine)
        report = {"method": "blind", **report}
        report["samples"] = [[list(span) for span in s.region] for s in used]
        size = samples[0].pixel_size
        if first is not None and report["verdict"] != "nothing to deblur":
            report["first"] = compared(search, given(first, shape, size), fits[0], array)
        made = array.detach().cpu().reshape(shape).numpy().copy()
        for axis, n in enumerate(shape):
            if n % 2 == 0:  # what has no counterpart on the other side would move the image
                made.swapaxes(0, axis)[0] = 0
        return Kernel(made, size, report)

    def widened(self, kernel: Kernel, image: tuple[int, int, int], facts: Facts) -> Kernel:
        """Sample the lens that was found as far as its light reaches, for an image (z, y, x).

        The search looks at less than that, for time. A widefield kernel that is cut off leaves the
        light of its cone to the object.
        """
        report = dict(kernel.report)
        if report["family"] != "gibson-lanni" or report["verdict"] == "nothing to deblur":
            return kernel
        (family,) = families_of(kernel.shape, kernel.pixel_size, facts, ("gibson-lanni",))
        model = replace(family.model, **report["parameters"])
        far = model.default_shape(family.pixel_size, image)
        z, y, x = (min(n, most) for n, most in zip(far, WIDEST, strict=True))
        made: Kernel = model((z, y, x), family.pixel_size)
        return replace(made, report=report)

    def estimate_field(
        self,
        samples: Sequence[Sample],
        shape: tuple[int, int, int],
        first: Kernel | None,
        size: tuple[int, int, int],
    ) -> KernelField:
        """Find how the first number of the best family varies over the field, or with depth.

        Where that predicts held-out light hardly better than the same kernel everywhere, the field
        is constant, and its kernel that of `estimate`. The report has the same verdict, with what
        was seen at places all over the field.

        Parameters
        ----------
        samples : of one channel, from all over the field
        shape, first : as for `estimate`
        size : (z, y, x) of the stack
        """
        from napari_deblur import ops
        from napari_deblur.methods._family_search import check_size
        from napari_deblur.methods._field_fit import FieldFit
        from napari_deblur.methods._field_signs import places
        from napari_deblur.methods._field_solid import tied
        from napari_deblur.methods._field_trust import (
            constant_field,
            detailed,
            judged_field,
            pointed,
        )

        check_size(size[1:])
        pixel_size = samples[0].pixel_size
        with ops.one_thread(when=shape[0] == 1):
            if shape[0] == 1:
                fit, rivals = self._fit_of_planes(samples, shape, first, size)
                searched = None
            else:
                searched = self._searched(samples, shape, first)
                family, start = tied(searched[1][0].family, searched[1][0].values.tolist())
                fit, rivals = FieldFit(samples, family, start, size), {}
            field = fit.found(pixel_size)
            if field.report["varies"]:
                seen = places(fit, field.report["coefficients"])
                found = {"method": "blind", **rivals, **field.report}
                field = replace(field, report=found | judged_field(samples, field, seen))
                return pointed(field) if field.report["verdict"] == "nothing to deblur" else field
            few = detailed(samples, PLANES) if searched is None else samples
            kernel = self._told(few, shape, first, *(searched or self._searched(few, shape, first)))
        return constant_field(kernel, field, size)

    def _fit_of_planes(
        self,
        samples: Sequence[Sample],
        shape: tuple[int, int, int],
        first: Kernel | None,
        size: tuple[int, int, int],
    ) -> tuple[FieldFit, dict[str, Any]]:
        """Give the fit of the family whose best surface predicts best; say which came next."""
        from napari_deblur.methods._families import given
        from napari_deblur.methods._field_choice import chosen

        size_of = samples[0].pixel_size
        known = families_of(shape, size_of, samples[0].facts, self.families)
        said = dict(first.report) if first is not None else {}
        if said.get("method") == "blind" and "family" in said:
            known = [one for one in known if one.name == said["family"]] or known
        elif first is not None:
            known.append(given(first, shape, size_of))
        tried = chosen(samples, known, size, seed=self.seed)
        told: dict[str, Any] = {}
        for rival in tried[1:2]:
            worse = rival.deviance / tried[0].deviance - 1
            told["runner-up"] = {"family": rival.family.name, "deviance more": worse}
        return tried[0].fit, told

    def widened_field(
        self, field: KernelField, image: tuple[int, int, int], facts: Facts
    ) -> KernelField:
        """Sample the lens of each node as far as its light reaches, as `widened` does."""
        import numpy as np

        from napari_deblur.ops.fields import field_of

        report = field.report
        if report["family"] != "gibson-lanni" or report.get("verdict") == "nothing to deblur":
            return field
        (family,) = families_of(field.shape, field.pixel_size, facts, ("gibson-lanni",))
        values, name = field.maps[report["parameter"]], report["parameter"]
        models = [
            replace(family.model, **{**report["values"], name: float(value)})
            for value in values.ravel()
        ]
        far = [model.default_shape(family.pixel_size, image) for model in models]
        z, y, x = (
            min(max(ns), most) for ns, most in zip(zip(*far, strict=True), WIDEST, strict=True)
        )
        every = np.stack([model((z, y, x), family.pixel_size).at() for model in models])
        return field_of(
            every.reshape(*values.shape, z, y, x),
            field.nodes,
            maps=field.maps,
            pixel_size=field.pixel_size,
            report=report,
        )

    def _used(self, samples: Sequence[Sample], shape: tuple[int, int, int]) -> list[Sample]:
        return list(samples[: PLANES if shape[0] == 1 else VOLUMES])

    def _searched(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> tuple[Search, list[Fit]]:
        from napari_deblur.methods._depth_search import coarse_of
        from napari_deblur.methods._families import given
        from napari_deblur.methods._family_search import Search
        from napari_deblur.methods._prediction import Prediction, prior_called

        used = self._used(samples, shape)
        light = Prediction(used, 2 if shape[0] == 1 else 3, seed=self.seed)
        coarse = coarse_of(used, seed=self.seed) if shape[0] > 1 else None
        known = families_of(shape, samples[0].pixel_size, samples[0].facts, self.families)
        said: dict[str, Any] = dict(first.report) if first is not None else {}
        if said.get("method") == "blind" and "family" in said:
            same = [family for family in known if family.name == said["family"]]
            if same:
                search = Search(light, prior_called(said.get("prior", "")), coarse)
                light.steps = min(max(int(said.get("steps", light.steps)), 1), light.most)
                values = [float(said["parameters"][name]) for name in same[0].parameters]
                return search, search.best(same, starts=[values])
        if first is not None:
            known.append(given(first, shape, samples[0].pixel_size))
        search = Search(light, coarse=coarse)
        return search, search.best(known)

    def _second(self, samples: Sequence[Sample], search: Search, best: Fit) -> tuple[Search, Fit]:
        """Search again around the best, on other light: how far that agrees is a sign."""
        from napari_deblur.methods._depth_search import coarse_of
        from napari_deblur.methods._family_search import Search
        from napari_deblur.methods._prediction import Prediction

        family: Family = best.family
        used = self._used(samples, family.shape)
        light = Prediction(used, 2 if family.shape[0] == 1 else 3, seed=self.seed + 1)
        deep = family.name == "gibson-lanni"
        coarse = coarse_of(used, seed=self.seed + 1) if deep else None
        again = Search(light, search.prior, coarse)
        light.steps = search.light.steps
        return again, again.best([family], starts=[list(best.values)])[0]
