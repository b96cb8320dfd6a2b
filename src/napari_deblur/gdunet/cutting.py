"""What of a user's images a training uses, and what of it is held back, said in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_deblur.gdunet.held_back import parted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Each", "cut_and_parted"]

C = TypeVar("C")
Image = tuple["NDArray[Any]", ...]


class Each(Sequence[C]):
    """What a function makes of each thing, made anew whenever it is asked for, and not kept."""

    def __init__(self, make: Callable[[Any], C], things: Sequence[Any]) -> None:
        self.make, self.things = make, things

    def __len__(self) -> int:
        return len(self.things)

    def __iter__(self) -> Iterator[C]:
        return map(self.make, self.things)

    def __getitem__(self, i: Any) -> Any:
        """Make one."""
        return self.make(self.things[i])


def cut_and_parted(
    images: Sequence[Image],
    side: int,
    cut: Callable[[int, Image], list[C]],
    what: tuple[str, str],
    say: Callable[[str], None],
) -> tuple[list[C], list[C]]:
    """Cut crops, and give those to learn from and those to measure on.

    Parameters
    ----------
    images : sequence of tuples of arrays (y, x) or (planes, y, x)
        Taken one by one: they may be read from files when they are asked for. See
        `held_back.parted`; images without a crop are left out before, so that these never are all
        that is held back, or all that is learned from.
    side : int
        Of a crop.
    cut : function of a number and an image
        Gives its crops; the number is that of the image.
    what : (str, str)
        What an image is, and what the images are from, or "", for the sentence.
    say : function of a str
        Is told how many are used.

    Raises
    ------
    ValueError
        When no image has a crop.
    """
    cuts = [cut(i, image) for i, image in enumerate(images)]
    usable = [i for i, crops in enumerate(cuts) if crops]
    size = f"{side} × {side} px"
    name, of = what[0], what[1] and f" of {what[1]}"
    if not usable:
        raise ValueError(
            f"no {name} has a crop of {size} with structure in it{of and f', none{of}'}: give "
            "larger images, or smaller sizes"
        )
    if len(usable) == 1:
        before, after = parted([images[usable[0]]], side)
        learnt, held = (
            list(chain.from_iterable(cut(0, one) for one in part)) for part in (before, after)
        )
        how = "an end of it held back to validate on"
        if before is after or not (learnt and held):
            learnt = held = cuts[usable[0]]
            how = (
                "validated on too, so that its numbers flatter: there is no room to hold some back"
            )
    else:
        parts = parted([(np.array(i),) for i in usable], side)
        learnt, held = ([c for (i,) in part for c in cuts[int(i)]] for part in parts)
        how = f"of these {len(parts[1])} held back to validate on"
    line = f"{len(usable)} of {len(images)} {name}s{of} used, {how}"
    if len(usable) < len(images):
        line += (
            f"; the others are smaller than {size}, flat, or have too many pixels without a number"
        )
    say(line)
    return learnt, held
