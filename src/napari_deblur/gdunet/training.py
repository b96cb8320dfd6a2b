"""Train GDUNet, in one visible loop that can be stopped at any time and goes on where it was."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from napari_deblur.gdunet.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from napari_deblur.gdunet.losses import kernel_correlation, kernel_decibels, loss, psnr
from napari_deblur.gdunet.network import Network
from napari_deblur.gdunet.objects import crops
from napari_deblur.gdunet.pairs import Pairs, crops_of_pairs, paired_batch
from napari_deblur.gdunet.physics import inner
from napari_deblur.gdunet.schedule import Settings, hashed
from napari_deblur.gdunet.synthesis import (
    Bank,
    Batch,
    Recipe,
    batch,
    default_kernel,
    make_bank,
)
from napari_deblur.gdunet.weights import save_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_deblur.gdunet.network import Pair

__all__ = ["Shown", "Step", "train"]

Images = Mapping[str, tuple[float, Sequence["NDArray[Any]"]]]
PairsOfImages = Sequence[tuple["NDArray[Any]", "NDArray[Any]"]]
# One of so many images is for validation.
HELD_BACK = 16
# Differs from any training seed by chance only.
OTHER_SEED = 7919
CASES, EACH, SHOWN = 16, 8, 3


class Shown(NamedTuple):
    """A case of the validation: images without their margins, and kernels."""

    name: str
    seen: NDArray[np.float32]
    restored: NDArray[np.float32]
    sharp: NDArray[np.float32]
    found: NDArray[np.float32]
    true: NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """How far a training is.

    Attributes
    ----------
    iteration : int
        How many are done.
    loss : float
        Mean since the last such step, as are the others.
    numbers : dict of str to float
        "psnr in", "psnr out" in dB; "ncc first", "ncc out", and "snr first", "snr out" in dB of
        kernels; "seconds" per iteration.
    validation : dict of str to float, or None
        The same of cases that stay the same, with the averaged weights, at 100 and 1000 photons;
        "psnr given" with the true kernel.
    shown : sequence of Shown
        Some cases of the validation, if there was one; blind.
    """

    iteration: int
    loss: float
    numbers: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] | None = None
    shown: Sequence[Shown] = ()


def train(
    settings: Settings,
    images: Images,
    folder: Path,
    *,
    pairs: PairsOfImages = (),
    device: str = "cpu",
) -> Iterator[Step]:
    """Train a network, or go on with it where the folder holds a checkpoint.

    Parameters
    ----------
    settings : Settings
    images : mapping of name to (share, arrays of shape (y, x))
        Sharp images and how often they are drawn; may be empty. Every 16th is held back.
    folder : Path
        Where ``checkpoint.safetensors``, ``weights.safetensors`` (averaged, to be used) and
        ``log.jsonl`` go.
    pairs : sequence of (blurred, sharp), arrays of shape (y, x)
        Images of the same place, whose kernels nobody knows.
    device : str
        Of torch.

    Yields
    ------
    Step
        Every ``log_every`` iterations. Stopping the generator loses what was done since the last
        checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = torch.device(device)
    torch.manual_seed(settings.seed)
    network = Network(settings.network)
    network.to(device=place)
    average = Network(network.configuration).to(place).requires_grad_(False)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.rate, betas=(0.9, 0.95), weight_decay=1e-4
    )
    state = Checkpoint(network, average, optimiser, asdict(settings))
    done = load_checkpoint(folder / "checkpoint.safetensors", state)
    bank, cases = _banks(settings, images)
    side = max(side for side, _ in settings.sizes)
    several = crops_of_pairs(pairs, side, EACH, settings.seed) if pairs else None
    log, saved = folder / "log.jsonl", time.monotonic()
    _cut_log(log, done)
    sums, began = _Sums(), time.monotonic()

    for iteration, recipe, made in _batches(bank, several, settings, done):
        drawn = made.to(place)
        fixed = recipe.fixed and drawn.known
        cut = iteration < settings.curriculum / 3
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(iteration)
        with torch.autocast(place.type, torch.bfloat16, enabled=settings.bfloat16):
            stages = network(
                drawn.seen, drawn.noise, drawn.first, fixed=fixed, cut=cut, centre=False
            )
        value = loss(stages, drawn, fixed=fixed or not network.configuration.blind)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        if torch.isfinite(norm):
            optimiser.step()
        _averaged(average, network, min(settings.average, (1 + iteration) / (10 + iteration)))
        sums.add(float(value.detach()), stages, drawn, fixed=fixed)

        count = iteration + 1
        last = count == settings.iterations
        validation: dict[str, float] | None = None
        shown: list[Shown] = []
        if count % settings.validate_every == 0 or last:
            validation, shown = _validated(average, cases, place)
        if count % settings.log_every == 0 or validation or last:
            step = sums.step(count, time.monotonic() - began, validation)
            with log.open("a") as file:
                file.write(json.dumps(asdict(step)) + "\n")
            yield replace(step, shown=shown)
            sums, began = _Sums(), time.monotonic()
        if last or time.monotonic() - saved > 60 * settings.checkpoint_minutes:
            save_checkpoint(folder / "checkpoint.safetensors", state, count)
            save_weights(folder / "weights.safetensors", average, _facts(settings, count))
            saved = time.monotonic()


