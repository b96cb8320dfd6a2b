"""A trained network's kernels for several depths of a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_deblur.protocols import Kernel, KernelField, Sample

__all__ = ["field_of_depths"]

NOTHING = "nothing to deblur"


def field_of_depths(
    find: Callable[[Sequence[Sample]], Kernel],
    samples: Sequence[Sample],
    image: tuple[int, int, int],
) -> KernelField:
    """Find a kernel for the planes of each depth; between, kernels are mixed.

    Parameters
    ----------
    find : function
        Gives the kernel of samples, planes of one depth.
    samples : sequence of Sample
    image : (nz, ny, nx)

    Raises
    ------
    ValueError
        When there are no two depths.
    """
    import numpy as np

    from napari_deblur.kernel_widths import full_widths
    from napari_deblur.protocols import KernelField

    depths = sorted({sample.region[0][0] for sample in samples})
    if image[0] < 2 or len(depths) < 2:
        raise ValueError(
            "gdunet finds kernels that vary with depth, and this image has one plane: take scope "
            '"channel", or blind for kernels that vary over the field'
        )
    found = [find([one for one in samples if one.region[0][0] == z]) for z in depths]
    wide = [[width or 0.0 for width in full_widths(kernel)[1:]] for kernel in found]
    reports: list[dict[str, Any]] = [dict(kernel.report) for kernel in found]
    report = {**reports[0], "depths": depths, "each": reports}
    for key in ("samples", "starts", "agreement", "counted", "narrowed", "verdict", "why", "doubt"):
        report.pop(key, None)
    if all(one.get("verdict") == NOTHING for one in reports):
        report |= {"verdict": NOTHING, "why": reports[0].get("why", "")}
    return KernelField(
        np.stack([kernel.at() for kernel in found]),
        (tuple(map(float, depths)), (0.0,), (0.0,)),
        np.eye(len(found))[:, :, None, None],
        {"fwhm": np.mean(wide, axis=1)[:, None, None]},
        found[0].pixel_size,
        report,
    )
