"""Pixels of a zarr array as they were written: what is missing or damaged is never made up."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import stat
import zlib
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import zarr
from zarr.storage import LocalStore, WrapperStore

from napari_deblur import decoding
from napari_deblur.places import is_address, place_of
from napari_deblur.readers._zarr_bombs import STREAMS, packed_by, unpacked

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["Guarded", "Stored", "stored_pixels"]

ARRAY = ("zarr.json", ".zarray")
METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
# A chunk is decoded as a whole; a few bytes can promise more than any machine has.
MOST_CHUNK = 2**33
# An exabyte: no disk has that, so the metadata are wrong.
MOST_PIXELS = 2**60
# Those in which zarr reads: one in each process.
LOOPS: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
PATIENCE = 10.0
PLAIN = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
MOST_FOLDERS = 10_000  # that are known to lie inside: of a petabyte there are millions
# Whether a chunk of what is being read has failed; zarr hands it on to the tasks of that read.
FAILED: ContextVar[Sequence[bool]] = ContextVar("failed", default=())
# What codecs raise for bytes that were changed, found by changing them.
DAMAGE = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, zlib.error)


class Guarded(WrapperStore):  # type: ignore[misc]
    """A store in which a chunk is there, has content, and lies inside.

    zarr takes a chunk without a file, and a shard of 0 bytes, for one full of the fill value.

    Parameters
    ----------
    store : zarr's store
    path : str
        Of the array whose chunks are read; without one they are metadata only.
    sparse : bool
        A chunk without a file is the fill value after all.
    packed : str
        The codec of chunks, as `packed_by` names it.
    most : int
        Bytes that such a chunk may unpack to.
    """

    def __init__(
        self,
        store: Store,
        *,
        path: str = "",
        sparse: bool = True,
        packed: str = "",
        most: int = MOST_CHUNK,
    ) -> None:
        super().__init__(store)
        self.path, self.sparse, self.packed, self.most = path, sparse, packed, most
        self._root: Path | None = None
        self._inside: set[Path] = set()

    def _with_store(self, store: Store) -> Guarded:
        settings: Any = {"path": self.path, "sparse": self.sparse}
        return Guarded(store, **settings, packed=self.packed, most=self.most)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Get a value, as zarr asks for it."""
        LOOPS.add(asyncio.get_running_loop())
        if FAILED.get():
            return None  # nobody will look at it
        if isinstance(self._store, LocalStore):
            await asyncio.to_thread(self._refuse_link, self._store.root, key)
        found: Buffer | None = await self._store.get(key, prototype, byte_range)
        if PurePosixPath(key).name in METADATA:
            return found
        if found is None and not self.sparse:
            raise ValueError(
                f'chunk "{key}" is missing, and would be taken for empty: copy the store again; '
                "if empty chunks were left out of it on purpose, say so (sparse)"
            )
        if found is None and not await self._is_there():
            raise FileNotFoundError(
                "the array is no longer there: all of its chunks would be empty"
            )
        if found is not None and not len(found):
            raise ValueError(f'chunk "{key}" has 0 bytes: copy the store again')
        if found is not None and self.packed:
            # A look at the head takes no time, unpacking it would keep all other reads waiting.
            look = asyncio.to_thread if self.packed in STREAMS else _at_once
            become = await look(unpacked, found, self.packed, self.most)
            if become > self.most:
                raise ValueError(
                    f'chunk "{key}" would become {become} bytes or more, and a chunk has '
                    f"{self.most} at most: copy the store again from a place that you trust"
                )
        return found

    async def _is_there(self) -> bool:
        """Whether the array is still there."""
        folder = f"{self.path}/" if self.path else ""
        return any([await self._store.exists(folder + name) for name in ARRAY])

    def _refuse_link(self, root: Path, key: str) -> None:
        """Refuse what lies outside; a folder is looked at once, on a network drive that counts."""
        path = root / key
        folder, outside = path.parent, False
        if self._root is None:
            self._root = root.resolve()
        if folder not in self._inside:
            if not folder.exists():
                return
            outside = not folder.resolve().is_relative_to(self._root)
            if len(self._inside) >= MOST_FOLDERS:
                self._inside.clear()
            if not outside:
                self._inside.add(folder)
        try:
            mode = path.lstat().st_mode
        except OSError:
            mode = stat.S_IFREG  # that it is missing is told where it is read
        if not outside and stat.S_ISLNK(mode) and path.exists():
            outside = not path.resolve().is_relative_to(self._root)
            mode = path.stat().st_mode
        if outside:
            raise ValueError(
                f'"{key}" is a link to "{path.resolve()}", outside of "{self._root}": '
                "put the data themselves in its place, or open what it points to"
            )
        if stat.S_IFMT(mode) not in PLAIN:  # a pipe would be waited for
            raise ValueError(f'"{key}" is neither a file nor a folder: copy the store again')