def _batches(
    bank: Bank, pairs: Pairs | None, settings: Settings, done: int
) -> Iterator[tuple[int, Recipe, Batch]]:
    """Give the batches that are left, made ahead of time by other threads where there are any."""

    def make(recipe: Recipe, iteration: int) -> Batch:
        if pairs is None or hashed(settings.seed + 2, iteration) % 1000 >= 1000 * settings.paired:
            return batch(bank, recipe, iteration, settings.seed)
        return paired_batch(pairs, recipe, iteration, settings.seed)

    left = range(done, settings.iterations)
    recipes = (settings.recipe_at(iteration) for iteration in left)
    if not settings.threads:
        for iteration, recipe in zip(left, recipes, strict=True):
            yield iteration, recipe, make(recipe, iteration)
        return
    waiting: deque[tuple[int, Recipe, Future[Batch]]] = deque()
    with ThreadPoolExecutor(settings.threads) as others:
        for iteration, recipe in zip(left, recipes, strict=True):
            made = others.submit(make, recipe, iteration)
            waiting.append((iteration, recipe, made))
            if len(waiting) > 2 * settings.threads:
                first, kind, ready = waiting.popleft()
                yield first, kind, ready.result()
        for first, kind, ready in waiting:
            yield first, kind, ready.result()


class _Sums:
    """Running sums of what is reported."""

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.values: dict[str, list[float]] = {}

    def add(self, value: float, stages: Sequence[Pair], drawn: Batch, *, fixed: bool) -> None:
        self.loss.append(value)
        with torch.no_grad():
            found = _measured(stages, drawn)
        compared = drawn.known and not fixed
        kind = "" if compared else " given" if fixed else " pairs"
        for name, values in found.items():
            if compared or name.startswith("psnr"):
                self.values.setdefault(name + kind, []).append(float(np.mean(values)))

    def step(self, count: int, seconds: float, validation: dict[str, float] | None) -> Step:
        numbers = {name: float(np.mean(values)) for name, values in sorted(self.values.items())}
        numbers["seconds"] = seconds / max(1, len(self.loss))
        return Step(count, float(np.mean(self.loss)), numbers, validation)


def _measured(stages: Sequence[Pair], drawn: Batch) -> dict[str, list[float]]:
    """Measure every item of a batch."""
    return {
        "psnr in": psnr(drawn.seen, drawn).tolist(),
        "psnr out": psnr(stages[-1].image, drawn).tolist(),
        "ncc first": kernel_correlation(drawn.first, drawn.kernel).tolist(),
        "ncc out": kernel_correlation(stages[-1].kernel, drawn.kernel).tolist(),
        "snr first": kernel_decibels(drawn.first, drawn.kernel).tolist(),
        "snr out": kernel_decibels(stages[-1].kernel, drawn.kernel).tolist(),
    }


