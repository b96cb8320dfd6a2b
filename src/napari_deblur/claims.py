"""Claims: who is writing a result at this moment, so that no two write the same of it.

A claim is a file, or an object, beside the ledger. Its process writes it again and again, and
removes it at the end. One that died holds nothing: on its own machine its number is looked up; on
another one, or where its number tells too little, its claim expires. Times are those of the file
system or server, since clocks of machines differ. Each has a name of its own: nothing is asked of
a server but that whoever has written an object finds it in the next list. The name says what is
claimed, and the list when it was written last, so of a thousand parts only those are read that may
be in the way.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Self, TypeVar

from napari_deblur import places, system
from napari_deblur.parts import Part
from napari_deblur.places import Place, Remote
from napari_deblur.standing import Standing, over

__all__ = ["ALL", "FINISH", "PLAN", "SUFFIX", "Claim", "Claimed", "patiently", "refuse", "take"]

# What is claimed, besides a part "k/n": all tiles, the search for a plan, the pyramid.
ALL, PLAN, FINISH = "all", "plan", "finish"
SUFFIX = ".claim"
EVERY, EXPIRES = 10.0, 60.0  # seconds
POLL = 2.0  # seconds between two looks of who waits for another one
TRIES = 25
HELD = "held\n"
LETTERS = 16  # of a plan's key, in a name
# Of those that are not in the way, but gave no sign for long; a thousand parts begin at once.
SWEPT = 4
# This process's claims. Others of its number were left behind where nothing could be removed.
_own: set[str] = set()
# Seconds between two starts that a process has by the system's clock, which may be set anew.
SLACK = 5.0
T = TypeVar("T")


class Claimed(FileExistsError):
    """Another process is writing there; the text says which and what to do."""


class Claim:
    """What this process holds until it is released, as a context or by `release`.

    `lost` is True when another process took this one for dead.
    """

    def __init__(self, file: Place, me: _Owner, made: Sequence[Path]) -> None:
        self.lost = False
        self.file, self._me, self._made = file, me, made
        self._over, self._writing = threading.Event(), threading.Lock()
        threading.Thread(target=self._refresh, name="napari-deblur-claim", daemon=True).start()

    def hold(self) -> None:
        """Say that what was asked for is held by now."""
        with self._writing:
            _own.add(self.file.name)
            places.write_atomically(self.file, self._me.line() + HELD.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it back; folders that were made for it and hold nothing go too."""
        self.give_up()
        _remove_empty(self._made)

    def give_up(self) -> None:
        """Give it back, and leave the folders."""
        self._over.set()
        # An object that is being written again now would come back.
        waited = self._writing.acquire(timeout=EVERY)
        _own.discard(self.file.name)
        with suppress(OSError):  # a disk that was made read-only meanwhile
            _remove(self.file)
        if waited:
            self._writing.release()

    def check(self) -> None:
        """Raise RunStopped if this was lost: who writes on would write what another one writes."""
        if self.lost:
            raise over(self.file)

    def standing(self) -> Standing:
        """Give what looks whether this is still there, each time that something is written."""
        return Standing(self.file, EXPIRES / 2)

    def _refresh(self) -> None:
        while not self._over.wait(EVERY):
            try:
                with self._writing:
                    if self._over.is_set():
                        return
                    before = self.file.stat().st_mtime
                    places.touch(self.file)
                    silent = self.file.stat().st_mtime - before
                # Who took it for dead may have deleted an object just before it was written again.
                if isinstance(self.file, Remote) and silent > EXPIRES:
                    self.lost = bool(_rivals(self.file.parent, self._me, but=self.file))
            except FileNotFoundError:
                self.lost = not self._over.is_set()
            except OSError:
                continue  # a network or server that is away for a moment
            if self.lost:
                if isinstance(self.file, Remote):  # it may have come back
                    with suppress(OSError):
                        _remove(self.file)
                return


