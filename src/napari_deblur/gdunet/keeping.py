"""What is kept of a training: its state, the weights as they are, and the best ones so far."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from napari_deblur.gdunet.checkpoints import Checkpoint, save_checkpoint
from napari_deblur.gdunet.validation import score_of
from napari_deblur.gdunet.weights import (
    checked_digest,
    load_network,
    save_weights,
    weights_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_deblur.gdunet.network import Configuration, Network
    from napari_deblur.gdunet.schedule import Settings

__all__ = ["BEST", "CHECKPOINT", "WEIGHTS", "Keeper", "begin_with", "facts_of"]

# What two networks may differ in, if only one of them has dense stages.
NO_DENSE: dict[str, Any] = {
    "dense": 0,
    "dense_widths": (),
    "dense_encoder": (),
    "dense_decoder": (),
}
BEST, CHECKPOINT, WEIGHTS = "best.safetensors", "checkpoint.safetensors", "weights.safetensors"


@dataclass
class Keeper:
    """Writes what a training gives into its folder.

    Parameters
    ----------
    folder : Path
    settings : Settings
    state : Checkpoint
    cases : str
        Digest of what is validated on: the best of other cases, or of another network, is the best
        no more.
    begun_with : str
        The weights that it began with; "" if with none.
    """

    folder: Path
    settings: Settings
    state: Checkpoint
    cases: str
    begun_with: str = ""
    score: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        facts = facts_of(self.folder / BEST)
        known = facts.get("best", {})
        same = known.get("network", self._network) == self._network
        if known.get("cases") == self.cases and same and facts.get("begun_with") == self.begun_with:
            self.score = float(known["score"])

    @property
    def _network(self) -> str:
        """Give what stands for the network that is trained."""
        return repr(self.state.average.configuration)

    def save(self, iteration: int) -> None:
        """Write the state, to go on from, and the weights as they are, to be used."""
        save_checkpoint(self.folder / CHECKPOINT, self.state, iteration)
        save_weights(self.folder / WEIGHTS, self.state.average, self._facts(iteration))

    def offer(self, iteration: int, validation: Mapping[str, float]) -> None:
        """Keep the weights as the best ones if their validation says so."""
        score = score_of(validation)
        if score > self.score:
            self.score = score
            best = {
                "score": score,
                "cases": self.cases,
                "network": self._network,
                "validation": dict(validation),
            }
            facts = {**self._facts(iteration), "best": best}
            save_weights(self.folder / BEST, self.state.average, facts)

    def _facts(self, iteration: int) -> dict[str, Any]:
        """Say with the weights what they were trained on."""
        settings = self.settings
        return {
            "iterations": iteration,
            "seed": settings.seed,
            "photons": list(settings.photons),
            "kernel_sizes": sorted({k for _, k in settings.sizes}),
            "image_sides": sorted({s for s, _ in settings.sizes}),
            "begun_with": self.begun_with,
        }


def begin_with(start: str | Path, *networks: Network) -> None:
    """Load weights that were trained before: of the same network, or of one that it begins with.

    Raises
    ------
    FileNotFoundError
        When there are none.
    ValueError
        When they are of another network.
    """
    path = weights_path(start)
    known, _ = load_network(path, checked_digest(path))
    for network in networks:
        if known.configuration.dense > network.configuration.dense:
            raise ValueError(
                f"{path.name} is of a larger network, whose dense stages would be lost: choose the "
                'configuration that it was trained with, such as configuration = "light"'
            )
        if not _begins_alike(network.configuration, known.configuration):
            raise ValueError(
                f"{path.name} is of a network of another size: begin with nothing, or choose the "
                "configuration that it was trained with"
            )
        network.load_state_dict(known.state_dict(), strict=False)


def _begins_alike(one: Configuration, other: Configuration) -> bool:
    """Whether two networks are the same up to the end of the shorter one."""
    if not (one.dense and other.dense):
        one, other = (replace(c, **NO_DENSE) for c in (one, other))
    return replace(one, dense=other.dense) == other


def facts_of(path: Path) -> dict[str, Any]:
    """Read what a file of weights says of itself; nothing if there is none, or none of ours."""
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
    except (SafetensorError, KeyError, json.JSONDecodeError):
        return {}
    return facts
