"""Weights of networks: files that hold numbers and nothing that runs, checked before use."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from napari_deblur.gdunet.checkpoints import save_tensors
from napari_deblur.gdunet.network import CONFIGURATIONS, Configuration, Network

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "checked_digest",
    "described",
    "digest",
    "load_network",
    "name_of",
    "save_weights",
    "weights_path",
]

FOLDER = Path(__file__).parent / "weights"
# The digests of the packaged files, as sha256sum writes them: in the folder,
# sha256sum *.safetensors > SHA256SUMS
SUMS = "SHA256SUMS"

_loading = Lock()  # each thread that comes meanwhile would load the same
# What comes of a file whose words make no sense.
SENSELESS = (
    SafetensorError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    AttributeError,
)


def save_weights(path: Path, network: Network, facts: dict[str, Any]) -> None:
    """Write a network's weights, its configuration and what it was trained on.

    The numbers of dense stages have half their bits: more of them don't show.
    """
    tensors: dict[str, Tensor] = {
        name: parameter.detach().half() if name.startswith("dense.") else parameter
        for name, parameter in network.named_parameters()
    }
    texts = {"configuration": json.dumps(asdict(network.configuration)), "facts": json.dumps(facts)}
    save_tensors(path, tensors, texts)


def weights_path(weights: str | Path) -> Path:
    """Give the file of weights: of this package by name, or by its path.

    Raises
    ------
    FileNotFoundError
        When there is neither.
    """
    packaged = FOLDER / f"{weights}.safetensors"
    named = packaged.parent == FOLDER and packaged.exists()
    path = packaged if named else Path(weights)
    with suppress(RuntimeError):  # nobody of that name has a home
        path = path.expanduser()
    if not path.is_file():
        names = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
        there = ", ".join(names) or "none is packaged"
        if weights in CONFIGURATIONS:
            raise FileNotFoundError(
                f"weights {weights} are not shipped, only the sizes of their network: train them "
                f"(configuration = {weights}) and give the path of the file, or take one of: "
                f"{there}"
            )
        raise FileNotFoundError(
            f'no weights "{weights}": give the path of a .safetensors file, or one of: {there}'
        )
    return path


def name_of(path: Path) -> str:
    """Give what a plan calls weights: packaged ones their name, others the whole path."""
    return path.stem if path.parent == FOLDER else str(path.resolve())


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_digest(path: Path) -> str:
    """Give the SHA-256 of a file; of a packaged one it must be what the package says.

    Raises
    ------
    ValueError
        When a packaged file has changed.
    """
    found = digest(path)
    sums = path.parent / SUMS
    if path.parent == FOLDER:
        text = sums.read_text("utf-8") if sums.is_file() else ""
        known = {name: value for value, name in map(str.split, text.splitlines())}
        said = known.get(path.name, "none")
        if said != found:
            raise ValueError(
                f"the packaged weights {path.name} are damaged (SHA-256 {found[:12]}… instead of "
                f"{said[:12]}…): install napari-deblur again"
            )
    return found


def described(path: Path) -> tuple[Configuration, dict[str, Any]]:
    """Read what a file of weights says of itself: a network's sizes, and its training.

    Raises
    ------
    ValueError
        When it holds no weights of ours.
    """
    seen = path.stat()
    return _described(path, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=16)
def _described(path: Path, changed: int, size: int) -> tuple[Configuration, dict[str, Any]]:
    """Read it once, until the file changes."""
    try:
        with safe_open(path, framework="pt") as file:
            return _told(file.metadata() or {})
    except SENSELESS as error:
        raise _foreign(path) from error


def _told(texts: dict[str, str]) -> tuple[Configuration, dict[str, Any]]:
    values, facts = dict(json.loads(texts["configuration"])), dict(json.loads(texts["facts"]))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Configuration(**values), facts


def _check_sizes(configuration: Configuration, file: Any) -> None:
    """Refuse a network that is not the size of its file, before any memory is taken for it."""
    shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    c = configuration
    parts = (c.stages, c.middle, c.gradient_blocks, c.kernel_blocks, *c.encoder, *c.decoder)
    parts += (c.dense, *c.dense_encoder, *c.dense_decoder)
    # Each has tensors of its own.
    if max(parts) > len(shapes) or len(parts) > len(shapes):
        raise ValueError(f"{max(parts)} parts of {len(shapes)} tensors")
    with torch.device("meta"):
        wanted = {name: list(p.shape) for name, p in Network(configuration).named_parameters()}
    if wanted != shapes:
        raise ValueError("tensors of other names or shapes")


def _foreign(path: Path) -> ValueError:
    return ValueError(
        f"{path} holds no weights of this version's network: give a best.safetensors that "
        "napari-deblur train has written"
    )


def load_network(path: Path, expected: str, device: str = "cpu") -> tuple[Network, dict[str, Any]]:
    """Load a network, once per process, after a check of the file's SHA-256.

    Parameters
    ----------
    path : Path
    expected : str
        What `digest` gave when the run was planned.
    device : str

    Returns
    -------
    network, facts
        Without gradients; and what it was trained on.

    Raises
    ------
    ValueError
        When the file is not the one that was planned with, holds no weights of ours, or numbers
        that are not finite.
    """
    with _loading:
        return _loaded(path, expected, device)


@lru_cache(maxsize=4)
def _loaded(path: Path, expected: str, device: str) -> tuple[Network, dict[str, Any]]:
    found = digest(path)
    if found != expected:
        raise ValueError(
            f"{path.name} has the SHA-256 {found[:12]}…, the plan says {expected[:12]}…: "
            "it has changed, plan anew"
        )
    try:
        with safe_open(path, framework="pt", device=device) as file:
            configuration, facts = _told(file.metadata() or {})
            _check_sizes(configuration, file)
            network = Network(configuration)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            network.load_state_dict(tensors)
    except SENSELESS as error:
        raise _foreign(path) from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.parameters()):
        raise ValueError(f"the weights {path} hold numbers that are not finite: train them again")
    network.to(torch.device(device)).requires_grad_(False).eval()
    return network, facts