@dataclass(frozen=True, eq=False)
class Stored:
    """An array in which damage is an error in words."""

    array: Any
    address: str

    @property
    def shape(self) -> tuple[int, ...]:
        """As the array says."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the array says."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is read as a whole."""
        return tuple(self.array.chunks)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """What lies in one file, if it holds several chunks."""
        shards: tuple[int, ...] | None = self.array.shards
        return shards

    @property
    def at_once(self) -> int:
        """How many chunks are unpacked at a time."""
        nbytes = math.prod(self.chunks) * self.dtype.itemsize
        return decoding.at_once(nbytes, sharded=self.shards is not None)

    @property
    def sparse(self) -> bool:
        """Whether a chunk that is not stored is content."""
        return bool(self.array.store.sparse)

    def __getitem__(self, where: Any) -> NDArray[Any]:
        failed: list[bool] = []
        before = FAILED.set(failed)
        try:
            return decoding.read(
                self.array, where, chunks=self.chunks, sharded=self.shards is not None
            )
        except (OSError, *DAMAGE) as error:
            failed.append(True)
            _let_others_end()
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk or the network, not of the content
            if _is_gone(self.address):
                raise FileNotFoundError(
                    errno.ENOENT, "the input is no longer there", self.address
                ) from error
            said = " ".join(str(error).split())[:240] or type(error).__name__
            raise ValueError(f'pixels of "{self.address}" cannot be read: {said}') from error
        finally:
            FAILED.reset(before)


def _is_gone(address: str) -> bool:
    if is_address(address):
        return not place_of(address).exists()
    return Path(address).is_absolute() and not Path(address).exists()


def _let_others_end() -> None:
    """Wait for what zarr still reads after a failure: it would complain when the program ends."""

    async def rest() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=PATIENCE)

    for loop in LOOPS:
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(rest(), loop).result()


async def _at_once(call: Any, *args: Any) -> Any:
    return call(*args)


def _plain(value: Any) -> Any:
    """Give what JSON can say of what a codec of version 2 holds."""
    return value.get_config() if hasattr(value, "get_config") else str(value)


def stored_pixels(array: Any, address: str, *, sparse: bool = False) -> Stored:
    """Give the pixels of a zarr array, none of which are made up.

    Parameters
    ----------
    array : zarr.Array
    address : str
        For messages.
    sparse : bool
        Chunks that are not stored are the fill value. So they are where that is NaN: no data.

    Raises
    ------
    ValueError
        When the metadata declare what no machine holds.
    """
    size = array.dtype.itemsize
    for what, shape, most in (
        ("an image", array.shape, MOST_PIXELS),
        ("chunks", array.chunks, MOST_CHUNK),
    ):
        if math.prod(shape) * size > most or not all(array.chunks):
            raise ValueError(
                f'the metadata of "{address}" declare {what} of {tuple(shape)} values, '
                f"{math.prod(shape) * size:.3g} bytes: they are damaged, or it has to be written "
                "again in smaller chunks"
            )
    fill = array.metadata.fill_value
    nothing = fill is not None and array.dtype.kind == "f" and bool(np.isnan(fill))
    store = array.store._store if isinstance(array.store, Guarded) else array.store
    plain = json.loads(json.dumps(array.metadata.to_dict(), default=_plain))
    # Codecs before it may make a chunk a little longer.
    most = 2 * math.prod(array.chunks) * size + 2**16
    path, version = array.path, array.metadata.zarr_format
    guarded = Guarded(
        store, path=path, sparse=sparse or nothing, packed=packed_by(plain), most=most
    )
    return Stored(zarr.open_array(guarded, path=path, mode="r", zarr_format=version), address)
