"""Whether to believe a blur that was found to vary: its kernels, judged at places all over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.methods._field_signs import PLACES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.methods._field_signs import Place
    from napari_deblur.protocols import Kernel, KernelField, Sample

__all__ = ["constant_field", "detailed", "judged_field", "pointed"]

# Sides in pixels of what is looked at around a place, and of what a search looks at.
LEAST, MOST = 64, 144
# Of the places that say anything, this share and two at least must speak against their kernels.
DOUBTFUL, AT_LEAST = 1 / 3, 2
# By how much narrower and wider fields may predict better: nats, over the root of those gained over
# even light; and by so many nats at least. On filaments under discs that tilt, the fields found had
# -0.2 and less everywhere; 1.2 times as wide 0.6 to 6 (narrower) at eight of nine places and more,
# 0.8 times as wide 0.2 to 1.2 (wider). On soft objects too wide a field is not seen.
LIMITS = {"narrower": 0.1, "wider": 0.3}
# The same for all places together: soft objects lean to wider ones everywhere.
LIMITS_TOGETHER = {"narrower": 0.1, "wider": 0.9}
EVIDENCE = 2.0
# A kernel that spreads light over fewer pixels blurs no more than sampling itself.
PIXELS = 5.3
# Nats by which a field must predict better than none, to be better at all.
CLEARLY = 5.0
# A parameter that comes nearer to the largest that is known, as a share of its range.
END = 0.02
BORDER = 0.02
# A field whose kernels on other light are less alike in the mean is doubted.
ALIKE = 0.95


def _cut(sample: Sample, rows: slice, columns: slice) -> Sample:
    z, (y, _), (x, _) = sample.region
    region = (z, (y + rows.start, y + rows.stop), (x + columns.start, x + columns.stop))
    return replace(sample, tile=sample.tile[..., rows, columns].contiguous(), region=region)


def _detail(sample: Sample) -> float:
    steps = sample.tile.diff(dim=-1).square()
    return float(steps.nanmean()) if bool(steps.isfinite().any()) else -1.0


def _named(where: tuple[int, int, int], *, deep: bool) -> str:
    """Say in words which third of the field it is."""
    z, y, x = where
    if deep:
        return ("first planes", "middle planes", "last planes")[z]
    words = (("top", "", "bottom")[y], ("left", "", "right")[x])
    return " ".join(word for word in words if word) or "middle"


def detailed(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Cut the pieces of most detail out of samples of planes, at most 144 pixels wide."""
    pieces = []
    for sample in samples:
        *_, ny, nx = sample.tile.shape
        rows, columns = (_spans(n) for n in (ny, nx))
        pieces += [_cut(sample, y, x) for y in rows for x in columns]
    return sorted(pieces, key=_detail, reverse=True)[:most]


