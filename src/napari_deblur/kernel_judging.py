"""Whether a channel's image speaks for kernels that nobody searched in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import registry
from napari_deblur.kernel_sets import is_point
from napari_deblur.kernel_verdicts import NOTHING, pointed_report
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.views import blur_of

if TYPE_CHECKING:
    from napari_deblur.methods._judging import Trust
    from napari_deblur.protocols import KernelField, Sample
    from napari_deblur.views import Views

__all__ = ["judged_by", "judged_found", "judged_places", "judged_tiles", "pointed"]

# Pieces in which kernels are found and judged, where each tile will find its own.
TILES = 3
# Pieces of the image by which a blur that varies is judged.
PLACES = 4
# Sides of planes of several depths, where the blur varies along z only.
SIDE = 144
# Standard deviation in pixels of the blur that is asked for in the place of a point.
PROBE = 1.5
COLLAPSED = "the search ended in a point, and the image is not as sharp as its pixels"


def judged_by(views: Views, kernel: Kernel, time: int | None = None) -> Kernel:
    """Add to a kernel's report whether the channel's image speaks for it; nothing else changes.

    With `time`, whether that frame does.
    """
    from napari_deblur.methods._judging import LARGEST, judged, reach_of

    times = None if time is None else (time,)
    solid = kernel.shape[0] > 1
    reach = (1, 1) if solid else reach_of(kernel.at(0 if time is None else time)[0])
    # Only for a kernel that is wider than samples are: a wider one is no better piece.
    shape = (1, *reach) if max(reach) > LARGEST else (1, 1, 1)
    samples = views.samples(solid=solid, blurs=None, most=2, times=times, shape=shape)
    frame = samples[0].time if kernel.array.shape[0] > 1 else 0
    trust = judged(samples, Kernel(kernel.at(frame)[None, None], kernel.pixel_size))
    said = {"verdict": trust.verdict, "why": trust.why, **trust.signs}
    return replace(kernel, report={**kernel.report, "judged": said})


def judged_places(views: Views, field: KernelField) -> dict[str, Any]:
    """Say whether the image speaks for kernels that vary: looked at in a few pieces of detail.

    Returns
    -------
    dict
        ``verdict``, ``why``, the number of ``pieces`` that say anything and of those ``doubtful``.
    """
    from napari_deblur.methods._judging_field import judged_piece, pieces_of

    solid = field.shape[0] > 1
    deep = not solid and field.grid[0] > 1 and field.grid[1:] == (1, 1)
    seen = views.by_depth(SIDE) if deep else views.spread(solid=solid)
    chosen = np.linspace(0, len(seen) - 1, min(PLACES, len(seen))).round().astype(int)
    pieces = [seen[i] for i in chosen] if deep else pieces_of(seen, solid=solid, most=PLACES)
    return _together([(piece, judged_piece(piece, field)) for piece in pieces])


def judged_found(views: Views, kernel: Kernel, time: int | None = None) -> Kernel:
    """Judge a kernel that was found, unless who found it did; a point where nothing is blurred."""
    if "verdict" in kernel.report:
        return kernel
    point = is_point(kernel)
    # A point says nothing of the image. Any blur does to ask whether there is something to see.
    asked = Gaussian((0.0, PROBE, PROBE))((1, 15, 15), (1.0, 1.0, 1.0)) if point else kernel
    looked = judged_by(views, replace(asked, report=kernel.report), time)
    judged = looked.report["judged"]
    if judged["verdict"] == NOTHING:
        return pointed(kernel, judged["why"])
    if point:
        return replace(kernel, report={**kernel.report, "doubt": COLLAPSED})
    return kernel if "doubt" in kernel.report else looked


def pointed(kernel: Kernel, why: str) -> Kernel:
    """Replace a kernel by a point, there being nothing to deblur."""
    z, y, x = (n // 2 for n in kernel.shape)
    array = np.zeros_like(kernel.array)
    array[:, :, z, y, x] = 1
    return Kernel(array, kernel.pixel_size, pointed_report(kernel.report, why))


def judged_tiles(views: Views, method: Any, start: Kernel, device: str) -> Kernel:
    """Add to the kernel that tiles start from whether what they find is to be believed.

    Tiles find their kernels while they are restored, when nobody looks. So the method finds some
    beforehand, in the pieces of most detail, and each is judged by its piece.
    """
    from napari_deblur.methods._judging import judged

    blur = blur_of(start, 0, device)
    samples = views.samples(
        solid=start.shape[0] > 1, blurs=lambda box: blur, most=TILES, shape=start.shape
    )
    resolved = method.resolved(samples)
    seen = []
    for sample in samples:
        found = resolved(sample.tile, blur).kernel
        if found is not None:
            array = found.detach().cpu().numpy()
            one = Kernel(array, start.pixel_size)
            seen.append((sample, judged([sample], one, everywhere=False)))
    said = _together(seen)
    if said["verdict"] == NOTHING:
        return pointed(start, said["why"])
    name = registry.methods.name_of(method)
    return replace(start, report={**start.report, "method": name, "judged": said})


def _together(seen: Sequence[tuple[Sample, Trust]]) -> dict[str, Any]:
    """Put judgements of several pieces into one: doubtful where half of them are."""
    known, none = 0, []
    against: dict[str, list[str]] = {}
    for sample, trust in seen:
        if trust.verdict in ("not judged", NOTHING):
            none.append(trust)
            continue
        known += 1
        if trust.verdict == "doubtful":
            against.setdefault(trust.why, []).append(_place(sample))
    doubtful = sum(len(places) for places in against.values())
    if known:
        verdict = "doubtful" if 2 * doubtful >= known else "believe"
        looked = "one piece" if known == 1 else f"{known} pieces"
        why = f"in {looked} no narrower or wider one predicts held-out light better"
        if against:
            each = "; ".join(f"at {', '.join(at)}: {why}" for why, at in against.items())
            why = f"in {doubtful} of {looked}, {each}"
    else:
        verdict, why = (none[0].verdict, none[0].why) if none else ("not judged", "none was found")
    return {"verdict": verdict, "why": why, "pieces": known, "doubtful": doubtful}


def _place(sample: Sample) -> str:
    """Say where a piece begins; its first plane too where it has several."""
    (z, end), (y, _), (x, _) = sample.region
    return (f"z {z} " if end - z > 1 else "") + f"y {y} x {x}"
