"""Groups and arrays of a zarr store, opened for reading only, with plain errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from napari_deblur.places import Remote, is_address, storage
from napari_deblur.readers._zarr_pixels import Guarded
from napari_deblur.readers._zarr_samples import plain_metadata

__all__ = ["DAMAGED", "looks_like_zarr", "open_array", "open_node", "safe_path"]

# Packages that fsspec wants for an address, by scheme.
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
# What zarr raises for metadata that make no sense, other than what the disk or the network say.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
MARKERS = ("zarr.json", ".zgroup", ".zarray")


def looks_like_zarr(address: str) -> bool:
    """Say whether a folder holds zarr's own files; a URL has to be tried."""
    if "://" in address:
        return True
    return any(Path(address, marker).is_file() for marker in MARKERS)


def open_node(address: str) -> Any:
    """Open the group or array at a path or URL.

    Raises
    ------
    FileNotFoundError
        When there is none.
    ValueError
        When it is damaged, or when a package for the URL is missing.
    """
    store = storage(Remote.read(address)) if is_address(address) else address
    try:
        if "://" not in address:
            store = Guarded(LocalStore(address, read_only=True))
        # Consolidated metadata can be older than the arrays that they describe.
        return zarr.open(store, mode="r", use_consolidated=False)
    except FileNotFoundError as error:
        denied = getattr(store, "denied", ())
        if denied:
            raise denied[0] from None
        raise FileNotFoundError(f'there is no zarr group or array at "{address}"') from error
    except ImportError as error:
        scheme = address.partition("://")[0]
        package = PACKAGES.get(scheme, f'the fsspec package for "{scheme}"')
        raise ValueError(
            f'"{address}" cannot be opened without another package: install {package}'
        ) from error
    except (*DAMAGED, OSError) as error:
        if is_address(address) and isinstance(error, OSError) and error.errno is not None:
            raise  # of the network, not of the content
        raise ValueError(
            f'"{address}" cannot be opened as zarr, its metadata are damaged or of a kind that is '
            f"not known ({_short(error)}): write it again or open another"
        ) from error


def open_array(group: Any, path: str, address: str) -> Any:
    """Open the array at `path` inside a group, refusing what would run code when it is read."""
    safe_path(path, address)
    try:
        array = group[path] if path else group
    except DAMAGED as error:
        raise ValueError(
            f'"{address}" promises an array at "{path}" that is missing or damaged '
            f"({_short(error)}): copy or write the store again"
        ) from error
    if not isinstance(array, zarr.Array):
        raise ValueError(f'"{path}" inside "{address}" is a group, but an array is expected there')
    # Unpickling runs whatever code the file holds.
    if re.search(
        r"""["'](numcodecs\.)?pickle["']""", json.dumps(plain_metadata(array), default=str)
    ):
        raise ValueError(
            f'"{path or address}" is packed with pickle, which can run any code when it is read: '
            "ask for it in another compression"
        )
    return array


def safe_path(path: str, address: str) -> str:
    """Give back a path that stays inside its store.

    Raises
    ------
    ValueError
        For an absolute path, a URL or one with "..".
    """
    parts = re.split(r"[/\\]", path)
    if ".." in parts or path.startswith(("/", "\\")) or ":" in path:
        raise ValueError(
            f'the metadata of "{address}" point outside of it ("{path}"), and only paths inside '
            "are followed: correct the metadata"
        )
    return path


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
