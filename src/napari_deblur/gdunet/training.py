"""Train GDUNet, in one visible loop that can be stopped at any time and goes on where it was."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur.gdunet.checkpoints import Checkpoint, load_checkpoint
from napari_deblur.gdunet.keeping import BEST, CHECKPOINT, WEIGHTS, Keeper, begin_with, facts_of
from napari_deblur.gdunet.losses import loss
from napari_deblur.gdunet.network import Network
from napari_deblur.gdunet.pairs import Pairs, paired_batch
from napari_deblur.gdunet.schedule import Settings, hashed
from napari_deblur.gdunet.synthesis import Bank, Batch, Recipe, batch
from napari_deblur.gdunet.validation import Shown, banks, digest_of, measured, validated

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_deblur.gdunet.scene import Pair

__all__ = ["Shown", "Step", "train"]

Images = Mapping[str, tuple[float, Sequence["NDArray[Any]"]]]
PairsOfImages = Sequence[tuple["NDArray[Any]", "NDArray[Any]"]]


# Iterations in a row whose gradients are no numbers, after which a training is given up.
ASTRAY = 20


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
    start: str | Path = "",
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Step]:
    """Train a network, or go on with it where the folder holds a checkpoint.

    Parameters
    ----------
    settings : Settings
    images : mapping of name to (share, arrays of shape (y, x) or (planes, y, x))
        Sharp images and how often they are drawn; may be empty. Every 16th is held back with all
        its planes, of a single one an end.
    folder : Path
        Where ``checkpoint.safetensors``, ``weights.safetensors`` (averaged, to be used),
        ``best.safetensors`` (the same, of the best validation so far) and ``log.jsonl`` go.
    pairs : sequence of (blurred, sharp), arrays of shape (y, x) or (planes, y, x)
        Images of the same place, whose kernels nobody knows. Held back as `images`.
    device : str
        Of torch.
    start : str or Path
        Weights to begin with, by name or path, of a network of the same size, or of one without
        dense stages; "" for none. They are validated first, so that the best is never worse than
        these.
    stop : function without arguments
        Asked before each iteration. Once it says True, the state and the weights are saved and
        validated, and the training ends; it can be gone on with.
    say : function of a str
        Is told in sentences what of the images is used, and when there is nothing left to do.

    Yields
    ------
    Step
        Every ``log_every`` iterations, and one before the first where there are weights to begin
        with (its loss is NaN). Closing the generator loses what was done since the last
        checkpoint: `stop` does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = torch.device(device)
    torch.manual_seed(settings.seed)
    network = Network(settings.network)
    network.to(device=place)
    average = Network(network.configuration).to(place).requires_grad_(False)
    average.load_state_dict(network.state_dict())
    if settings.learned == "dense":
        network.stages.requires_grad_(requires_grad=False)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=settings.rate, betas=(0.9, 0.95), weight_decay=1e-4)
    state = Checkpoint(network, average, optimiser, asdict(settings))
    done = load_checkpoint(folder / CHECKPOINT, state)
    if start and not done:
        begin_with(start, network, average)
    if settings.learned == "dense" and settings.network.stages and not (start or done):
        raise ValueError(
            'learned is "dense", and the stages before those stay as they are: say which weights '
            'they have (start = "tiny"), or learn "all"'
        )
    if done >= settings.iterations:
        files = [name for name in (BEST, WEIGHTS) if (folder / name).exists()]
        say(
            f"{folder} has been trained for {done} iterations already, and {settings.iterations} "
            f"are asked for: its weights are {' and '.join(files)}; with more iterations it goes on"
        )
        return
    say("making objects and kernels to learn from")
    bank, several, cases = banks(settings, images, pairs, say)
    say(f"training begins at iteration {done} of {settings.iterations}")
    # What is gone on with began as it did, wherever those weights lie by now.
    begun = str(facts_of(folder / WEIGHTS).get("begun_with", start)) if done else str(start)
    keeper = Keeper(folder, settings, state, digest_of(cases), begun)
    log, saved = folder / "log.jsonl", time.monotonic()
    _cut_log(log, done)
    count, checked = done, done
    if start and not done:
        validation, shown = validated(average, cases, place)
        keeper.offer(0, validation)
        yield _logged(log, Step(0, math.nan, {}, validation), shown)
    sums, began, astray = _Sums(), time.monotonic(), 0

    for iteration, recipe, made in _batches(bank, several, settings, done):
        if stop():
            break
        drawn = made.to(place)
        fixed = recipe.fixed and drawn.known
        cut = iteration < settings.curriculum / 3
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(iteration)
        with torch.autocast(place.type, torch.bfloat16, enabled=settings.bfloat16):
            stages = network(
                drawn.seen, drawn.noise, drawn.first, fixed=fixed, cut=cut, centre=False
            )
        value = loss(
            stages[-len(network.dense) :] if settings.learned == "dense" else stages,
            drawn,
            fixed=fixed or not network.configuration.blind,
            decibels=settings.decibels,
        )
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(learned, settings.clip)
        if torch.isfinite(norm):
            optimiser.step()
            astray = 0
        else:
            astray += 1
            _refuse_to_stray(astray, iteration)
        _averaged(average, network, min(settings.average, (1 + iteration) / (10 + iteration)))
        sums.add(float(value.detach()), stages, drawn, fixed=fixed)

        count = iteration + 1
        last = count == settings.iterations
        found: dict[str, float] | None = None
        shown = []
        spent = time.monotonic() - began
        if count % settings.validate_every == 0 or last:
            found, shown = validated(average, cases, place)
            keeper.offer(count, found)
            checked = count
        told: Step | None = None
        if count % settings.log_every == 0 or found or last:
            told = _logged(log, sums.step(count, spent, found), shown)
            sums, began = _Sums(), time.monotonic()
        # After the log: a line too many is cut off, one that is missing would stay so.
        if last or time.monotonic() - saved > 60 * settings.checkpoint_minutes:
            keeper.save(count)
            saved = time.monotonic()
        if told is not None:
            yield told

    if done < count < settings.iterations:  # stopped
        keeper.save(count)
        if checked < count:
            validation, shown = validated(average, cases, place)
            keeper.offer(count, validation)
            yield _logged(log, sums.step(count, time.monotonic() - began, validation), shown)


