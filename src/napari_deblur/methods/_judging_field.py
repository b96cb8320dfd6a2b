"""Whether pieces of an image speak for kernels that vary: the field against its own relatives.

Where the blur varies no single kernel suits a piece (see `_field_signs`). So what is compared with
the field is itself, all of its kernels narrower or wider.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.methods._detail import SHARP, detail_of
from napari_deblur.methods._duels import SEED, Duels
from napari_deblur.methods._field_trust import detailed
from napari_deblur.methods._judging import COLOURED, SMALLEST, Trust, filtered
from napari_deblur.methods._judging_solid import SMALLEST_SOLID
from napari_deblur.methods._prediction import PRIORS, Prediction, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Blur, KernelField, Sample

__all__ = ["judged_piece", "pieces_of"]

# Voxels of a piece of volumes, and of the kernels there; and of those of planes.
PIECE_SOLID = (24, 36, 36)
KERNEL, KERNEL_SOLID = (61, 61), (21, 21, 21)
# How many times as wide all kernels are that are tried; they have room for that.
FACTORS, ROOM = (0.7, 0.85, 1.2, 1.4), 1.3
# By how much these may predict better: nats, over the root of those gained over even light. With
# the true fields of discs (two objects, two ways to vary) it was -0.12 at most, and 1.0; in one of
# 16 pieces 1.3: soft objects lean to wide kernels. With fields 0.7 times as wide 12 pieces had more
# than a limit, with 1.4 times as wide 10.
LIMITS_FIELD = {"narrower": 0.1, "wider": 1.05}
# Where the kernels have several planes it was below -0.2 on filaments.
LIMITS_DEEP = {"narrower": 0.1, "wider": 0.2}
# The light of a kernel that is left when it is cut, at least.
LEAST = 0.1


class _FieldLight(Prediction):
    """A piece with light held out; in the place of a kernel, how many times as wide the field is.

    Parameters
    ----------
    piece : Sample
    field : KernelField
    """

    def __init__(self, piece: Sample, field: KernelField) -> None:
        solid = field.shape[0] > 1
        axes = 3 if solid else 2
        super().__init__([piece], axes, seed=SEED, limits=tuple(piece.tile.shape[-axes:]))
        # One split will do: there are many kernels.
        self.pixels /= len(self.kept)
        self.kept, self.held = self.kept[:1], self.held[:1]
        self.mask = None if self.mask is None else self.mask[:1]
        limits = KERNEL_SOLID if solid else (1, *KERNEL)
        shape = tuple(
            min(round(ROOM * n) // 2 * 2 + 1, limit)
            for n, limit in zip(field.shape, limits, strict=True)
        )
        self.field, self.region = field, piece.region
        self.room = (shape[0] if solid else 1, shape[1], shape[2])

    def blurs(self, factor: float) -> Blur:
        """Give the field's blur of the piece, all kernels so many times as wide; sums are 1."""
        import torch

        from napari_deblur.protocols import Blur

        basis = np.stack([_stretched(one, factor, self.room) for one in self.field.basis])
        sums = basis.sum(axis=(1, 2, 3), dtype=np.float64)
        # Weights are laid out for the shape of the kernels: with these they need not sum to 1.
        room = np.zeros_like(basis)
        z, y, x = (n // 2 for n in self.room)
        room[:, z, y, x] = self.field.basis.sum(axis=(1, 2, 3))
        weights = replace(self.field, basis=room).at(self.region).weights
        assert weights is not None
        if weights.ndim > len(self.shape) + 1:  # of planes that vary along z, one is looked at
            weights = weights[:, 0]
        total = torch.tensordot(torch.from_numpy(sums.astype(np.float32)), weights, dims=1)
        kernels = torch.from_numpy(basis if self.room[0] > 1 else basis[:, 0])
        return Blur(kernels, weights / total.clamp(min=LEAST))

    def _predictions(
        self, kernel: Tensor, prior: Prior = PRIORS[0], *, only: int | None = None
    ) -> Iterator[Tensor]:
        import torch

        from napari_deblur import ops
        from napari_deblur.methods._slopes import KEPT, SEEN

        blur = self.blurs(float(kernel))
        kept, mask = self.kept[0].cpu(), None if self.mask is None else self.mask[0].cpu()
        seen = ops.blur_adjoint(torch.ones_like(kept) if mask is None else mask, blur)
        weight = torch.where(seen > SEEN, 1 / seen.clamp(min=SEEN), 0)
        beyond = last = torch.full_like(weight, self.start)
        for step in range(only or self.most):
            ops.checkpoint()
            light = kept / (ops.blur(beyond, blur).clamp(min=0) + self.dark)
            light = light if mask is None else light * mask
            thing = beyond * (weight * ops.blur_adjoint(light, blur)).clamp(min=0)
            ahead = thing + step / (step + 3) * (thing - last)
            beyond, last = torch.maximum(ahead, KEPT * thing), thing
            if only is None or step + 1 == only:
                seen_light = ops.blur(last, blur).clamp(min=0) + self.dark
                yield (seen_light * self.scale + self.shift)[None]


def judged_piece(piece: Sample, field: KernelField) -> Trust:
    """Judge kernels that vary by one piece of the image: see `judged` for single ones."""
    import torch

    from napari_deblur import ops

    solid = field.shape[0] > 1
    least = SMALLEST_SOLID if solid else (1, SMALLEST, SMALLEST)
    shape = (1, 1, *piece.tile.shape)[-3:]
    if any(n < m for n, m in zip(shape, least, strict=True)):
        return Trust("not judged", f"the image is smaller than {least[1]} pixels")
    detail = None if solid else detail_of([piece])
    if detail is not None and detail.widest() < SHARP:
        return Trust("nothing to deblur", "the image is as sharp as its pixels")
    with ops.one_thread(), torch.no_grad():
        duels = Duels([piece], torch.ones(()), light=_FieldLight(piece, field))
        if duels.blind:
            return Trust("nothing to deblur", "no structure stands out from the noise")
        tried = {f: duels.better(duels.predicted(torch.tensor(f))) for f in FACTORS}
        colour = duels.colour()
    narrower = max((f for f in FACTORS if f < 1), key=lambda f: tried[f])
    wider = max((f for f in FACTORS if f > 1), key=lambda f: tried[f])
    signs = {"narrower": tried[narrower], "wider": tried[wider], "colour": colour}
    reasons = [
        f"kernels {f:g} times as wide predict held-out light better"
        for name, f in (("narrower", narrower), ("wider", wider))
        if signs[name] > (LIMITS_DEEP if solid else LIMITS_FIELD)[name]
    ]
    if colour > COLOURED:
        reasons.append("what they leave unexplained has structure")
    reasons += filtered([piece])
    signs = {name: float(f"{v:.4g}") for name, v in signs.items()}
    if reasons:
        return Trust("doubtful", "; ".join(reasons), signs)
    return Trust("believe", "no narrower or wider kernels predict held-out light better", signs)


def pieces_of(samples: Sequence[Sample], *, solid: bool, most: int) -> list[Sample]:
    """Cut the pieces of most detail out of samples from all over a field; volumes all along z."""
    if not solid:
        return detailed(samples, most)
    pieces = []
    for sample in samples:
        nz = sample.tile.shape[0]
        count = -(-nz // PIECE_SOLID[0])
        for i in range(count):
            start = round(max(nz - PIECE_SOLID[0], 0) * i / max(count - 1, 1))
            (z, _), *across = sample.region
            tile = sample.tile[start : start + PIECE_SOLID[0]]
            spans = [(z + start, z + start + tile.shape[0])]
            for axis, (at, _) in zip((1, 2), across, strict=True):
                length = min(PIECE_SOLID[axis], tile.shape[axis])
                first = (tile.shape[axis] - length) // 2
                tile = tile.narrow(axis, first, length)
                spans.append((at + first, at + first + length))
            region = (spans[0], spans[1], spans[2])
            pieces.append(replace(sample, tile=tile.contiguous(), region=region))
    # All along z, where a lens changes what it does.
    chosen = np.linspace(0, len(pieces) - 1, min(most, len(pieces))).round().astype(int)
    return [pieces[i] for i in chosen]


def _stretched(
    kernel: NDArray[np.float32], factor: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Stretch one of a field's basis, which may have negative values, keeping what it sums to."""
    from scipy.ndimage import affine_transform

    old = np.array([n // 2 for n in kernel.shape])
    new = np.array([n // 2 for n in shape])
    factors = np.where(np.array(kernel.shape) > 1, factor, 1.0)
    made = affine_transform(kernel, 1 / factors, old - new / factors, output_shape=shape, order=1)
    return np.asarray(made / factors.prod(), np.float32)
