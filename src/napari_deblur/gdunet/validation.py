"""Measure a network while it is trained, on cases that stay the same and that it doesn't learn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from napari_deblur.gdunet.cutting import Each, cut_and_parted
from napari_deblur.gdunet.losses import kernel_correlation, kernel_decibels, psnr
from napari_deblur.gdunet.objects import crops_of, stacked
from napari_deblur.gdunet.pairs import Pairs, crops_of_pair, gathered, paired_batch
from napari_deblur.gdunet.physics import inner
from napari_deblur.gdunet.synthesis import Bank, Batch, Recipe, batch, default_kernel, make_bank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.gdunet.network import Network
    from napari_deblur.gdunet.scene import Pair
    from napari_deblur.gdunet.schedule import Settings

__all__ = ["PAIRS", "Shown", "banks", "digest_of", "measured", "score_of", "validated"]

Images = Mapping[str, tuple[float, Sequence["NDArray[Any]"]]]
PairsOfImages = Sequence[tuple["NDArray[Any]", "NDArray[Any]"]]
Cases = Mapping[str, list[Batch]]

# Differs from any training seed by chance only.
OTHER_SEED = 7919
BATCHES, EACH, SHOWN = 4, 8, 3
# What cases from pairs are called.
PAIRS = "pairs"


class Shown(NamedTuple):
    """A case of the validation: images without their margins, and kernels; 0 if unknown."""

    name: str
    seen: NDArray[np.float32]
    restored: NDArray[np.float32]
    sharp: NDArray[np.float32]
    found: NDArray[np.float32]
    true: NDArray[np.float32]


def banks(
    settings: Settings,
    images: Images,
    pairs: PairsOfImages,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Bank, Pairs | None, Cases]:
    """Make what to train on, and the cases to validate on; `say` is told what is used.

    Raises
    ------
    ValueError
        When no image of a name, or no pair, has a crop with structure, or none would be drawn.
    """
    total = sum(share for share, _ in images.values())
    if images and not (total > 0 and settings.made < 1):
        raise ValueError(
            f"made is {settings.made:g} and the shares of the images add up to {total:g}: none of "
            "the images would be learned from, take made below 1 and shares above 0"
        )
    if pairs and (settings.paired == 0 or (images and settings.paired == 1)):
        ignored = "images" if settings.paired else "pairs"
        raise ValueError(
            f"paired is {settings.paired:g}: none of the {ignored} would be learned from, take it "
            f"between 0 and 1 or leave the {ignored} out"
        )
    side = max(s + k - 1 for s, k in settings.sizes)
    parts: list[dict[str, tuple[float, NDArray[np.float16]]]] = [{}, {}]
    for name, (share, arrays) in images.items():
        both = cut_and_parted(
            Each(lambda array: (array,), arrays),
            side,
            lambda i, image: crops_of(i, image[0], side, settings.seed, each=8),
            ("sharp image", name),
            say,
        )
        for part, cut in zip(parts, both, strict=True):
            part[name] = (share * (1 - settings.made) / total, stacked(cut, side))
    made = settings.made if images else 1.0
    other = settings.seed + OTHER_SEED
    few = min(32, settings.objects), min(200, settings.kernels)
    bank, held = (
        make_bank(
            made,
            part,
            side=side,
            kernel=max(k for _, k in settings.sizes),
            counts=counts,
            seed=seed,
            scales=settings.scales,
            shares=dict(settings.families),
        )
        for part, counts, seed in (
            (parts[0], (settings.objects, settings.kernels), settings.seed),
            (parts[1], few, other),
        )
    )
    for _, size in settings.sizes:
        bank.fitting(size, settings.recipe_at(0).widest)
    largest = max(settings.sizes)
    cases = {}
    for photons in (100.0, 1000.0):
        recipe = Recipe(EACH, *largest, photons=(photons, photons * 1.001))
        # A few objects make no more than a few cases.
        count = max(1, min(BATCHES, settings.objects // EACH))
        drawn = [batch(held, recipe, i, other) for i in range(count)]
        cases[f"{photons:g} photons"] = drawn
    if not pairs:
        return bank, None, cases
    learnt, back = cut_and_parted(
        pairs,
        largest[0],
        lambda i, pair: crops_of_pair(i, pair, largest[0], EACH, settings.seed),
        ("pair", ""),
        say,
    )
    several, few_pairs = gathered(learnt), gathered(back)
    cases[PAIRS] = [paired_batch(few_pairs, Recipe(EACH, *largest), i, other) for i in range(2)]
    return bank, several, cases


def digest_of(cases: Cases) -> str:
    """Tell cases from others: scores of different ones can't be compared."""
    found = hashlib.sha256()
    for batches in cases.values():
        for one in batches:
            found.update(one.seen.numpy().tobytes())
    return found.hexdigest()


def score_of(validation: Mapping[str, float]) -> float:
    """Give the number by which weights are compared: PSNR (dB), blind, of pairs if there are."""
    if f"{PAIRS}: psnr out" in validation:
        return validation[f"{PAIRS}: psnr out"]
    return float(np.mean([v for name, v in validation.items() if name.endswith(": psnr out")]))


def measured(stages: Sequence[Pair], drawn: Batch) -> dict[str, list[float]]:
    """Measure every item of a batch."""
    return {
        "psnr in": psnr(drawn.seen, drawn).tolist(),
        "psnr out": psnr(stages[-1].image, drawn).tolist(),
        "ncc first": kernel_correlation(drawn.first, drawn.kernel).tolist(),
        "ncc out": kernel_correlation(stages[-1].kernel, drawn.kernel).tolist(),
        "snr first": kernel_decibels(drawn.first, drawn.kernel).tolist(),
        "snr out": kernel_decibels(stages[-1].kernel, drawn.kernel).tolist(),
    }


def validated(
    network: Network, cases: Cases, place: torch.device
) -> tuple[dict[str, float], list[Shown]]:
    """Measure the network blind, and with the true kernels where they are known."""
    found: dict[str, float] = {}
    shown: list[Shown] = []
    with torch.no_grad():
        for name, batches in cases.items():
            parts: dict[str, list[float]] = {}
            for number, case in enumerate(one.to(place) for one in batches):
                size = (case.kernel.shape[-2], case.kernel.shape[-1])
                first = default_kernel(len(case.kernel), size).to(place)
                stages = network(case.seen, case.noise, first)
                for key, values in measured(stages, replace(case, first=first)).items():
                    if case.known or key.startswith("psnr"):
                        parts.setdefault(key, []).extend(values)
                if number == 0:
                    shown += [_shown(name, case, stages[-1], item) for item in range(SHOWN)]
                if case.known:
                    stages = network(case.seen, case.noise, case.kernel, fixed=True)
                    values = psnr(stages[-1].image, case).tolist()
                    parts.setdefault("psnr given", []).extend(values)
            found |= {f"{name}: {key}": float(np.mean(v)) for key, v in parts.items()}
    return found, shown


def _shown(name: str, case: Batch, pair: Pair, item: int) -> Shown:
    size = (case.kernel.shape[-2], case.kernel.shape[-1])
    images = (inner(image, size) for image in (case.seen, pair.image, case.sharp))
    true = case.kernel if case.known else torch.zeros_like(case.kernel)
    every = (*images, pair.kernel, true)
    return Shown(name, *(one[item, 0].float().cpu().numpy() for one in every))
