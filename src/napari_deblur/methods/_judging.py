"""Whether to believe a kernel that somebody brings, by how well it predicts held-out light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_deblur.methods._prediction import Prediction, prior_called

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Kernel, Sample

__all__ = ["Trust", "judged"]

# Light held out by this seed took no part in a search, whose seeds are 0 and 1.
SEED = 2
# The search's steps, 20 at most, are few enough that with much light its best kernel predicts
# better than the true one; from 40 on that was never more than a little, and 110 told no more.
STEPS = 40
# Of what the kernel that was searched for gains over none, a right kernel may miss this share; one
# less alike to it than that may miss nothing. Set on the scenes of `bench blind --only trust`.
MISSED, ALIKE = 0.04, 0.955


@dataclass(frozen=True)
class Trust:
    """A judgement of a kernel.

    Parameters
    ----------
    verdict : "believe", "doubtful" or "nothing to deblur"
    why : str
        A sentence.
    missed : float
        Of what the best kernel that was found gains over no kernel in predicting held-out light,
        the share that this kernel does not; below 0 where it predicts better.
    likeness : float
        Normalised correlation with the best kernel, at the best shift.
    """

    verdict: Literal["believe", "doubtful", "nothing to deblur"]
    why: str
    missed: float
    likeness: float


def judged(samples: Sequence[Sample], kernel: Kernel, *, found: Kernel | None = None) -> Trust:
    """Judge a kernel against the best that a blind search finds.

    A kernel that predicts better than the best one found is believed, whatever it is. What is
    judged is the prediction; on smooth objects a kernel that is too wide may predict as well as
    the true one and harm the image nevertheless. For planes the limits were set on synthetic
    scenes (see the benchmark); for volumes they were not tried.

    Parameters
    ----------
    samples : of one channel
    kernel : Kernel
        Its first one is judged.
    found : Kernel or None
        What `Blind().estimate` found on the same samples; None searches, which takes as long as
        blind deconvolution does.
    """
    import torch

    from napari_deblur import ops
    from napari_deblur.kernel_comparison import aligned_ncc
    from napari_deblur.methods.blind import Blind

    solid = kernel.shape[0] > 1
    if found is None:
        z, y, x = (int(n) for n in (1, 1, *samples[0].tile.shape)[-3:])
        found = Blind().estimate(samples, Blind.widest((z if solid else 1, y, x)), None)
    if found.report.get("verdict") == "nothing to deblur":
        return Trust("nothing to deblur", str(found.report["why"]), 0.0, 0.0)
    shape = kernel.shape
    light = Prediction(samples[: 1 if solid else 2], 3 if solid else 2, seed=SEED)
    prior = prior_called(str(found.report.get("prior", "")))
    light.most = light.steps = STEPS
    best = _tensor(found, found.shape)
    with torch.no_grad():
        reached = [
            float(light.deviance(one.to(light.kept.device), prior))
            for one in (_tensor(kernel, shape), best, ops.delta(tuple(best.shape)))
        ]
    missed = (reached[0] - reached[1]) / max(reached[2] - reached[1], 1e-9)
    likeness, _ = aligned_ncc(kernel.at(), found.at())
    if missed <= (MISSED if likeness >= ALIKE else 0.0):
        return Trust("believe", "it predicts held-out light as well as the best", missed, likeness)
    return Trust(
        "doubtful",
        f"a kernel of the family {found.report.get('family', 'that was searched')} predicts "
        f"held-out light better: this one misses {100 * missed:.2g} % of what that one gains",
        missed,
        likeness,
    )


def _tensor(kernel: Kernel, shape: tuple[int, int, int]) -> Tensor:
    import torch

    from napari_deblur import ops

    array = torch.from_numpy(ops.reshaped(kernel.at(), shape))
    return array[0] if shape[0] == 1 else array
