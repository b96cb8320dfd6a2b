"""`verify`: read a result again, every byte, and compare it with its ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from napari_deblur import claims, places, sharding, system
from napari_deblur.ledger import damaged_lines, entries
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.results import KERNELS, LEDGER, Result, open_result
from napari_deblur.store import Store, digest

__all__ = ["Finding", "discard", "verify"]

Kind = Literal[
    "incomplete", "missing", "empty", "torn", "changed", "metadata", "foreign", "ledger", "link"
]
Known = dict[str, set[tuple[int, str]]]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Parameters
    ----------
    kind : str
        ``incomplete`` (the run is not finished), ``missing``, ``empty``, ``torn`` (too short) or
        ``changed`` files, damaged ``metadata``, ``foreign`` files or entries that are not of this
        result, damaged lines of the ``ledger``, a ``link`` that leads out of the store.
    path : str
        Relative to the store.
    text : str
        One sentence.
    """

    kind: Kind
    path: str
    text: str

    @property
    def is_damage(self) -> bool:
        """Whether data are lost; a result that is merely unfinished has no damage."""
        return self.kind != "incomplete"

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.text}"


def verify(path: str | Path | Remote) -> Iterator[Finding]:
    """Compare every byte of a result with the hashes in its ledger; no finding means all is well.

    Raises
    ------
    FileNotFoundError
        When nothing is there.
    ValueError
        When it is something else.
    """
    path = place_of(path)
    if path.exists() and not (path / LEDGER).is_dir() and not (path / "zarr.json").is_file():
        raise ValueError(f"{path} is no result of napari-deblur: give a folder NAME.deblur.zarr")
    try:
        result = open_result(path)
        key = result.plan.key
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if not (path / LEDGER).is_dir():
            raise ValueError(
                f"{path} is no result of napari-deblur: give a folder NAME.deblur.zarr"
            ) from error
        yield Finding("metadata", "zarr.json", f"it cannot be read ({error})")
        return
    if key != result.key:
        yield Finding("metadata", "zarr.json", f"key {result.key[:8]} is not that of its plan")
        return
    known: Known = defaultdict(set)
    foreign: dict[str, int] = defaultdict(int)
    size = places.size_in(path)
    for entry in entries(path / LEDGER):
        if entry.key != key:
            foreign[entry.key] += 1
            continue
        for name, sizes in entry.files.items():
            # What is gone was joined with others, or is made again: a complete result needs it not.
            if size(name) is not None or not name.startswith(sharding.LOOSE):
                known[name].add(sizes)
    yield from _foreign(result, known, foreign)
    for file, line in damaged_lines(path / LEDGER):
        name = places.relative(file, path)
        yield Finding("ledger", name, f"line {line} is damaged and does not count")
    sound = True
    for name, accepted in sorted(known.items()):
        for finding in _file(path / name, name, size(name), accepted):
            sound = sound and not name.startswith("kernels/")
            yield finding
    yield from _unfinished(result, known)
    if sound and result.complete and not result.plan.finds_kernels:
        yield from _kernels(result)


def discard(path: str | Path | Remote, findings: list[Finding]) -> int:
    """Delete the chunks that `verify` found damaged, so that running again restores them.

    Returns
    -------
    int
        How many files were deleted; metadata are never.
    """
    count = 0
    for finding in findings:
        file = place_of(path) / finding.path
        if finding.kind in ("empty", "torn", "changed") and file.name != "zarr.json":
            file.unlink()
            count += 1
    return count


def _file(
    file: Place, name: str, size: int | None, accepted: set[tuple[int, str]]
) -> Iterator[Finding]:
    sizes = sorted(size for size, _ in accepted)
    if size is None:
        yield Finding("missing", name, "the ledger has it but it is not there")
        return
    if size == 0:
        yield Finding("empty", name, f"it has no bytes and should have {sizes[-1]}")
    elif size < sizes[0]:
        yield Finding("torn", name, f"it has {size} bytes and should have {sizes[-1]}")
    else:
        if (size, places.sha256_of(file)) not in accepted:
            yield Finding("changed", name, "its bytes are not those that were written")


def _foreign(result: Result, known: Known, keys: dict[str, int]) -> Iterator[Finding]:
    for key, count in keys.items():
        yield Finding("foreign", LEDGER, f"{count} entries belong to another plan ({key[:8]})")
    path = result.path
    for link in system.links_out_of(path) if isinstance(path, Path) else ():
        yield Finding("link", places.relative(link, path), f"leads to {link.resolve()}")
    for file in places.files(path):
        name = places.relative(file, path)
        ledger = name.startswith(f"{LEDGER}/") and file.suffix in (".jsonl", claims.SUFFIX)
        # A run that goes on, or was killed, has files that are not in the ledger yet.
        pending = not result.complete and (
            "/c/" in name or name.startswith(sharding.LOOSE) or file.suffix == ".partial"
        )
        if name not in known and not ledger and not pending:
            yield Finding("foreign", name, "it does not belong to this result")


def _unfinished(result: Result, known: Known) -> Iterator[Finding]:
    """Compare the chunks that the plan asks for with those that the ledger has."""
    store = Store(result.path, result.plan)
    lacking = [name for name in store.chunk_names() if name not in known]
    total = sum(1 for _ in store.chunk_names())
    if result.complete:
        for name in lacking:
            yield Finding("missing", name, "the result is said to be complete without it")
    else:
        done = f"{total - len(lacking)} of {total} chunks are done"
        yield Finding(
            "incomplete", ".", f"{done}{_failures(store, known)}: run the same again to go on"
        )


def _failures(store: Store, known: Known) -> str:
    """Say how many chunks failed, and why the first did; those made since do not count."""
    failed = [
        f
        for f in open_result(store.path).attributes["failed"]
        if store.chunk_name(f["level"], tuple(f["index"])) not in known
    ]
    if not failed:
        return ""
    first = failed[0]
    return f", {len(failed)} failed, the first at {tuple(first['index'])} ({first['error']})"


def _kernels(result: Result) -> Iterator[Finding]:
    """Compare the stored kernels with those of the plan."""
    stored, planned = digest(np.asarray(result.kernels[:])), digest(result.plan.stored_kernels)
    if not stored == planned == result.attributes["hashes"]["kernel"]:
        yield Finding("changed", KERNELS, "the kernels are not those of the plan")
