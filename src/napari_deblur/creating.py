"""Making the place for a result: a new store, one to go on with, or a refusal."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_deblur
from napari_deblur import claims, ngff, places, system
from napari_deblur.noted import recorded_of
from napari_deblur.outputs import is_blank, refuse_changed, refuse_foreign, removing, sweep
from napari_deblur.places import Remote
from napari_deblur.results import (
    IMAGE,
    KERNELS,
    LEDGER,
    OURS,
    SCHEMA,
    WINDOWS,
    open_result,
)
from napari_deblur.store import Store
from napari_deblur.stored import digest

if TYPE_CHECKING:
    from napari_deblur.places import Place
    from napari_deblur.plans import Plan

__all__ = ["create", "remove"]

TRIES = 3
PACKAGES = ("numpy", "scipy", "torch", "zarr")


def create(
    path: Place,
    plan: Plan,
    *,
    job: Mapping[str, Any] | None = None,
    start: str = "",
    resume: bool = True,
    overwrite: bool = False,
) -> Store:
    """Make a store for a plan, or go on with the one that is there.

    Several processes may do so at once: all write the same bytes.

    Parameters
    ----------
    path : Path or Remote
        A folder whose name ends in ``.zarr``.
    plan : Plan
    job : mapping or None
        What was asked for, as plain data.
    start : str
        What stands for the kernels' files of a job whose plan others are to take.
    resume : bool
        False refuses a store that is there, even one of the same plan.
    overwrite : bool
        Remove what is there first, if it is a result of this package.

    Raises
    ------
    FileExistsError
        When something else is there, in one sentence.
    """
    if overwrite:
        _empty(path)
    if is_blank(path):
        (path / LEDGER).mkdir(parents=True, exist_ok=True)
        store = Store(path, plan)
        store.write_group(
            "",
            {"ome": ngff.image_metadata(plan, store.levels[:1]), OURS: _record(plan, job, start)},
        )
    else:
        store = Store(path, _resumable(path, plan, resume=resume))
    _complete_layout(store)
    return store


def remove(path: Place) -> None:
    """Delete a result of this package, or an empty folder; refuse anything else.

    In one moment it is gone; what a process that was killed meanwhile left goes with the next.

    Raises
    ------
    FileExistsError
        When `path` is not recognisable as a result.
    """
    refuse_foreign(path)
    if isinstance(path, Remote):
        _empty(path)
        places.remove_tree(path)
        return
    if path.exists():
        try:
            system.insisting(lambda: _put_aside(path))
        except PermissionError:  # on Windows, while a file in it is open
            _empty(path)
            places.remove_tree(path)
    sweep(path)


def _put_aside(path: Path) -> None:
    for attempt in range(1, TRIES + 1):
        folder = removing(path)
        folder.mkdir(exist_ok=True)
        try:
            path.rename(folder / uuid.uuid4().hex[:8])
            return
        except FileNotFoundError:  # another process swept it up
            if attempt == TRIES or not path.exists():
                raise


def _empty(path: Place) -> None:
    """Remove a result, but no claims: who overwrites holds one of them.

    The root's metadata go last: until then it is a result, which is not complete and can be
    overwritten again.
    """
    refuse_foreign(path)
    if not path.exists():
        return
    root = path / "zarr.json"
    if root.is_file():
        data = json.loads(root.read_bytes())
        data["attributes"][OURS]["complete"] = False
        places.write_atomically(root, json.dumps(data, indent=2).encode())
    inside = [inner for inner in path.iterdir() if inner.name not in (LEDGER, root.name)]
    if (path / LEDGER).is_dir():
        inside += [one for one in (path / LEDGER).iterdir() if one.suffix != claims.SUFFIX]
    for inner in inside:
        places.remove_tree(inner) if inner.is_dir() else inner.unlink()
    root.unlink(missing_ok=True)


def _resumable(path: Place, plan: Plan, *, resume: bool) -> Plan:
    try:
        result = open_result(path)
        changed = result.plan.key != result.key
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileExistsError(
            f"{path} exists and is no result that could be continued ({error}): "
            "choose another output"
        ) from error
    if changed:
        raise FileExistsError(
            f"the plan in {path} was changed after it was written: overwrite it (--overwrite) or "
            "choose another output"
        )
    if result.key != plan.key:
        refuse_changed(path, plan.source, plan.fingerprint)
        raise FileExistsError(
            f"{path} holds the result of another plan ({result.key[:8]}, this one is "
            f"{plan.key[:8]}): choose another output or overwrite it (--overwrite)"
        )
    if not resume:
        raise FileExistsError(
            f"{path} holds a result of the same plan: continue it (--resume), overwrite it "
            "(--overwrite) or choose another output"
        )
    other = result.attributes.get("windows", 1) != WINDOWS
    if other and len(Store(path, result.plan).done().tiles) < len(plan):
        made = result.attributes["versions"]["napari-deblur"]
        raise FileExistsError(
            f"{path} was begun by a build of napari-deblur ({made}) whose tiles read other voxels: "
            "finish it with that one, overwrite it (--overwrite) or choose another output"
        )
    return result.plan


def _complete_layout(store: Store) -> None:
    """Write the groups, arrays and kernels that are not there yet."""
    plan, recorded = store.plan, recorded_of(store.path, store.plan)

    def lacks(name: str) -> bool:
        # What the ledger does not have may be torn: an earlier build wrote some files first.
        file = f"{name}/zarr.json"
        return file not in recorded or not (store.path / file).is_file()

    for name in filter(lacks, ("kernels", "residuals")):
        store.write_group(name, _group_attributes(plan, name))
    for name in filter(lacks, store.arrays):
        store.write_array(name)
    if not plan.finds_kernels:
        for t, c in np.ndindex(plan.kernel_counts):
            if f"{KERNELS}/c/{t}/{c}/0/0/0" not in recorded:
                store.write_kernel(t, c)


def _group_attributes(plan: Plan, name: str) -> dict[str, Any]:
    if name == "kernels":
        return {"ome": ngff.kernel_metadata(plan), OURS: _geometry(plan)}
    return {}


def _geometry(plan: Plan) -> dict[str, Any]:
    """Say where the kernels belong; those of a field to its nodes, half way to the next ones."""
    geometry = ngff.kernel_geometry(plan)
    if plan.nodes is None:
        return geometry
    lines = dict(zip("zyx", plan.nodes, strict=True))
    sizes = dict(zip("zyx", plan.grid.shape[2:], strict=True))
    cores = {}
    for axis, line in lines.items():
        # Of voxels: node 2.5 lies between voxels 2 and 3.
        edges = [0, *(ceil((a + b) / 2) for a, b in pairwise(line)), sizes[axis]]
        cores[axis] = [[a, b] for a, b in pairwise(edges)]
    nodes = {axis: list(line) for axis, line in lines.items()}
    return geometry | {"cores": cores, "nodes": nodes, "field": True}


def _record(plan: Plan, job: Mapping[str, Any] | None, start: str) -> dict[str, Any]:
    """Say where a result comes from. No times: they are in the ledger."""
    versions = {name: version(name) for name in PACKAGES}
    versions |= {"napari-deblur": napari_deblur.__version__, "python": platform.python_version()}
    return {
        "schema": SCHEMA,
        "windows": WINDOWS,
        "complete": False,
        "failed": [],
        "key": plan.key,
        "scale": plan.scale,
        "offset": plan.offset,
        "rgb": plan.layout.rgb,
        "device": plan.device,
        "platform": platform.platform(),
        "cpu": system.cpu_kind(),
        "versions": versions,
        "hashes": {
            "kernel": digest(plan.stored_kernels),
            "input": plan.source.fingerprint if plan.source else plan.fingerprint,
            **({"start": start} if start else {}),
        },
        "image": IMAGE,
        "job": dict(job) if job is not None else None,
        "plan": plan.to_dict(),
    }
