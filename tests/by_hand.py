"""Plans made by hand, and methods of another package, for the tests of storage and batch."""

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_deblur import claims, creating, registry
from napari_deblur.batch import run
from napari_deblur.methods.identity import Identity
from napari_deblur.plans import ChannelPlan, Layout, Plan
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.restoring import restore_tile
from napari_deblur.results import LEDGER
from napari_deblur.stack import Channel, Pixels, Stack
from napari_deblur.standing import Standing
from napari_deblur.tiles import Grid

SRC = Path(registry.__file__).parents[1]

METHODS = '''
import json, os, signal, time
from threading import get_ident
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from napari_deblur.protocols import Estimate


class Base:
    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 2

    def resolved(self, samples):
        return self


@dataclass(frozen=True)
class Slow(Base):
    """Takes its time; two residuals."""
    seconds: float = 0.01
    iterations: int = 2

    def __call__(self, tile, blur):
        time.sleep(self.seconds)
        return Estimate(tile * 2, None, torch.tensor([1.0, 0.5, 0.25]))


@dataclass(frozen=True)
class Broken(Base):
    """Raises where a voxel is 999, unless a file says that it is repaired."""
    repaired: str = "never"

    def __call__(self, tile, blur):
        if (tile == 999).any() and not Path(self.repaired).exists():
            raise ValueError("999 is too much")
        return Estimate(tile.clone(), None, torch.zeros(0))


@dataclass(frozen=True)
class Deadly(Base):
    """Kills its process, once, where a voxel is 999."""
    marker: str = ""

    def __call__(self, tile, blur):
        time.sleep(0.02)
        if (tile == 999).any() and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Estimate(tile.clone(), None, torch.zeros(0))


@dataclass(frozen=True)
class Watched(Base):
    """Writes down when it ran, in which thread and process, and how many threads torch has."""
    book: str = ""

    def __call__(self, tile, blur):
        begun = time.monotonic()
        time.sleep(0.05)
        line = [begun, time.monotonic(), os.getpid(), get_ident(), torch.get_num_threads()]
        with open(self.book, "a") as book:
            print(json.dumps(line), file=book)
        return Estimate(tile.clone(), None, torch.zeros(0))


@dataclass(frozen=True)
class Gated(Base):
    """Says that it has begun, and waits until a gate is open."""
    folder: str = ""

    def __call__(self, tile, blur):
        (Path(self.folder) / "begun").touch()
        while not (Path(self.folder) / "gate").exists():
            time.sleep(0.01)
        return Estimate(tile * 3, None, torch.zeros(0))


@dataclass(frozen=True)
class Finder(Base):
    """Finds a kernel that depends on the tile."""
    iterations: int = 3

    def __call__(self, tile, blur):
        kernel = torch.ones(blur.shape)
        kernel[..., 0] = 1 + tile.nanmean()
        return Estimate(tile.clone(), kernel / kernel.sum(), torch.ones(1))
'''


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """Install a package of methods, for this process and its children; give its module."""
    home = tmp_path / "site"
    info = home / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (home / "third_party.py").write_text(METHODS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    names = ["Slow", "Broken", "Deadly", "Finder", "Gated", "Watched"]
    lines = "".join(f"{name.lower()} = third_party:{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[napari_deblur.methods]\n{lines}")
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(home), str(SRC), str(Path(__file__).parent)])
    )
    registry.methods.__dict__.pop("_others", None)
    import third_party

    yield third_party
    registry.methods.__dict__.pop("_others", None)
    sys.modules.pop("third_party", None)


def stack_of(array, axes="zyx", **kwargs):
    return Stack(Pixels(array, axes), axes=axes, **kwargs)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.uint16)


def plan_of(stack, *, core=(4, 8, 8), halo=(0, 0, 0), method=None, kernel=None, **kwargs):
    if kernel is None:
        kernel = np.random.default_rng(1).random((3, 5, 5) if "z" in stack.axes else (5, 5))
    kernel = kernel if isinstance(kernel, Kernel) else Kernel(kernel, (0.2, 0.1, 0.1))
    facts = Facts(background=10.0, white=800.0)
    channel = ChannelPlan(facts, method or Identity())
    return Plan(
        layout=Layout.of(stack),
        source=stack.source,
        scope=kwargs.pop("scope", "channel"),
        grid=Grid(stack.shape, core, halo),
        channels=(channel,) * stack.shape[1],
        kernel=kernel,
        **kwargs,
    )


def small():
    """A stack of 24 tiles with three different lengths and voxel sizes, and its plan."""
    stack = stack_of(numbers((10, 14, 25)), pixel_size=(0.3, 0.1, 0.11), name="small")
    return plan_of(stack, halo=(1, 2, 2)), stack


def five_axes():
    channels = (Channel("DAPI", "#0000ff", emission=0.46), Channel("GFP", "#00ff00"))
    stack = stack_of(
        numbers((2, 2, 6, 600, 300)),
        "tczyx",
        pixel_size=(0.5, 0.1, 0.1),
        channels=channels,
        time_step=1.5,
    )
    return plan_of(stack, core=(4, 256, 256)), stack


FIRST, SECOND = (0, 0, 0, 0, 0), (0, 0, 0, 0, 1)


def two_tiles(methods, *, joined=False):
    stack = stack_of(numbers((4, 8, 16)))
    plan = plan_of(stack, method=methods.Slow(seconds=0.0))
    return replace(plan, shard=(1, 1, 1, 1, 2)) if joined else plan, stack


class Writer:
    """Who writes two tiles by a claim, as a worker does."""

    def __init__(self, path, plan, stack):
        self.claim = claims.take(path / LEDGER, plan.key, claims.ALL)
        self.store, self.stack = creating.create(path, plan), stack
        self.store.standing = Standing(self.claim.file)
        self.sums = {}

    def write(self, index):
        entry = self.store.write_tile(index, restore_tile(self.store.plan, self.stack, index))
        self.sums |= {name: digest for name, (_, digest) in entry.files.items()}

    def write_all(self):
        self.write(FIRST)
        self.write(SECOND)
        if self.store.shards[0].several:
            self.store.write_shard(0, FIRST, inputs="", sums=self.sums)

    def overwritten(self, plan):
        """Stop, and let another run overwrite the result."""
        self.claim.release()
        *_, last = run(plan, self.store.path, self.stack, overwrite=True)
        assert last.phase == "complete"

    def looks(self, number, then, *, after):
        """Do something before or after the look of that number; what is given has one True then."""
        check, count, done = self.store.standing.check, [0], []

        def counted(seconds=0.0):
            count[0] += 1
            now = count[0] == number
            if now and not after:
                done.append(True)
                then()
            check(seconds)
            if now and after:
                done.append(True)
                then()

        self.store.standing.check = counted
        return done


def tree_hash(path, *, ledger=False):
    """Hash the names and bytes of all files of a store but the ledger's."""
    whole = hashlib.sha256()
    for file in sorted(Path(path).rglob("*")):
        if file.is_file() and (ledger or file.suffix != ".jsonl"):
            whole.update(file.relative_to(path).as_posix().encode())
            whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
