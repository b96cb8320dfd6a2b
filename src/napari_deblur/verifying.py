"""`verify`: read a result again, every byte, and compare it with its ledger."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from napari_deblur import claims, places, sharding, system
from napari_deblur.ledger import damaged_lines, entries
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.results import KERNELS, LAYER, LEDGER, Result, open_result
from napari_deblur.store import Done, Store, digest

__all__ = ["Finding", "discard", "verify"]

Kind = Literal[
    "incomplete", "missing", "empty", "torn", "changed", "metadata", "foreign", "ledger", "link"
]
Known = dict[str, set[tuple[int, str]]]
DELETED = ("empty", "torn", "changed")  # what `discard` deletes
OF_LEDGER = (".jsonl", claims.SUFFIX, ".partial")
LOOKS, PAUSE = 3, 0.5  # at a file that is not as it should be while a run goes on; seconds


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
    store = Store(path, result.plan)
    known, foreign = _known(store)
    yield from _foreign(result, known, foreign)
    for file, line in damaged_lines(path / LEDGER):
        name = places.relative(file, path)
        yield Finding("ledger", name, f"line {line} is damaged and does not count")
    size = places.size_in(path)
    doubtful = [
        name for name, accepted in sorted(known.items()) if _file(path / name, name, size, accepted)
    ]
    sound = True
    for finding in _confirmed(store, doubtful):
        sound = sound and not finding.path.startswith("kernels/")
        yield finding
    yield from _unfinished(result, store, known)
    if sound and result.complete and not result.plan.finds_kernels:
        yield from _kernels(result)


def discard(path: str | Path | Remote, findings: Iterable[Finding]) -> int:
    """Delete the chunks that `verify` found damaged, so that running again restores them.

    They are read once more, as a run may have made them anew since.

    Returns
    -------
    int
        How many files were deleted; metadata are never.

    Raises
    ------
    Claimed
        When a run is going on there.
    """
    path = place_of(path)
    names = {f.path for f in findings if f.kind in DELETED and not f.path.endswith("zarr.json")}
    if not names:
        return 0
    result, count = open_result(path), 0
    with (
        claims.take(path / LEDGER, result.key, claims.ALL),
        closing(Store(path, open_result(path).plan)) as store,
    ):
        for finding in _confirmed(store, sorted(names), looks=1):  # nobody else writes now
            file = path / finding.path
            if finding.kind in DELETED and _is_inside(file, path):
                store.mark_incomplete()
                file.unlink()
                count += 1
    return count


def _known(store: Store) -> tuple[Known, dict[str, int]]:
    """Give the files that the ledger has, and how many entries are of what is not this result."""
    known: Known = defaultdict(set)
    foreign: dict[str, int] = defaultdict(int)
    size, names = places.size_in(store.path), _names(store)
    for entry in entries(store.path / LEDGER):
        if entry.key != store.plan.key:
            foreign[f"another plan ({entry.key[:8]})"] += 1
            continue
        for name, sizes in entry.files.items():
            if not names.fullmatch(name):
                foreign[f"a file that no result has ({name!r})"] += 1
            # What is gone was joined with others, or is made again: a complete result needs it not.
            elif not name.startswith(sharding.LOOSE) or size(name) is not None:
                known[name].add(sizes)
    return known, foreign


def _names(store: Store) -> re.Pattern[str]:
    """Give the names that files of this result may have: anybody may have written its ledger."""
    arrays = "|".join(map(re.escape, store.arrays))
    return re.compile(
        rf"((({arrays}|kernels|residuals)/)?zarr\.json|({arrays})/c(/[0-9]+)*"
        rf"|{sharding.LOOSE}/({arrays})/[0-9]+(\.[0-9]+)*|{re.escape(LAYER)})"
    )


def _is_inside(file: Place, folder: Place) -> bool:
    """Whether a file is in a folder and not elsewhere, by a link."""
    if isinstance(file, Remote) or isinstance(folder, Remote):
        return True
    return file.parent.resolve().is_relative_to(folder.resolve())


def _confirmed(store: Store, names: Sequence[str], looks: int = LOOKS) -> Iterator[Finding]:
    """Look at files again by the ledger as it is now: a run may write and join them meanwhile."""
    found: list[Finding] = []
    for look in range(1, looks + 1 if names else 1):
        known, _ = _known(store)
        size = places.size_in(store.path)
        again = (
            _file(store.path / name, name, size, known[name]) for name in names if name in known
        )
        found = [finding for finding in again if finding]
        names = [finding.path for finding in found]
        if not names or look == looks or not _is_held(store.path):
            break
        time.sleep(PAUSE)  # between a file and its line in the ledger
    yield from found


def _is_held(path: Place) -> bool:
    try:
        claims.refuse(path / LEDGER, claims.ALL)
    except claims.Claimed:
        return True
    except OSError:
        return False  # a disk that can only be read
    return False


def _file(
    file: Place, name: str, size_of: Callable[[str], int | None], accepted: set[tuple[int, str]]
) -> Finding | None:
    sizes, size = sorted(size for size, _ in accepted), size_of(name)
    if size == 0:
        return Finding("empty", name, f"it has no bytes and should have {sizes[-1]}")
    if size is not None and size < sizes[0]:
        return Finding("torn", name, f"it has {size} bytes and should have {sizes[-1]}")
    try:
        if size is not None and (size, places.sha256_of(file)) in accepted:
            return None
    except FileNotFoundError:
        size = None
    if size is None:
        return Finding("missing", name, "the ledger has it but it is not there")
    return Finding("changed", name, "its bytes are not those that were written")


def _foreign(result: Result, known: Known, foreign: dict[str, int]) -> Iterator[Finding]:
    for what, count in foreign.items():
        yield Finding("foreign", LEDGER, f"{count} entries belong to {what}")
    path = result.path
    for link in system.links_out_of(path) if isinstance(path, Path) else ():
        yield Finding("link", places.relative(link, path), f"leads to {link.resolve()}")
    for file in places.files(path):
        name = places.relative(file, path)
        # What was half written of a claim goes with the next run.
        ledger = name.startswith(f"{LEDGER}/") and file.suffix in OF_LEDGER
        # A run that goes on, or was killed, has files that are not in the ledger yet.
        pending = not result.complete and (
            "/c/" in name
            or name.startswith(sharding.LOOSE)
            or file.suffix == ".partial"
            or name == "zarr.json"  # of what is half overwritten
        )
        if name not in known and not ledger and not pending:
            yield Finding("foreign", name, "it does not belong to this result")


def _unfinished(result: Result, store: Store, known: Known) -> Iterator[Finding]:
    """Compare the chunks that the plan asks for with those that the ledger has."""
    if result.complete:
        for name in store.chunk_names():
            if name not in known:
                yield Finding("missing", name, "the result is said to be complete without it")
        return
    done = store.done()
    if open_result(store.path).complete:
        return  # a run has ended meanwhile
    said = f"{len(done.tiles)} of {len(store.plan)} tiles"
    if above := sum(len(level.grid) for level in store.levels[1:]):
        said += f" and {sum(map(len, done.values[1:]))} of {above} chunks of the pyramid"
    yield Finding(
        "incomplete", ".", f"{said} are done{_failures(store, done)}: run the same again to go on"
    )


def _failures(store: Store, done: Done) -> str:
    """Say how many chunks failed, and why the first did; those made since do not count."""
    failed = [
        f
        for f in open_result(store.path).attributes["failed"]
        if tuple(f["index"]) not in done.values[f["level"]]
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
