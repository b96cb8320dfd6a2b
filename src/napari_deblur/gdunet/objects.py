"""Sharp objects to blur: made by chance, or cut from sharp images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_deblur.gdunet.holes import HOLES, filled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["crops", "crops_of", "made", "stacked"]

Random = np.random.Generator
Field = "NDArray[np.float64]"
# A sharp image is itself a little blurred and noisy: made smaller by this much, it is less so.
SMALLER = (1.3, 2.0)
# Below this standard deviation, of a range of 1, there is nothing in a crop to learn from.
FLAT = 0.03
# Where an image has holes: places that are tried for a crop.
TRIES = 6


def made(count: int, side: int, seed: int) -> NDArray[np.float16]:
    """Make objects as fluorescence microscopes see them: background 0, bright structures about 1.

    Returns
    -------
    array, shape (count, side, side)
        The same for the same seed.
    """
    fields = np.empty((count, side, side), np.float16)
    for i in range(count):
        random = np.random.default_rng((seed, i))
        kinds = random.choice(len(KINDS), size=random.choice([1, 1, 2, 3]), replace=False)
        image = sum(random.uniform(0.3, 1) * _scaled(KINDS[k](side, random)) for k in kinds)
        # Objects of one sharpness teach a network to make everything that sharp.
        image = gaussian_filter(image, random.uniform(0, 1.3))
        fields[i] = _scaled(image)
    return fields


def crops(images: Iterable[NDArray[Any]], side: int, seed: int, each: int) -> NDArray[np.float16]:
    """Cut objects from sharp images, made a little smaller, and scale them to 0…1.

    Parameters
    ----------
    images : iterable of arrays (y, x)
        In any unit, light being large. Images too small for a crop are passed over. Single pixels
        that are no numbers are filled in, larger holes avoided.
    side : int
    seed : int
    each : int
        At most so many crops of an image.

    Returns
    -------
    array, shape (count, side, side)
    """
    found = (crops_of(i, image, side, seed, each) for i, image in enumerate(images))
    return stacked([crop for some in found for crop in some], side)


def stacked(crops: list[NDArray[np.float16]], side: int) -> NDArray[np.float16]:
    """Give crops as one array, shape (count, side, side); there may be none."""
    return np.stack(crops) if crops else np.empty((0, side, side), np.float16)


def crops_of(
    number: int, image: NDArray[Any], side: int, seed: int, each: int
) -> list[NDArray[np.float16]]:
    """Cut `crops` of one image of many, of each of its planes if it is (planes, y, x)."""
    random = np.random.default_rng((seed, number))
    planes = image.reshape(-1, *image.shape[-2:])
    return [crop for plane in planes for crop in _crops(plane, side, random, each)]


def _crops(image: NDArray[Any], side: int, random: Random, each: int) -> list[NDArray[np.float16]]:
    smallest = min(image.shape) / side
    image, holes = filled(image)
    if smallest < 1 or holes.all():
        return []
    low, high = np.percentile(image[~holes], (0.5, 99.9))
    if high <= low:
        return []
    scaled = ((image - low) / (high - low)).clip(0, 2)
    count = min(each, max(1, int(np.prod([n // side for n in image.shape]))))
    found = []
    for _ in range(count):
        factor = min(random.uniform(*SMALLER), smallest)
        small = _resized(scaled, factor)
        gaps = _resized(holes, factor) if holes.any() else None
        for _ in range(TRIES):
            y, x = (random.integers(0, n - side + 1) for n in small.shape)
            where = np.s_[y : y + side, x : x + side]
            if gaps is None or gaps[where].mean() <= HOLES:
                if small[where].std() >= FLAT:
                    found.append(small[where].astype(np.float16))
                break
    return found


def filaments(side: int, random: Random) -> NDArray[np.float64]:
    """Draw thin curves that wander."""
    count, steps = int(random.integers(4, 40)), 3 * side
    turns = gaussian_filter(
        random.standard_normal((count, steps)), (0, float(random.uniform(10, 40)))
    )
    turns /= turns.std() + 1e-12
    way = random.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(
        turns * random.uniform(0.01, 0.08), axis=1
    )
    start = random.uniform(0, side, (2, count, 1))
    lines = start + np.cumsum(0.5 * np.stack((np.sin(way), np.cos(way))), axis=2)
    bright = np.repeat(random.uniform(0.3, 1, (count, 1)), steps, axis=1)
    image = _splatted(lines.reshape(2, -1), bright.ravel(), side)
    return gaussian_filter(np.minimum(image, 3), random.uniform(0.4, 1.2))


def puncta(side: int, random: Random) -> NDArray[np.float64]:
    """Scatter points, some of them in clusters."""
    count = int(np.exp(random.uniform(np.log(10), np.log(600))))
    places = random.uniform(0, side, (2, count))
    if random.random() < 0.5:
        nests = random.uniform(0, side, (2, int(random.integers(2, 12))))
        near = nests[:, random.integers(0, nests.shape[1], count)]
        places = near + random.standard_normal((2, count)) * random.uniform(3, 15)
    image = _splatted(places, random.lognormal(0, 0.5, count), side)
    return gaussian_filter(image, random.uniform(0.4, 1.5))


def bodies(side: int, random: Random) -> NDArray[np.float64]:
    """Draw cells or nuclei, with a texture and sometimes a rim."""
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    grain = gaussian_filter(random.standard_normal((side, side)), random.uniform(0.8, 4))
    grain /= grain.std()
    wobble = gaussian_filter(random.standard_normal((side, side)), 8)
    wobble *= random.uniform(0, 0.2) / wobble.std()
    rim, edge = random.uniform(0, 1.5) * (random.random() < 0.4), random.uniform(4, 30)
    largest = random.uniform(6, 40)
    for _ in range(int(random.integers(2, 6 + int(3000 / largest**2)))):
        cy, cx = random.uniform(-5, side + 5, 2)
        a, b, turn = *(largest * random.uniform(0.5, 1, 2)), random.uniform(0, np.pi)
        dy, dx = y - cy, x - cx
        u, v = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
        away = np.sqrt((u / a) ** 2 + (v / b) ** 2) + wobble
        inside = 1 / (1 + np.exp(np.clip(edge * (away - 1), -30, 30)))
        body = inside * (1 + rim * np.exp(-(((away - 1) * 8) ** 2)))
        image = np.maximum(image, random.uniform(0.3, 1) * body)
    return np.asarray(image * (1 + random.uniform(0, 0.6) * grain).clip(0.05))


def texture(side: int, random: Random) -> NDArray[np.float64]:
    """Let structures of several sizes cover all of the field."""
    image = np.zeros((side, side))
    for sigma in (0.7, 1.5, 3.0, 6.0, 12.0):
        layer = gaussian_filter(random.standard_normal((side, side)), sigma)
        image += random.uniform(0, 1) * layer / layer.std()
    image = image / image.std() + random.uniform(-1, 1)
    bright = np.exp(random.uniform(0.3, 1.2) * image.clip(-3, 3))
    return np.asarray(bright * (image > random.uniform(-3, 0.5)))


def membranes(side: int, random: Random) -> NDArray[np.float64]:
    """Draw thin walls between regions."""
    field = gaussian_filter(random.standard_normal((side, side)), random.uniform(3, 12))
    steep = np.hypot(*np.gradient(field)) + 1e-9
    wall = np.exp(-((field / steep / random.uniform(0.5, 1.5)) ** 2) / 2)
    other = gaussian_filter(random.standard_normal((side, side)), 10)
    return np.asarray(wall * (1 + 0.4 * other / other.std()).clip(0.1))


def vesicles(side: int, random: Random) -> NDArray[np.float64]:
    """Draw small rings and discs."""
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    thin = random.uniform(0.6, 1.5)
    for _ in range(int(random.integers(5, 40))):
        cy, cx = random.uniform(0, side, 2)
        radius = random.uniform(1.5, 8)
        away = np.hypot(y - cy, x - cx) - radius
        ring = np.exp(-((away / thin) ** 2) / 2)
        disc = 1 / (1 + np.exp(np.clip(4 * away, -30, 30)))
        image += random.uniform(0.3, 1) * (ring if random.random() < 0.7 else disc)
    return image


KINDS: tuple[Callable[[int, Random], NDArray[np.float64]], ...] = (
    filaments,
    puncta,
    bodies,
    texture,
    membranes,
    vesicles,
)


def _splatted(places: NDArray[Any], bright: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Add points between pixels, by linear shares to the four around."""
    image = np.zeros((side, side))
    whole = np.floor(places).astype(int)
    part = places - whole
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = whole[0] + dy, whole[1] + dx
            share = np.abs(1 - dy - part[0]) * np.abs(1 - dx - part[1]) * bright
            ok = (y >= 0) & (y < side) & (x >= 0) & (x < side)
            np.add.at(image, (y[ok], x[ok]), share[ok])
    return image


def _resized(image: NDArray[Any], factor: float) -> NDArray[np.float64]:
    """Make an image smaller, without aliases."""
    # The Gaussian that matches a pixel `factor` as long, less the one that is there already.
    smooth = gaussian_filter(
        image.astype(np.float64), np.sqrt(max(factor**2 - 1, 0) / 12), mode="nearest"
    )
    size = [max(1, int(n / factor + 1e-6)) for n in image.shape]
    places = np.meshgrid(*((np.arange(n) + 0.5) * factor - 0.5 for n in size), indexing="ij")
    small: NDArray[np.float64] = map_coordinates(smooth, places, order=1, mode="nearest")
    return small


def _scaled(image: NDArray[Any]) -> NDArray[np.float64]:
    """Scale to 0…1; the brightest 0.1 % may be brighter."""
    low, high = np.percentile(image, (0.1, 99.9))
    return np.asarray(((image - low) / (high - low + 1e-9)).clip(0, 3))
