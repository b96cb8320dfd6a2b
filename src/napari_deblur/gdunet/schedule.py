"""How a network is trained: how long, how fast, and what of, at each iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_deblur.gdunet.kernels import FAMILIES, SCALES
from napari_deblur.gdunet.network import CONFIGURATIONS, PARTS, STEPS, Configuration
from napari_deblur.gdunet.ranges import is_number, refused, shown
from napari_deblur.gdunet.synthesis import Recipe

__all__ = ["Settings", "hashed"]

# Which stages of a network are trained.
LEARNED = ("all", "dense")


@dataclass(frozen=True)
class Settings:
    """How a network is trained; all of it can be changed when a training goes on, but the network.

    Parameters
    ----------
    configuration : str
        One of `network.CONFIGURATIONS`.
    without : tuple of str
        Parts of the network that are left out.
    kernel_step : str
        See `network.Configuration`.
    seed : int
    iterations : int
    batch : int
        Images at a time.
    sizes : tuple of (side, kernel)
        Sides of images, margins included, and of kernels, in pixels: one of them for each batch.
        Kernels are odd, sides at least twice as large.
    rate : float
        Of learning. It rises over the first `warm_up` iterations and falls to 0 over the last
        `decay`; between, it stays, so that the end need not be known at the start. At least
        1 iteration of rising; a decay of 0 leaves the rate as it is.
    clip : float
        Largest norm of a gradient.
    average : float
        How much of the running average of the weights is kept at each iteration, below 1.
    curriculum : int
        Iterations until batches are as hard as they get: kernels are given at first, blur and
        noise grow.
    fixed : float
        Share of batches with given kernels, near the truth, of which only the image is learned.
    images_first : int
        Iterations in which all kernels are given.
    made : float
        Share of objects that are made, not cut from images.
    objects, kernels : int
        How many are made.
    scales : (least, most)
        NA × pixel / wavelength of the lenses that make kernels.
    families : tuple of (family, share)
        How often kernels are of each family; () as `kernels.FAMILIES` says.
    paired : float
        Share of batches that come from pairs, where there are any.
    photons : (least, most)
        Per pixel at brightness 1, above 0.
    learned : str
        "all", or "dense": the stages before those stay as they are, and only tell kernels to begin
        with.
    decibels : bool
        Errors count by their logarithms: see `losses.loss`.
    bfloat16 : bool
        Compute what is learned in half the bits, as GPUs do fast; transforms keep all of theirs.
    threads : int
        That make batches besides; 0 where the training itself needs the cores.
    log_every, validate_every : int
        Iterations.
    checkpoint_minutes : float
    """

    configuration: str = "tiny"
    without: tuple[str, ...] = ()
    kernel_step: str = "preconditioned"
    seed: int = 1
    iterations: int = 40_000
    batch: int = 4
    sizes: tuple[tuple[int, int], ...] = ((96, 31), (96, 31), (88, 25), (80, 21))
    rate: float = 1e-3
    warm_up: int = 200
    decay: int = 8000
    clip: float = 0.5
    average: float = 0.999
    curriculum: int = 2500
    fixed: float = 0.25
    images_first: int = 0
    made: float = 0.45
    objects: int = 800
    kernels: int = 3000
    scales: tuple[float, float] = SCALES
    families: tuple[tuple[str, float], ...] = ()
    paired: float = 0.5
    photons: tuple[float, float] = (30.0, 5000.0)
    learned: str = "all"
    decibels: bool = False
    bfloat16: bool = False
    threads: int = 0
    log_every: int = 50
    validate_every: int = 500
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        if sentence := refused(vars(self)):
            raise ValueError(sentence)
        if self.configuration not in CONFIGURATIONS:
            raise ValueError(
                f'no configuration "{self.configuration}"; there are: {", ".join(CONFIGURATIONS)}'
            )
        if unknown := [part for part in self.without if part not in PARTS]:
            raise ValueError(
                f"without is {shown(self.without)}, and there is no {shown(unknown[0])}: parts "
                f"that can be left out are {', '.join(PARTS)}"
            )
        if self.kernel_step not in STEPS:
            raise ValueError(
                f"kernel_step is {shown(self.kernel_step)} and must be one of: {', '.join(STEPS)}"
            )
        if self.learned not in LEARNED:
            raise ValueError(
                f"learned is {shown(self.learned)} and must be one of: {', '.join(LEARNED)}"
            )
        if self.learned == "dense" and not CONFIGURATIONS[self.configuration].dense:
            raise ValueError(
                f'learned is "dense", and {self.configuration} has no dense stages: nothing would '
                "be learned"
            )
        for family, _ in self.families:
            if family not in FAMILIES:
                raise ValueError(
                    f'no family of kernels "{family}"; there are: {", ".join(FAMILIES)}'
                )
        if self.decay > self.iterations:
            raise ValueError(
                f"decay is {self.decay} and must be no more than iterations, which is "
                f"{self.iterations}: leave decay out for the last fifth"
            )

    @property
    def network(self) -> Configuration:
        """The sizes of the network."""
        base = CONFIGURATIONS[self.configuration]
        without = (*base.without, *self.without)
        parts: dict[str, Any] = {"without": without, "kernel_step": self.kernel_step}
        return replace(base, **parts)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Make settings from what a file says, in which tuples are lists.

        Where it says how many iterations, but not the decay, that is no more than the last fifth.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"unknown settings: {', '.join(unknown)}; there are: "
                f"{', '.join(cls.__dataclass_fields__)}"
            )
        given = dict(values)
        if "decay" not in given and is_number(given.get("iterations"), 1):
            given["decay"] = min(cls.decay, max(1, int(given["iterations"]) // 5))
        return cls(**given)

    def rate_at(self, iteration: int) -> float:
        """Give the rate of learning of an iteration, counted from 0."""
        rising = min(1.0, (iteration + 1) / self.warm_up)
        falling = min(1.0, (self.iterations - iteration) / max(1, self.decay))
        return self.rate * rising * falling

    def recipe_at(self, iteration: int) -> Recipe:
        """Give the recipe of an iteration's batch."""
        done = min(1.0, iteration / max(1, self.curriculum))
        side, kernel = self.sizes[hashed(self.seed, iteration) % len(self.sizes)]
        least, most = self.photons
        # Given kernels in the first sixth, all blur after two thirds, all noise at the end.
        return Recipe(
            count=self.batch,
            side=side,
            kernel=kernel,
            widest=2 + 6 * min(1.0, 1.5 * done),
            photons=(max(least, min(500.0, most / 2) * (least / 500.0) ** done), most),
            read_noise=0.02 * done,
            given=max(0.0, 1 - 6 * done),
            fixed=iteration < self.images_first
            or hashed(self.seed + 1, iteration) % 1000 < 1000 * self.fixed,
        )


def hashed(seed: int, iteration: int) -> int:
    """Give a number that looks random, the same wherever a training goes on."""
    return int(np.random.default_rng((seed, iteration, 3)).integers(2**31))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
