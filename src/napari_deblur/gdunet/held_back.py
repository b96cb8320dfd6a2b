"""What a training learns from, and what it is measured on: never the same pixels if that can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = Sequence[tuple[NDArray[Any], ...]]

__all__ = ["parted"]

# One of so many images is held back.
EVERY = 16
# Of a single image, this share of its longer side.
SHARE = 0.2


def parted(images: Images, side: int) -> tuple[Images, Images]:
    """Give the images to learn from, and those to measure on.

    Parameters
    ----------
    images : sequence of tuples of arrays (y, x) or (planes, y, x)
        The arrays of a tuple show the same place, and are cut at the same pixels. Planes of one
        file are one image: neighbours are too much alike to be measured on.
    side : int
        Of the crops that will be taken.

    Returns
    -------
    learnt, held
        Every 16th is held back. A single image is cut in two across its longer side; where it is
        too small for that, it serves for both.
    """
    if len(images) != 1:
        learnt = [one for i, one in enumerate(images) if i % EVERY]
        return learnt, [one for i, one in enumerate(images) if i % EVERY == 0]
    shape = images[0][0].shape[-2:]
    axis = int(shape[1] > shape[0])
    cut = shape[axis] - max(side, round(SHARE * shape[axis]))
    if cut < side:
        return images, images
    two = [np.split(array, [cut], axis=axis - 2) for array in images[0]]
    return [tuple(before for before, _ in two)], [tuple(after for _, after in two)]
