"""`verify`: read a result again, every byte, and compare it with its ledger."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from napari_deblur import claims, places, sharding, system
from napari_deblur.done import HASH
from napari_deblur.findings import Finding, Looker
from napari_deblur.ledger import Entry, damaged_lines, entries
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.progress import Progress
from napari_deblur.recorded import Recorded
from napari_deblur.results import KERNELS, LAYER, LEDGER, Result, open_result
from napari_deblur.scratch import scratch_of
from napari_deblur.store import Done, Store
from napari_deblur.stored import digest

__all__ = ["Finding", "discard", "looks", "verify"]

DELETED = ("empty", "torn", "changed")  # what `discard` deletes
ROOT = "zarr.json"  # has the plan
# What systems put beside files: macOS and Windows for their windows, servers for what is open.
LITTER = re.compile(
    r"(.*/)?(\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]+|\.(nfs|smbdelete|fuse_hidden)[0-9A-Fa-f]+)"
)
OF_LEDGER = (".jsonl", claims.SUFFIX, ".partial")
LOOKS, PAUSE = 3, 0.5  # at a file that is not as it should be while a run goes on; seconds
THREADS = 8  # that read files, at most, unless a number is given
HOLD = 5.0  # seconds between two looks at whether a run goes on, while findings wait
WALKED = 1000  # names between two words of how far it is
STRANGE = 100  # kinds of foreign entries that are told apart


def verify(
    path: str | Path | Remote, *, sizes: bool = False, threads: int | None = None
) -> Iterator[Finding]:
    """Compare every byte of a result with the hashes in its ledger; no finding means all is well.

    Findings come as they are found.

    Parameters
    ----------
    path : path or URL of a result
    sizes : bool
        A quick look: compare the sizes of files, and read none. It finds what is missing, empty or
        cut, but not what has other bytes.
    threads : int or None
        Files that are read at once; None: two for each core, at most 8.

    Raises
    ------
    FileNotFoundError
        When nothing is there.
    ValueError
        When it is something else.
    """
    said = looks(path, sizes=sizes, threads=threads)
    return (finding for finding in said if isinstance(finding, Finding))


def looks(
    path: str | Path | Remote, *, sizes: bool = False, threads: int | None = None
) -> Iterator[Finding | Progress]:
    """Do what `verify` does, and say how far it is: phase ``names``, then ``files``."""
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
    written = _written(path)
    known, foreign = _known(store)
    yield from _foreign(result, known, foreign)
    for file, line in damaged_lines(path / LEDGER):
        name = places.relative(file, path)
        yield Finding("ledger", name, f"line {line} is damaged and does not count")
    sound = True
    with Looker(path, threads=threads or _threads(), sizes=sizes) as looker:
        for said in _certain(store, written, _looked(store, known, looker), sizes=sizes):
            if isinstance(said, Finding):
                sound = sound and not said.path.startswith("kernels/")
            yield said
    yield from _unfinished(result, store, known)
    if sound and result.complete and not result.plan.finds_kernels and not sizes:
        yield from _kernels(result)


def discard(path: str | Path | Remote, findings: Iterable[Finding]) -> int:
    """Delete the files that `verify` found damaged, so that running again restores them.

    They are read once more, as a run may have made them anew since.

    Returns
    -------
    int
        How many files were deleted; never that which has the plan.

    Raises
    ------
    Claimed
        When a run is going on there.
    """
    path = place_of(path)
    names = {f.path for f in findings if f.kind in DELETED and f.path != ROOT}
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


def _threads() -> int:
    return min(THREADS, 2 * system.cores())


def _own(store: Store) -> Iterator[Entry]:
    """Give the entries of the ledger that are of this plan."""
    return (entry for entry in entries(store.path / LEDGER) if entry.key == store.plan.key)


def _known(store: Store, wanted: Collection[str] | None = None) -> tuple[Recorded, dict[str, int]]:
    """Give the files that the ledger has, or those of some names, and how much is foreign."""
    foreign: dict[str, int] = defaultdict(int)
    size, names = places.size_in(store.path), _names(store)
    waiting = (store.path / sharding.LOOSE).is_dir()

    def strange(what: str) -> None:
        foreign[what if what in foreign or len(foreign) < STRANGE else "others"] += 1

    def found() -> Iterator[tuple[str, int, str]]:
        for entry in entries(store.path / LEDGER):
            if entry.key != store.plan.key:
                strange(f"another plan ({entry.key[:8]})")
                continue
            for name, (length, summed) in entry.files.items():
                loose = name.startswith(sharding.LOOSE)
                if wanted is not None and name not in wanted:
                    continue
                if not names.fullmatch(name) or not _is_sum(length, summed):
                    strange(f"a file that no result has ({name!r})")
                # What is gone was joined with others, or is made again: a complete result needs it
                # not.
                elif not loose or (waiting and size(name) is not None):
                    yield name, length, summed

    return Recorded(found()), foreign


def _is_sum(length: object, summed: object) -> bool:
    """Whether these are a size and a SHA-256: anybody may have written a ledger."""
    return (
        isinstance(length, int)
        and 0 <= length < 2**62
        and isinstance(summed, str)
        and HASH.fullmatch(summed) is not None
    )


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


def _looked(store: Store, known: Recorded, looker: Looker) -> Iterator[Finding | Progress]:
    """Look at each file once, several at a time; give what is wrong, and how far it is."""
    begun, total, done = time.monotonic(), len(known), 0
    out: deque[Future[Finding | None]] = deque()

    def progress() -> Progress:
        seconds = time.monotonic() - begun
        share = min(1.0, looker.bytes / max(known.bytes, 1)) or done / max(total, 1)
        left = seconds / share * (1 - share) if share else None
        return Progress(done, total, "files", seconds=seconds, eta=left)

    def landed(most: int) -> Iterator[Finding | Progress]:
        nonlocal done
        while len(out) > most:
            wait([out[0]], timeout=PAUSE)  # it may be large
            if out[0].done():
                finding = out.popleft().result()
                done += 1
                if finding is not None:
                    yield finding
            yield progress()

    yield progress()
    for entry in _own(store):
        for name in entry.files:
            if known.is_first(name):
                out.append(looker.begin(name, known.of(name)))
                yield from landed(looker.ahead)
    yield from landed(0)


def _certain(
    store: Store, written: object, found: Iterator[Finding | Progress], *, sizes: bool
) -> Iterator[Finding | Progress]:
    """Hold findings back until it is known that no run writes there.

    While one does, all wait for the end, and are looked at again.
    """

    def nobody_writes() -> bool:
        return not _is_held(store.path) and _written(store.path) == written

    doubtful: list[Finding] = []
    asked = -HOLD
    for said in found:
        if isinstance(said, Progress):
            yield said
        else:
            doubtful.append(said)
        if doubtful and time.monotonic() > asked + HOLD:
            if nobody_writes():
                yield from doubtful
                doubtful.clear()
            asked = time.monotonic()
    if nobody_writes():
        yield from doubtful
    else:
        yield from _confirmed(store, [finding.path for finding in doubtful], sizes=sizes)


def _written(path: Place) -> Any:
    """Say what tells that nothing was added to a ledger."""
    return places.times(path / LEDGER, "*.jsonl")


def _confirmed(
    store: Store, names: Collection[str], *, looks: int = LOOKS, sizes: bool = False
) -> Iterator[Finding]:
    """Look at files again by the ledger as it is now: a run may write and join them meanwhile."""
    found: list[Finding] = []
    for look in range(1, looks + 1 if names else 1):
        known, _ = _known(store, set(names))
        with Looker(store.path, sizes=sizes) as looker:
            again = (looker.found(name, known.of(name)) for name in names if name in known)
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


def _foreign(
    result: Result, known: Recorded, foreign: dict[str, int]
) -> Iterator[Finding | Progress]:
    """Compare the names of all files with those of the ledger."""
    begun, path = time.monotonic(), result.path
    for what, count in foreign.items():
        yield Finding("foreign", LEDGER, f"{count} entries belong to {what}")
    for link in system.links_out_of(path) if isinstance(path, Path) else ():
        yield Finding("link", places.relative(link, path), f"leads to {link.resolve()}")
    for number, file in enumerate(places.files(path), 1):
        name = places.relative(file, path)
        # What was half written of a claim goes with the next run.
        ledger = name.startswith(f"{LEDGER}/") and file.suffix in OF_LEDGER
        # A run that goes on, or was killed, has files that are not in the ledger yet.
        pending = not result.complete and (
            "/c/" in name
            or name.startswith(sharding.LOOSE)
            or file.suffix == ".partial"
            or name == ROOT  # of what is half overwritten
        )
        if not (name in known or ledger or pending or LITTER.fullmatch(name)):
            yield Finding("foreign", name, "it does not belong to this result")
        if number % WALKED == 0:
            seconds = time.monotonic() - begun
            yield Progress(number, max(number + 1, len(known)), "names", seconds=seconds)


def _unfinished(result: Result, store: Store, known: Recorded) -> Iterator[Finding]:
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
    said += f" are done{_failures(done)}: run the same again to go on"
    if scratch_of(store.path).exists() and not _is_held(store.path):
        said += f"; the copy of a stack in {scratch_of(store.path)}, of a killed run, goes then"
    yield Finding("incomplete", ".", said)


def _failures(done: Done) -> str:
    """Say how many chunks failed, and why the first did; those made since do not count."""
    failed = [key for key in done.failed if key[1] not in done.values[key[0]]]
    if not failed:
        return ""
    first = min(failed)
    return f", {len(failed)} failed, the first at {first[1]} ({done.failed[first]})"


def _kernels(result: Result) -> Iterator[Finding]:
    """Compare the stored kernels with those of the plan."""
    stored, planned = digest(np.asarray(result.kernels[:])), digest(result.plan.stored_kernels)
    if not stored == planned == result.attributes["hashes"]["kernel"]:
        yield Finding("changed", KERNELS, "the kernels are not those of the plan")