def _spans(n: int) -> list[slice]:
    count = -(-n // MOST)
    length = min(n, MOST)
    return [
        slice(a, a + length)
        for a in (round((n - length) * i / max(count - 1, 1)) for i in range(count))
    ]


def constant_field(
    kernel: Kernel,
    fitted: KernelField,
    size: tuple[int, int, int],
) -> KernelField:
    """Make the field of one kernel for all of a stack of `size`; its report says what was tried."""
    from napari_deblur.protocols import KernelField

    report = dict(kernel.report)
    names = report["parameters"]
    name = next(iter(names), fitted.report["parameter"])
    value = float(names.get(name, 0.0))
    tried = {k: fitted.report[k] for k in ("family", "range", "nats better than the constant")}
    report |= {
        "parameter": name,
        "values": dict(names),
        "range": [value, value],
        "constant": value,
        "varies": False,
        "field that was tried": tried,
    }
    z, y, x = (((n - 1) / 2,) for n in size)
    maps = {name: np.full((1, 1, 1), value)}
    basis, weights = kernel.at()[None], np.ones((1, 1, 1, 1))
    return KernelField(basis, (z, y, x), weights, maps, kernel.pixel_size, report)


def pointed(field: KernelField) -> KernelField:
    """Give the field that changes nothing, on one node and with the same report."""
    basis = np.zeros((1, *field.shape), np.float32)
    basis[(0, *(n // 2 for n in field.shape))] = 1
    z, y, x = (((line[0] + line[-1]) / 2,) for line in field.nodes)
    return replace(field, basis=basis, nodes=(z, y, x), weights=np.ones((1, 1, 1, 1)), maps={})


def judged_field(
    samples: Sequence[Sample], field: KernelField, seen: Sequence[Place]
) -> dict[str, Any]:
    """Judge a field that was found, and give what its report says of that.

    Parameters
    ----------
    samples : of one channel, from all over the field
    field : KernelField
        With the report of its fit.
    seen : of the field, see `Place`

    Returns
    -------
    dict
        ``verdict`` ("believe", "doubtful" or "nothing to deblur"), ``why``, and ``places``: of
        each a name, a verdict, why, and its signs.
    """
    deep = field.shape[0] > 1
    told = [_judged(place, field, samples, deep=deep) for place in seen]
    signs = _signs_of(seen)
    found = {"places": told, "signs": signs}
    known = [one for one in told if one["verdict"] != "nothing to deblur"]
    if not known:
        whys = Counter(one["why"] for one in told)
        return {"verdict": "nothing to deblur", "why": whys.most_common(1)[0][0], **found}
    reasons = _reasons(field)
    reasons += _refuted(signs, LIMITS_TOGETHER)
    against = [one for one in known if one["verdict"] == "doubtful"]
    names = "; ".join(f"{one['where']}, {one['why']}" for one in against)
    said = f"doubtful in {len(against)} of {len(known)} places: {names}"
    if len(against) >= min(max(DOUBTFUL * len(known), AT_LEAST), len(known)):
        reasons.append(said)
    if reasons:
        return {"verdict": "doubtful", "why": "; ".join(reasons), **found}
    if against:
        return {"verdict": "believe", "why": said, **found}
    why = "neither narrower nor wider kernels predict held-out light better, at " + (
        "any depth" if deep else f"any of {len(known)} places"
    )
    return {"verdict": "believe", "why": why, **found}


def _judged(
    place: Place, field: KernelField, samples: Sequence[Sample], *, deep: bool
) -> dict[str, Any]:
    """Say what speaks against the field at one place."""
    size = [
        2 * line[len(line) // 2] + 1 if len(line) == 1 else line[-1] + 1 for line in field.nodes
    ]
    centre = tuple((n * (2 * k + 1) / (2 * PLACES)) for n, k in zip(size, place.where, strict=True))
    signs = _signs_of([place])
    verdict, why = "believe", ""
    if place.gained < CLEARLY:
        verdict, why = "nothing to deblur", "no structure stands out from the noise"
    elif _pixels(field.kernel_at(centre)) < PIXELS or (
        not deep and _sharp(_around(samples, centre, size))
    ):
        verdict, why = "nothing to deblur", "the image is as sharp as its pixels"
    elif reasons := _refuted(signs, LIMITS):
        verdict, why = "doubtful", "; ".join(reasons)
    return {"where": _named(place.where, deep=deep), "verdict": verdict, "why": why, "signs": signs}


def _signs_of(seen: Sequence[Place]) -> dict[str, float]:
    """Give how much better narrower and wider fields predict, and which does so most."""
    gained = max(sum(place.gained for place in seen), 1.0)
    nats = {f: sum(place.better[f] for place in seen) for f in seen[0].better}
    signs: dict[str, float] = {}
    for name, some in (
        ("narrower", [f for f in nats if f < 1]),
        ("wider", [f for f in nats if f > 1]),
    ):
        best = max(some, key=lambda f: nats[f])
        better = nats[best] if nats[best] > EVIDENCE else min(nats[best], 0.0)
        signs |= {name: float(f"{better / gained**0.5:.4g}"), f"{name} by": best}
    return signs


def _refuted(signs: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    return [
        f"kernels {signs[f'{name} by']:g} times as wide predict held-out light better"
        for name, limit in limits.items()
        if signs[name] > limit
    ]


def _sharp(pieces: Sequence[Sample]) -> bool:
    """Tell whether pieces hold detail that no blur lets through."""
    from napari_deblur.methods._detail import SHARP, detail_of

    for piece in pieces:
        detail = detail_of([piece])
        if detail is not None and detail.widest() < SHARP:
            return True
    return False


def _around(
    samples: Sequence[Sample], centre: Sequence[float], size: Sequence[float]
) -> list[Sample]:
    """Cut the piece around a place out of the sample that holds it; none of very small ones."""
    for sample in samples:
        cut = []
        for (start, stop), at, n in zip(sample.region[1:], centre[1:], size[1:], strict=True):
            length = int(min(max(n / PLACES, LEAST), MOST, stop - start))
            first = min(max(round(at - length / 2), start), stop - length)
            cut.append(slice(first - start, first - start + length))
            if not start <= at < stop or length < LEAST:
                break
        else:
            return [_cut(sample, cut[0], cut[1])]
    return []


def _reasons(field: KernelField) -> list[str]:
    """Give reasons for doubt that the fit itself has found."""
    report, reasons = field.report, []
    if report["nats better than no kernel"] < CLEARLY:
        reasons.append("it explains the image no better than no kernel does")
    if report.get("agreement", 1.0) < ALIKE:
        reasons.append("other light gives another field")
    low, high = report["bounds"]
    if report["range"][1] > high - END * (high - low):
        reasons.append(f"{report['parameter']} came out as the largest that was tried")
    if report["family"] != "gibson-lanni" and _rim(field) > BORDER:
        reasons.append("the widest kernel reaches the border of its shape: ask for a larger one")
    return reasons


def _pixels(kernel: NDArray[Any]) -> float:
    """Give over how many pixels across a kernel spreads its light."""
    across = kernel.sum(axis=0, dtype=np.float64)
    return float(across.sum() ** 2 / np.square(across).sum())


def _rim(field: KernelField) -> float:
    """Give the largest share of light that a kernel has in its outermost pixels of y and x."""
    across = field.kernels().sum(axis=3)
    if min(across.shape[-2:]) < 3:
        return 0.0
    return float(1 - across[..., 1:-1, 1:-1].sum(axis=(-2, -1)).min())