def _validated(
    network: Network, cases: Mapping[str, list[Batch]], place: torch.device
) -> tuple[dict[str, float], list[Shown]]:
    """Measure the network on cases that stay the same, blind and with the true kernels."""
    found: dict[str, float] = {}
    shown: list[Shown] = []
    with torch.no_grad():
        for name, batches in cases.items():
            parts: dict[str, list[float]] = {}
            for number, case in enumerate(one.to(place) for one in batches):
                size = (case.kernel.shape[-2], case.kernel.shape[-1])
                first = default_kernel(len(case.kernel), size).to(place)
                stages = network(case.seen, case.noise, first)
                for key, values in _measured(stages, replace(case, first=first)).items():
                    parts.setdefault(key, []).extend(values)
                if number == 0:
                    shown += [_shown(name, case, stages[-1], item) for item in range(SHOWN)]
                stages = network(case.seen, case.noise, case.kernel, fixed=True)
                parts.setdefault("psnr given", []).extend(psnr(stages[-1].image, case).tolist())
            found |= {f"{name}: {key}": float(np.mean(v)) for key, v in parts.items()}
    return found, shown


def _shown(name: str, case: Batch, pair: Pair, item: int) -> Shown:
    size = (case.kernel.shape[-2], case.kernel.shape[-1])
    images = (inner(image, size) for image in (case.seen, pair.image, case.sharp))
    every = (*images, pair.kernel, case.kernel)
    return Shown(name, *(one[item, 0].float().cpu().numpy() for one in every))


def _banks(settings: Settings, images: Images) -> tuple[Bank, dict[str, list[Batch]]]:
    """Make what to train on, and the cases to validate on."""
    side = max(s + k - 1 for s, k in settings.sizes)
    kernel = max(k for _, k in settings.sizes)
    parts: list[dict[str, tuple[float, NDArray[np.float16]]]] = [{}, {}]
    for name, (share, arrays) in images.items():
        for back, chosen in enumerate(parts):
            some = [a for i, a in enumerate(arrays) if (i % HELD_BACK == 0) == bool(back)]
            chosen[name] = (share, crops(some, side, settings.seed + back, each=8 - 6 * back))
    rest = settings.made if images else 1.0
    bank = make_bank(
        rest,
        parts[0],
        side=side,
        kernel=kernel,
        counts=(settings.objects, settings.kernels),
        seed=settings.seed,
        scales=settings.scales,
        shares=dict(settings.families),
    )
    other = settings.seed + OTHER_SEED
    few = min(32, settings.objects), min(200, settings.kernels)
    held = make_bank(
        rest,
        parts[1],
        side=side,
        kernel=kernel,
        counts=few,
        seed=other,
        scales=settings.scales,
        shares=dict(settings.families),
    )
    largest = max(settings.sizes)
    cases = {}
    for photons in (100.0, 1000.0):
        recipe = Recipe(EACH, *largest, photons=(photons, photons * 1.001))
        drawn = [batch(held, recipe, i, other) for i in range(-(-CASES // EACH) * 2)]
        cases[f"{photons:g} photons"] = drawn
    return bank, cases


def _averaged(average: Network, network: Network, kept: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)


def _cut_log(path: Path, done: int) -> None:
    """Leave out of the log what a crash made undone."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["iteration"] <= done]
    path.write_text("".join(line + "\n" for line in kept))


def _facts(settings: Settings, iteration: int) -> dict[str, Any]:
    """Say with the weights what they were trained on."""
    return {
        "iterations": iteration,
        "seed": settings.seed,
        "photons": list(settings.photons),
        "kernel_sizes": sorted({k for _, k in settings.sizes}),
        "image_sides": sorted({s for s, _ in settings.sizes}),
    }
