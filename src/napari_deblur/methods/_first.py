"""How the kernel that a search was given compares with the one that it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._families import Family
    from napari_deblur.methods._family_search import Fit, Search

__all__ = ["compared"]

# Nats by which a prediction must be better to be better at all.
CLEARLY = 5.0
# An extra blur of fewer pixels is none.
SLIGHT = 0.1
HOW_TO_KEEP = "to restore with it, name a method that takes a kernel: accelerated-richardson-lucy"


def compared(search: Search, given: Family, best: Fit, found: Tensor) -> Mapping[str, Any]:
    """Compare the kernel that was given, as it is, with the one that was found.

    Parameters
    ----------
    given : Family
        Of the kernel that was given, as `given` makes it.
    best : Fit
        What the search took.
    found : Tensor ([z,] y, x)
        The kernel that came of it.

    Returns
    -------
    mapping
        ``nats worse`` than what was found (below 0: better), ``agreement`` (normalised
        correlation), and ``said``, a sentence.
    """
    import torch

    from napari_deblur.methods._trust import ALIKE, alike

    with torch.no_grad():
        kernel = given.kernel(torch.tensor([given.free[0].low], dtype=torch.float32))
        worse = search.of(kernel) - search.of(found)
    agreement = alike(kernel, found)
    if best.family.name == given.name:
        blur = float(best.values[0]) / given.pixel_size[2]
        how = f"with an extra blur of {blur:.2g} px" if blur > SLIGHT else "as it is"
        said = f"the search tried the given kernel, and took it {how}"
    elif agreement > ALIKE and worse > -CLEARLY:
        said = f"the kernel that was found is nearly the given one (correlation {agreement:.4f})"
    elif worse < -CLEARLY:
        said = (
            f"the given kernel predicts held-out light better than the one that was found, by "
            f"{-worse:.3g} nats: {HOW_TO_KEEP}"
        )
    elif worse < CLEARLY:
        said = (
            "the given kernel predicts held-out light as well as the one that was found, which is "
            f"taken; {HOW_TO_KEEP}"
        )
    else:
        said = (
            f"the given kernel predicts held-out light worse than the one that was found, by "
            f"{worse:.3g} nats, and is not used; {HOW_TO_KEEP}"
        )
    return {
        "nats worse": float(f"{worse:.5g}"),
        "agreement": float(f"{agreement:.5g}"),
        "said": said,
    }
