"""What the ledger of a result says is done, of which that counts which is still there.

There may be millions of lines and files, and a thousand parts: each looks at what it needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import places
from napari_deblur.arrays import shards_of, specs_of
from napari_deblur.done import Digests, Done
from napari_deblur.ledger import Head, entries, heads
from napari_deblur.pyramid import levels_of
from napari_deblur.results import KERNELS, LEDGER, MASK

if TYPE_CHECKING:
    from napari_deblur.places import Place
    from napari_deblur.plans import Plan
    from napari_deblur.tiles import Index

__all__ = ["done_of", "hash_of", "is_joined", "recorded_of", "said_of"]

Span = tuple[int, int]


def done_of(path: Place, plan: Plan, span: Span | None = None) -> Done:
    """Read the ledger; what has no file of the right size any more does not count.

    What was joined with others is there if the joined file is, and is made of these.

    Parameters
    ----------
    path : Path or Remote
        The result.
    plan : Plan
        Lines of another one do not count.
    span : (first, end) or None
        Of the image's files, by their positions: nothing else is looked at, and nothing else
        counts as done. None: all of the image and its pyramid.
    """
    levels, arrays, shards = levels_of(plan.layout, plan.grid), specs_of(plan), shards_of(plan)
    done, joined = Done.of(levels, shards), Done.of(levels)
    size = places.size_in(path)
    for entry in entries(path / LEDGER, None if span is None else _within(plan, span)):
        if entry.key != plan.key or not done.fits(entry):
            continue
        if entry.kind == "level" and MASK in arrays and len(entry.files) < 2:
            continue  # of an earlier build, for which what has no data was 0
        if entry.kind == "metadata" or all(size(p) == n for p, (n, _) in entry.files.items()):
            done.add(entry)
        elif entry.kind in ("tile", "level") and shards[entry.level].several:
            joined.add(entry)
    for (number, shard), inputs in done.shards.items():
        chunks = list(shards[number].chunks(shard))
        found = [
            done.values[number].get(index) or joined.values[number].get(index) for index in chunks
        ]
        if all(found) and hash_of(found) == inputs:
            for index in chunks:
                done.take(joined, number, index)
            done.joined(number, shard)
    return done


def recorded_of(path: Place, plan: Plan) -> set[str]:
    """Name the metadata that the ledger has, and those kernels of the plan that are there."""
    # Of a bucket, those are listed and no more; a plan without kernels of its own has none.
    kinds = ["metadata"] if plan.finds_kernels else ["metadata", "kernel"]
    size = places.size_in(path / KERNELS) if "kernel" in kinds else None
    found: set[str] = set()
    for entry in entries(path / LEDGER, lambda head: head.kind in kinds):
        if entry.key != plan.key or entry.kind not in kinds:
            continue
        sizes = {name.removeprefix(f"{KERNELS}/"): n for name, (n, _) in entry.files.items()}
        if size is None or entry.kind == "metadata" or all(size(p) == n for p, n in sizes.items()):
            found |= entry.files.keys()
    return found


def is_joined(path: Place, plan: Plan, level: int, index: Index, inputs: str) -> bool:
    """Whether there is a file of several chunks that was made of what `inputs` stands for."""
    asked = Head("shard", plan.key, index, level)
    return any(
        entry.inputs == inputs and all(_has(path / name, n) for name, (n, _) in entry.files.items())
        for entry in entries(path / LEDGER, asked.__eq__)
    )


def _has(file: Place, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except FileNotFoundError:
        return False


def said_of(path: Place, plan: Plan) -> tuple[int, int]:
    """Count the tiles that were done, and those that were neither done nor given up.

    So much can be told quickly, by how lines begin, without a look at files and checksums. There
    may be fewer, never more: before it is finished a result has to be looked at by `done_of`.
    """
    grid = Digests(plan.grid)
    done, given_up = (np.zeros(len(plan), bool) for _ in range(2))
    for head in heads(path / LEDGER):
        if head.key == plan.key and head.level == 0 and grid.has_place(head.where):
            index: Any = head.where
            if head.kind == "tile":
                done[grid.number(index)] = True
            elif head.kind == "failed":
                given_up[grid.number(index)] = True
    return int(np.count_nonzero(done)), int(np.count_nonzero(~(done | given_up)))


def hash_of(values: Iterable[str | None]) -> str:
    """Give one hash of many; that of a chunk that is not known is a dash."""
    return hashlib.sha256("".join(value or "-" for value in values).encode()).hexdigest()


def _within(plan: Plan, span: Span) -> Callable[[Head], bool]:
    """Give what tells the lines about tiles in some files of the image, and about these files."""
    shards, (first, end) = plan.shards, span

    def wanted(head: Head) -> bool:
        if head.key != plan.key or head.level or len(head.where) != len(shards.counts):
            return False
        index: Any = head.where
        if head.kind in ("tile", "split", "failed"):
            index = shards.of(index)
        elif head.kind != "shard":
            return False
        return index in shards and first <= shards.number(index) < end

    return wanted
