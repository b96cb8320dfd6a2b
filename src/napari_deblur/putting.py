"""Files of a result on their way to the disk: each as a whole, and only while a claim stands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deblur import places, sharding, system
from napari_deblur.places import Remote

if TYPE_CHECKING:
    from napari_deblur.places import Place

__all__ = ["Files", "Put"]

# Folders that are known to be on the disk: there may be one for each tile.
MOST_SYNCED = 1024
Put = tuple[str, tuple[int, str]]  # path in the result; bytes and SHA-256


class Files:
    """Puts files where they belong in a result.

    Parameters
    ----------
    path : Path or Remote
        The result.
    check, look : functions
        Called as late as can be before something is put there; they raise when nothing may be
        written any more. `check` may have looked a moment ago.
    """

    def __init__(self, path: Place, check: Callable[[], None], look: Callable[[], None]) -> None:
        self.path, self._check, self._look = path, check, look
        self._synced: set[Path] = set()

    def put(self, name: str, content: memoryview | Iterable[sharding.Piece]) -> Put:
        """Write a file as a whole and wait until it is on the disk."""
        file = self.path / name
        self.make_folder(file.parent)
        if isinstance(content, memoryview):
            self._put(file, content)
            summed = len(content), hashlib.sha256(content).hexdigest()
        else:
            pieces = sharding.Summed(content)
            self._put(file, pieces)
            summed = pieces.size, pieces.hash.hexdigest()
        if isinstance(file, Path) and file.parent not in self._synced:
            self.sync_folders(file.parent)
        return name, summed

    def make_folder(self, folder: Place) -> None:
        """Make a folder, but not the result itself anew: who removed it wants it gone."""
        if isinstance(self.path, Remote) or folder.is_dir():
            return
        self._check()
        at = self.path
        for part in places.relative(folder, self.path).split("/"):
            at /= part
            at.mkdir(exist_ok=True)

    def sync_folders(self, folder: Path) -> None:
        """Bring a new name to the disk, and the names of folders that are new to this process."""
        system.sync_folder(folder)
        if len(self._synced) > MOST_SYNCED:
            self._synced.clear()
        while folder not in self._synced and folder != self.path:
            self._synced.add(folder)
            folder = folder.parent
            system.sync_folder(folder)

    def _put(self, file: Place, content: memoryview | sharding.Summed) -> None:
        if isinstance(file, Path):
            places.write_atomically(file, content, self._check)
            return
        whole: memoryview | bytes | None
        if isinstance(content, memoryview):
            self._check()
            whole = content
        else:
            whole = file.send(places.checked(content, self._check))
        if whole is None:
            return
        try:
            # What a run that was stopped has on its way can't replace it: that is a new one, too.
            file.write_bytes(whole, new=True)
        except FileExistsError:
            self._look()
            file.write_bytes(whole)
