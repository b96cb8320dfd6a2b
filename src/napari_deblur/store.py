"""A result on the disk while it is written: ``NAME.deblur.zarr``, OME-Zarr 0.5.

::

    zarr.json      the image's metadata; napari_deblur: plan, key, versions, …, complete
    0, 1, …        the image and its pyramid: one file = one core = one task, or that of several
    kernels/0      the kernels, axes t, c, z, y, x, with their own voxel size
    residuals/     values (t, c, nz, ny, nx, iteration)
    mask, mask_1, … where integers have no data, in each level; floats are NaN there
    ledger/        what is finished, one file for each process
    ledger/tiles/  tiles that share a file with others, until all of these are there

Everything outside ``ledger/`` depends on the plan and the software alone, so a run that was
killed and resumed leaves the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import ngff, places, sharding
from napari_deblur.arrays import block_of, metadata_of, shards_of, specs_of
from napari_deblur.done import Done
from napari_deblur.ledger import Entry, Ledger, now
from napari_deblur.noted import done_of, hash_of
from napari_deblur.places import Place, Remote
from napari_deblur.putting import Files
from napari_deblur.pyramid import Level, levels_of
from napari_deblur.results import (
    FAILED_COUNT,
    IMAGE,
    KERNELS,
    LEDGER,
    MASK,
    OURS,
    RESIDUALS,
    Result,
    mask_of,
    open_result,
)
from napari_deblur.shrinking import REPAIR, Shrinker, Shrunk
from napari_deblur.stored import as_stored, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.plans import Plan
    from napari_deblur.restoring import Restored
    from napari_deblur.standing import Standing
    from napari_deblur.tiles import Index

__all__ = ["Done", "Result", "Shrunk", "Store", "open_result"]

# A `*.partial` file that nobody has touched for so long belongs to a process that is dead.
STALE = 3600.0
# Failures in the metadata, which every reader loads; the ledger has all.
MOST_LISTED = 1000


class Store:
    """A result that this process writes to. `creating.create` makes one; workers open it by path.

    Parameters
    ----------
    path : Path or Remote
    plan : Plan
        That of the result.

    Once the claim that `standing` looks at is gone, all that writes raises RunStopped: what a later
    run made there stays as it is.
    """

    def __init__(self, path: Place, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.standing: Standing | None = None
        self.levels = levels_of(plan.layout, plan.grid)
        self.arrays, self.shards = specs_of(plan), shards_of(plan)
        self.ledger = Ledger(path / LEDGER, self.check)
        self.files = Files(path, self.check, self.look)
        self.shrinker = Shrinker(path, plan)

    @classmethod
    def at(cls, path: Place, key: str) -> Store:
        """Open the store of a run that goes on; ValueError if it has another plan by now."""
        result = open_result(path)
        if result.key != key:
            raise ValueError(
                f"{path} holds another run by now (plan {result.key[:8]}, not {key[:8]}): "
                "start again with an output of its own"
            )
        return cls(path, result.plan)

    def done(self, span: tuple[int, int] | None = None) -> Done:
        """Read the ledger, as `noted.done_of` does; with a span only about some files."""
        return done_of(self.path, self.plan, span)

    # Writing ------------------------------------------------------------------------------------

    def check(self, seconds: float = 0.0) -> None:
        """Raise RunStopped if the claim is gone; it need not be looked at every few seconds."""
        if self.standing is not None:
            self.standing.check(seconds)

    def look(self) -> None:
        """Raise RunStopped if the claim is gone at this moment."""
        if self.standing is not None:
            self.standing.look()

    def write_tile(
        self, index: Index, restored: Restored, *, seconds: float = 0.0, retries: int = 0
    ) -> Entry:
        """Write the core of a tile, its kernel and its residuals; then say so in the ledger."""
        stored, clipped = as_stored(restored.image, self.plan)
        files = dict([self._write(IMAGE, block_of(self.plan, IMAGE, index), stored)])
        if MASK in self.arrays:
            files |= [self._write(MASK, block_of(self.plan, MASK, index), np.isnan(restored.image))]
        if self.plan.finds_kernels and restored.kernel is not None:
            files |= [self._write(KERNELS, index, restored.kernel)]
        if RESIDUALS in self.arrays:
            length = self.arrays[RESIDUALS].shape[-1]
            residuals = np.full(length, np.nan, np.float32)
            given = restored.residuals[:length]
            residuals[: len(given)] = given
            files |= [self._write(RESIDUALS, block_of(self.plan, RESIDUALS, index), residuals)]
        return self._record(
            Entry(
                "tile",
                self.plan.key,
                index,
                files=files,
                values=digest(stored),
                splits=restored.splits,
                clipped=clipped,
                emptied=restored.emptied,
                retries=retries,
                device=self.plan.device,
                seconds=round(seconds, 4),
                finished=now(),
            )
        )

    def make_level(self, number: int, index: Index, gaps: Collection[Index] = ()) -> Shrunk:
        """Make a chunk of a pyramid level from the level below, as `Shrinker.made` does."""
        return self.shrinker.made(number, index, gaps)

    def write_level(self, number: int, index: Index, made: Shrunk, *, inputs: str) -> Entry:
        """Write a chunk of a pyramid level; `inputs` stands for what it was made of."""
        image, empty = made
        files = dict([self._write(str(number), block_of(self.plan, str(number), index), image)])
        values = digest(image)
        if empty is not None:
            name = mask_of(number)
            files |= [self._write(name, block_of(self.plan, name, index), empty)]
            values = hash_of([values, digest(empty)])  # the next level depends on both
        key = self.plan.key
        return self._record(
            Entry("level", key, index, number, files, values, inputs, finished=now())
        )

    def write_shard(
        self, number: int, index: Index, *, inputs: str, sums: Mapping[str, str]
    ) -> Entry:
        """Join the chunks of a level that share a file, and what was written with them.

        `sums` has the files to be joined, with the SHA-256 that the ledger has of each. They are
        removed if no chunk is missing; else this is done again when it is there.
        """
        chunks, names = list(self.shards[number].chunks(index)), [str(number)]
        names += [name for name in (mask_of(number),) if name in self.arrays]
        if number == 0:
            names += [RESIDUALS] if RESIDUALS in self.arrays else []
            names += [KERNELS] if self.plan.finds_kernels else []
        files: dict[str, tuple[int, str]] = {}
        for name in names:
            tiles = self._checked(name, chunks, sums)
            file = self._file_of(name, chunks[0])
            files |= [self.files.put(file, sharding.joined(self.arrays[name], tiles))]
        key = self.plan.key
        entry = Entry("shard", key, index, number, files, inputs=inputs, finished=now())
        self._record(entry)
        if all(self._loose(names[0], one) in sums for one in chunks):
            self.check()
            for name in names:
                for chunk in chunks:
                    with suppress(PermissionError):  # who may write need not be allowed to delete
                        (self.path / self._loose(name, chunk)).unlink(missing_ok=True)
        return entry

    def write_kernel(self, t: int, c: int) -> Entry:
        """Write the plan's kernel of a frame and channel, or those of all nodes of a field."""
        kernel = self.plan.kernels_at(t, c)
        files: dict[str, tuple[int, str]] = {}
        for block in self._nodes():
            one = self.plan.kernel.shape
            z, y, x = (slice(i * n, (i + 1) * n) for i, n in zip(block, one, strict=True))
            files |= [self._write(KERNELS, (t, c, *block), kernel[z, y, x])]
        key = self.plan.key
        return self._record(
            Entry("kernel", key, (t, c), files=files, values=digest(kernel), finished=now())
        )

    def write_group(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Write the metadata of a group; their hash goes into the ledger first."""
        data = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        self._write_metadata(name, json.dumps(data, indent=2, allow_nan=False).encode())

    def write_array(self, name: str) -> None:
        """Write the metadata of an array, likewise."""
        self._write_metadata(name, metadata_of(self.arrays[name]))

    def record_metadata(self, file: Place, content: bytes) -> None:
        """Write down what a file beside the arrays is about to hold."""
        sizes = (len(content), hashlib.sha256(content).hexdigest())
        files = {self._name(file): sizes}
        self._record(Entry("metadata", self.plan.key, files=files, finished=now()))

    def note_split(self, index: Index, splits: int) -> None:
        """Write down that a tile is tried in smaller pieces, so that a resumed run does it too."""
        self.ledger.append(Entry("split", self.plan.key, index, splits=splits, finished=now()))

    def note_failed(self, level: int, index: Index, error: str) -> Entry:
        """Write down that a chunk is given up, for whoever finishes the result."""
        key = self.plan.key
        return self._record(Entry("failed", key, index, level, error=error, finished=now()))

    def note_part(self, number: int, of: int) -> None:
        """Write down that a part has begun, so that what is missing can be told by parts."""
        self.ledger.append(Entry("part", self.plan.key, (number, of), finished=now()))

    def inputs(self, number: int, index: Index, done: Done) -> str:
        """Give what stands for the chunks that a chunk of a level is made of."""
        return hash_of(
            done.values[number - 1].get(one) for one in self.shrinker.under(number, index)
        )

    def gaps(self, number: int, index: Index, done: Done) -> tuple[Index, ...]:
        """Give those of them that could not be made."""
        there = done.values[number - 1]
        return tuple(one for one in self.shrinker.under(number, index) if one not in there)

    def joined(self, number: int, index: Index, done: Done) -> str:
        """Give what stands for the chunks that share a file of a level."""
        return hash_of(map(done.values[number].get, self.shards[number].chunks(index)))

    def chunk_names(self) -> Iterator[str]:
        """Give the paths of all chunks that a complete result has: levels and plan's kernels."""
        for level in self.levels:
            name, shards = str(level.number), self.shards[level.number]
            for shard in shards:
                yield self._file_of(name, next(shards.chunks(shard)))
        if not self.plan.finds_kernels:
            for t, c in np.ndindex(self.plan.kernel_counts):
                for nodes in self._nodes():
                    yield sharding.file_of(KERNELS, self.arrays[KERNELS], (t, c, *nodes))

    def chunk_name(self, number: int, index: Index) -> str:
        """Give the path of the file that is written for a chunk of a level."""
        return self._file(str(number), block_of(self.plan, str(number), index))

    def finish(self, failed: Sequence[Mapping[str, Any]] = ()) -> None:
        """List all levels, and say that the result is complete unless something failed."""
        self.sweep(0 if not failed else STALE)
        if not failed and (self.path / sharding.LOOSE).is_dir():
            with suppress(PermissionError):  # as above
                places.remove_tree(self.path / sharding.LOOSE)
        self._write_root(self.levels, failed, complete=not failed)
        self.ledger.settle()

    def mark_incomplete(self) -> None:
        """Say that the result is not complete any more, if it was."""
        if open_result(self.path).complete:
            self._write_root(self.levels, (), complete=False)

    def sweep(self, age: float = STALE) -> None:
        """Remove what killed processes left half written at least `age` seconds ago."""
        if isinstance(self.path, Remote):
            return  # objects are never half written
        for path in self.path.rglob("*.partial"):
            try:
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()
            except FileNotFoundError:
                continue  # its process was alive and has just finished it

    def close(self) -> None:
        """Close this process's ledger."""
        self.ledger.settle()

    def _nodes(self) -> Iterator[tuple[int, ...]]:
        """Give the blocks of the kernels' mosaic that the plan knows: one, or one for each node."""
        yield from np.ndindex(*(len(line) for line in self.plan.nodes or ((0,),) * 3))

    def _write_metadata(self, name: str, content: bytes) -> None:
        file = self.path / name / "zarr.json"
        self.record_metadata(file, content)
        if name:
            self.files.make_folder(file.parent)
        else:  # may say that all is complete
            self.ledger.settle()
        places.write_atomically(file, content, self.check)

    def _loose(self, name: str, index: Index) -> str:
        """Say where a chunk waits for those that share its file."""
        return sharding.loose(name, block_of(self.plan, name, index))

    def _file_of(self, name: str, index: Index) -> str:
        """Say in which file of an array a chunk lies when all is done."""
        return sharding.file_of(name, self.arrays[name], block_of(self.plan, name, index))

    def _file(self, name: str, block: tuple[int, ...]) -> str:
        """Say where a block is written: beside the ledger, if it is to be joined with others."""
        spec = self.arrays[name]
        return (
            sharding.loose(name, block) if spec.is_joined else sharding.file_of(name, spec, block)
        )

    def _checked(
        self, name: str, chunks: Iterable[Index], sums: Mapping[str, str]
    ) -> Iterator[tuple[tuple[int, ...], bytes]]:
        """Read the files of chunks one by one; each must be what was written.

        A tile that failed has none, and a channel that is only copied has no kernels.
        """
        for chunk in chunks:
            block = block_of(self.plan, name, chunk)
            path = sharding.loose(name, block)
            if path not in sums:
                continue
            content = (self.path / path).read_bytes()
            if hashlib.sha256(content).hexdigest() != sums[path]:
                raise ValueError(f"{self.path / path} is not what was written: {REPAIR}")
            yield block, content
            del content  # before the next one is read

    def _write(
        self, name: str, block: tuple[int, ...], values: NDArray[Any]
    ) -> tuple[str, tuple[int, str]]:
        """Write one whole tile of an array and wait until it is on the disk."""
        spec = self.arrays[name]
        content = sharding.encoded(spec, values.reshape(spec.size(block)))
        return self.files.put(self._file(name, block), content)

    def _name(self, file: Place) -> str:
        return places.relative(file, self.path)

    def _record(self, entry: Entry) -> Entry:
        self.ledger.append(entry)
        # If the power fails, what is lost with its line is made again. But tiles that were joined
        # have no files any more.
        if entry.kind == "shard" or any(name.startswith(sharding.LOOSE) for name in entry.files):
            self.ledger.settle()
        return entry

    def _write_root(
        self, levels: Sequence[Level], failed: Sequence[Mapping[str, Any]], *, complete: bool
    ) -> None:
        attributes = json.loads((self.path / "zarr.json").read_bytes())["attributes"]
        attributes["ome"] = ngff.image_metadata(self.plan, levels)
        attributes[OURS] |= {"failed": list(failed[:MOST_LISTED]), "complete": complete}
        attributes[OURS].pop(FAILED_COUNT, None)
        if len(failed) > MOST_LISTED:
            attributes[OURS][FAILED_COUNT] = sum(one["level"] == 0 for one in failed)
        self.write_group("", attributes)
