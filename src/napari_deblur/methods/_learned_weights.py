"""What a method tells of itself that its weights decide: sizes, memory, where tiles may begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from napari_deblur.gdunet.network import Configuration

__all__ = ["FromWeights", "arrays_of", "largest_of", "multiple_of", "shapes_of"]

Thing = TypeVar("Thing")
# Float32 arrays of a tile's size, for each channel of the finest level and altogether. Measured of
# tiles of 64² to 768² px: 49 to 93 of 12 channels, 63 to 118 of 16, 74 to 138 of 20, 130 to 233 of
# 32; the smaller the tile the more. Not in strips, as on a GPU, 71 to 76 of 12 channels.
PER_CHANNEL, BESIDES = 8, 8
# And for each channel of a dense stage's finest level, which has a quarter of the pixels: of 64
# channels, tiles of 128² to 768² px, 188 to 117 altogether.
PER_DENSE = 2.5
# Kernels are looked for in planes of so many pixels at least: the more there is to see, the better.
# In 224² px they were 0.7 dB (1000 photons) and 0.4 dB (100) better than in 144², 1 and 0.5 dB
# better than in 96², which is what was trained on (medians of 24 each).
LOOKED_AT = 256


class FromWeights(Generic[Thing]):
    """A value that objects take from their weights.

    Parameters
    ----------
    read : function
        Of the network's sizes and of what is known of its training.
    otherwise : value
        Of the class itself, and of objects whose weights can't be read: those of "light". What is
        wrong with them is said when they are needed.
    """

    def __init__(
        self, read: Callable[[Configuration, dict[str, Any]], Thing], otherwise: Thing
    ) -> None:
        self.read, self.otherwise = read, otherwise

    def __get__(self, thing: Any, owner: type) -> Thing:
        """Read the weights of an object."""
        if thing is None:
            return self.otherwise
        from napari_deblur.gdunet.weights import described, weights_path

        try:
            return self.read(*described(weights_path(thing.weights)))
        except (OSError, TypeError, ValueError):
            return self.otherwise


def multiple_of(configuration: Configuration, _: dict[str, Any]) -> int:
    """Give the pixels at whose multiples tiles may begin."""
    return configuration.multiple


def arrays_of(configuration: Configuration, _: dict[str, Any]) -> float:
    """Give the arrays of a tile's size that a call needs."""
    c = configuration
    small = PER_CHANNEL * max(c.width, c.gradient_width)
    return max(small, PER_DENSE * c.dense_widths[0] if c.dense else 0) + BESIDES


def shapes_of(_: Configuration, facts: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    """Give the shape of what kernels are looked for in."""
    side = max(LOOKED_AT, *facts.get("image_sides", ()), 0)
    return ((side, side),)


def largest_of(_: Configuration, facts: dict[str, Any]) -> int:
    """Give the pixels across of the widest kernel that was trained."""
    return int(max(facts.get("kernel_sizes", ()), default=31))