@dataclass(frozen=True)
class _Owner:
    """Who claims what of which plan; a `key` of "" is not known yet."""

    key: str
    what: str
    machine: str = ""
    host: str = ""
    pid: int = 0
    started: float = 0.0
    held: bool = False
    file: str = ""

    @classmethod
    def here(cls, key: str, what: str) -> Self:
        return cls(key, what, _machine(), platform.node(), os.getpid(), _started(os.getpid()) or 0)

    @classmethod
    def of(cls, file: Place) -> Self:
        """Read a claim; of one that is damaged nothing is known but that it is there."""
        first, _, rest = file.read_text("utf-8", errors="replace").partition("\n")
        try:
            data: dict[str, Any] = json.loads(first)
            owner = cls(**data, held=rest == HELD, file=file.name)
            if owner.what not in (ALL, PLAN, FINISH):
                Part.read(owner.what)
        except (ValueError, TypeError):
            return cls("", ALL, file=file.name)
        return owner

    def line(self) -> bytes:
        data = {k: v for k, v in asdict(self).items() if k not in ("held", "file")}
        return json.dumps(data).encode() + b"\n"

    def name(self) -> str:
        """Give a name that says what is claimed, and is nobody else's."""
        what = self.what.replace("/", "of")
        return f"{uuid.uuid4().hex}_{what}_{self.key[:LETTERS]}{SUFFIX}"

    def may_collide_with(self, name: str) -> bool:
        """Whether the file of a claim has to be read, by its name."""
        _, what, key = [*name.removesuffix(SUFFIX).split("_"), "", ""][:3]
        try:
            Part.read(what := what.replace("of", "/"))
        except ValueError:
            if what not in (ALL, PLAN, FINISH):
                return True  # no name that is given here
        return replace(self, key=self.key[:LETTERS]).collides_with(_Owner(key, what))

    def lives(self, now: Callable[[], float], touched: float) -> bool:
        if self.machine == _machine():
            if self.pid == os.getpid() and self.held and self.file not in _own:
                return False
            try:
                started = _started(self.pid)
            except ProcessLookupError:
                return False
            if started is not None and abs(started - self.started) < SLACK:
                return True
        # Elsewhere; or nobody may know when it started; or its number is another's by now, unless
        # the system's clock was set.
        return now() - touched < EXPIRES

    def collides_with(self, other: _Owner) -> bool:
        whats = {self.what, other.what}
        if PLAN in whats:
            return len(whats) == 1
        if ALL in whats or (self.key and other.key and self.key != other.key):
            return True
        if FINISH in whats:
            return len(whats) == 1
        return len(whats) == 1 or Part.read(self.what).of != Part.read(other.what).of