def _logged(log: Path, step: Step, shown: Sequence[Shown]) -> Step:
    """Write a line of the log; numbers that there are not are null."""
    line = asdict(step) | {"loss": step.loss if math.isfinite(step.loss) else None}
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return replace(step, shown=shown)


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
            found = measured(stages, drawn)
        compared = drawn.known and not fixed
        kind = "" if compared else " given" if fixed else " pairs"
        for name, values in found.items():
            if compared or name.startswith("psnr"):
                self.values.setdefault(name + kind, []).append(float(np.mean(values)))

    def step(self, count: int, seconds: float, validation: dict[str, float] | None) -> Step:
        numbers = {name: float(np.mean(values)) for name, values in sorted(self.values.items())}
        if self.loss:
            numbers["seconds"] = seconds / len(self.loss)
        mean = float(np.mean(self.loss)) if self.loss else math.nan
        return Step(count, mean, numbers, validation)


def _averaged(average: Network, network: Network, kept: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)


def _refuse_to_stray(times: int, iteration: int) -> None:
    """Stop a training that learns nothing any more."""
    if times >= ASTRAY:
        raise ValueError(
            f"the training is lost: {times} iterations up to {iteration + 1} gave numbers that are "
            "not finite. Go on from the last checkpoint with a lower rate (--set rate=…), or look "
            "for images that are nothing like the others"
        )


def _cut_log(path: Path, done: int) -> None:
    """Leave out of the log what a crash made undone, or half written."""
    kept = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.exists() and done else []:
        with suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["iteration"] <= done:
                kept.append(line + "\n")
    beside = path.with_name(path.name + ".partial")
    beside.write_text("".join(kept))
    beside.replace(path)
