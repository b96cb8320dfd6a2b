"""The contract tests that every method passes; for methods of other packages too.

>>> from napari_deblur.methods.identity import Identity
>>> check_method(Identity(), blurs=False)
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from napari_deblur.protocols import Kernel, Sample
from napari_deblur.testing.checks import CHECKS
from napari_deblur.testing.learned import LEARNED
from napari_deblur.testing.scenes import kernel_of, scene

__all__ = ["check_estimator", "check_method", "kernel_of", "scene"]


def check_method(
    method: Any, *, blurs: bool = True, moves: float = 0.05, light: float = 5e-3
) -> None:
    """Check that a restoring method keeps its contract; AssertionError names what it breaks.

    A trained network says of itself ``learned: ClassVar[bool] = True``. It knows kernels within
    planes only, and is no identity for a point, not even nearly: what it does to beads, to sharp
    and to flat images has looser bounds, and it needs not turn with the image. As strict as for
    others are units, offsets, batches, purity and cancelling; and it must fill holes,
    know nothing of what is far away, and stay within the memory that it states. Of one that finds
    kernels too, its restorer is checked: a kernel found in a tile depends on all of it.

    Parameters
    ----------
    method : Method
        With its "auto" values left in.
    blurs : bool
        False for a method that ignores the kernel, whose "sharp" is what was seen.
    moves : float
        How far, in px, a bead may move.
    light : float
        By what share a bead's light may change. A prior that flattens takes some of a tiny bead's.

    Raises
    ------
    AssertionError
    """
    learned = getattr(method, "learned", False)
    if learned and hasattr(method, "restorer"):
        method = method.restorer()
    checks = LEARNED if learned else CHECKS
    for name, check in checks.items():
        for complaint in check(method, blurs=blurs, moves=moves, light=light):
            raise AssertionError(f"{type(method).__name__}: {name}: {complaint}")


def check_estimator(estimator: Any) -> None:
    """Check that an estimator's kernel is one: non-negative, sum 1, centred, well reported.

    One that says ``learned`` of itself is asked for kernels within planes only.

    Raises
    ------
    AssertionError
    """
    name = type(estimator).__name__
    for ndim in (2,) if getattr(estimator, "learned", False) else (2, 3):
        shape = (48, 52) if ndim == 2 else (24, 28, 30)
        made = scene(shape, (9,) * ndim, sigma=1.6, beads=6)
        sample = made.sample()
        if ndim == 2:
            sample = Sample(sample.tile[None], sample.region, 0, 0, None, sample.facts)
        for size in (9, 8):
            wanted = (size if ndim == 3 else 1, size, size)
            # A start that lies 2 px off: it must be brought back.
            first = kernel_of(wanted[-ndim:])
            first = Kernel(np.roll(first.array, 2, axis=-1))
            found = estimator.resolved([sample]).estimate([sample], wanted, first)
            assert found.shape == wanted, f"{name}: asked for {wanted}, got {found.shape}"
            total = float(found.array.sum())
            assert abs(total - 1) < 1e-5, f"{name}: the kernel's sum is {total}"
            off = max(abs(v) for v in found.centroid())
            assert off < 0.05, f"{name}: the kernel of {wanted} lies {off:.3f} px off its middle"
            json.dumps(dict(found.report), allow_nan=False)
    restorer = estimator.restorer()
    assert callable(restorer), f"{name}: restorer() gives no method"