def patiently(action: Callable[[], T], seconds: float) -> T:
    """Do something that others' claims may forbid; try again for so long before that is raised."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return action()
        except Claimed:
            left = ends - time.monotonic()
            if left <= 0:
                raise
        time.sleep(min(POLL, left))


def take(folder: Place, key: str, what: str, *, wait: float = 0.0) -> Claim:
    """Claim all or a part of a result for this process.

    Parameters
    ----------
    folder : Path or Remote
        Of the ledger; it is made if it is not there.
    key : str
        That of the plan; "" for `PLAN`.
    what : str
        `ALL`, `PLAN`, `FINISH` or a part ``k/n``.
    wait : float
        Seconds to wait for others.

    Raises
    ------
    Claimed
        When another process holds something that does not go with it.
    """
    return patiently(partial(_taken, folder, key, what), wait)


def _taken(folder: Place, key: str, what: str) -> Claim:
    me = _Owner.here(key, what)
    made = [one for one in (folder, folder.parent) if isinstance(one, Path) and not one.exists()]
    rivals: list[_Owner] = []
    claim: Claim | None = None
    try:
        for _ in range(TRIES):
            try:
                file = claim.file if claim else _written(folder, me)
            except FileNotFoundError:
                continue  # another process found the folder empty, and removed it
            # It gives signs from now on, however long it takes to look at the others.
            claim = claim or Claim(file, me, made)
            # Each writes, then looks: of two at least one sees the other.
            rivals = _rivals(folder, me, but=file)
            if not rivals:
                claim.hold()
                return claim
            held = any(rival.held for rival in rivals)
            if held or file.name > min(rival.file for rival in rivals):
                claim.give_up()
                claim = None
            if held:
                break
            time.sleep(random.uniform(0.02, 0.1))  # of those who ask, the first by name may stay
        raise Claimed(_sentence(folder.parent, me, rivals))
    except BaseException:
        # Also where the disk is full, or somebody is tired of waiting: nothing is left behind.
        if claim is not None:
            claim.give_up()
        _remove_empty(made)
        raise


def refuse(folder: Place, what: str) -> None:
    """Raise Claimed if `take` would, whatever the plan: before planning, which may take long."""
    me, rivals = _Owner.here("", what), list[_Owner]()
    try:
        rivals = [rival for rival in _rivals(folder, me) if rival.held]
    except OSError as error:
        # Where nobody may write, the time can't be told, and nobody writes.
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
    if rivals:
        raise Claimed(_sentence(folder.parent, me, rivals))


def _written(folder: Place, me: _Owner) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / me.name()
    places.write_atomically(file, me.line())
    return file


def _rivals(folder: Place, me: _Owner, but: Place | None = None) -> list[_Owner]:
    """Give the living owners of what collides, none but the first who holds it if one does.

    Claims of the dead that are met on the way are removed. `but` is our own, which was written just
    now and so tells the time.
    """
    times = places.times(folder, f"*{SUFFIX}")
    times.pop(folder / places.CLOCK, None)
    own = times.pop(but, None) if but is not None else None

    @cache
    def now() -> float:
        return places.clock(folder) if own is None else own

    old = [file for file, then in times.items() if own is not None and own - then >= EXPIRES]
    swept = set(random.sample(old, min(SWEPT, len(old))))
    found: list[_Owner] = []
    for file, touched in times.items():
        if file not in swept and not me.may_collide_with(file.name):
            continue
        try:
            owner = system.insisting(partial(_Owner.of, file))
        except FileNotFoundError:
            continue
        if not owner.lives(now, touched):
            with suppress(OSError):
                _remove(file)
        elif owner.collides_with(me):
            found.append(owner)
            if owner.held:
                return [owner]
    return found


def _sentence(path: Place, me: _Owner, rivals: list[_Owner]) -> str:
    rival = next((one for one in rivals if one.held), rivals[0] if rivals else me)
    where = f"process {rival.pid}"
    if rival.machine != me.machine:
        where += f" on {rival.host or 'another machine'}, or dead for less than {EXPIRES:g} s"
    elif rival.pid == me.pid:
        where = "this very process"
    names = {ALL: "a run", PLAN: "a search for its plan", FINISH: "the finishing"}
    name = names.get(rival.what, f"part {rival.what}")
    if rival.key and me.key and rival.key != me.key:
        return (
            f"{path} is being written by {name} of another plan ({where}): wait until it has "
            "ended, or choose another output"
        )
    if me.what not in names and rival.what not in (*names, me.what):
        return (
            f"{path} is being done in parts of another number: {rival.what} by {where}, and this "
            f"would be {me.what}; give all parts the same number"
        )
    return f"{name} of {path} is going on ({where}): wait until it has ended"


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _remove(file: Place) -> None:
    system.insisting(partial(file.unlink, missing_ok=True))


def _started(pid: int) -> float | None:
    """Say when a process started; None where the system hides that.

    Raises
    ------
    ProcessLookupError
        When there is none, or only its entry in a table.
    """
    import psutil  # type: ignore[import-untyped]

    if not system.has_process(pid):
        raise ProcessLookupError(pid)
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise ProcessLookupError(pid)
        return float(process.create_time())
    except psutil.Error:
        return None


@lru_cache(maxsize=1)
def _machine() -> str:
    """Name what process numbers belong to: a machine since it was started, or a container."""
    name = platform.node()
    try:
        name += " " + Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name += f" {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux: several machines may have one name
        name += f" {uuid.getnode():x}"
    return name
