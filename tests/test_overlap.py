"""Reading, restoring and writing go on at the same time, and nobody sees a difference."""

import threading
from dataclasses import dataclass, replace
from threading import Event
from typing import ClassVar

import numpy as np
import pytest
import torch

from by_hand import numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import creating, ops
from napari_deblur.batch import run
from napari_deblur.protocols import Cancelled, Estimate
from napari_deblur.stack import Pixels, Stack
from napari_deblur.store import Store, open_result
from napari_deblur.tasks import Clock, Task, Todo, in_this_process, perform

PATIENCE = 20  # seconds until a test gives up; none needs them


@dataclass(frozen=True)
class Calls:
    """A method that calls a function of the tile's number, which is its first voxel."""

    call: object
    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 2

    def resolved(self, samples):
        return self

    def __call__(self, tile, blur):
        self.call(int(tile.flatten()[0]))
        return Estimate(tile.clone(), None, torch.zeros(0))


class Told(np.ndarray):
    """An array that tells of each block that is read."""

    told = None

    def __getitem__(self, where):
        block = np.asarray(super().__getitem__(where))
        if block.ndim == 3 and self.told is not None:
            self.told(int(block.flat[0]))
        return block


def numbered(count, read=None):
    """A stack of tiles of 4×8×8 along x, each filled with its number."""
    array = np.repeat(np.arange(count, dtype=np.uint16), 8)[None, None].repeat(4, 0).repeat(8, 1)
    told = array.view(Told)
    told.told = read
    return Stack(Pixels(told, "zyx"), "zyx")


def store_of(path, stack, call):
    """Make a store whose tiles are restored by a method that is in no catalogue."""
    plan = plan_of(stack)
    store = creating.create(path, plan)
    store.plan = replace(plan, channels=(replace(plan.channels[0], method=Calls(call)),))
    store.plan.__dict__["key"] = plan.key
    return store


def engine_of(path, stack, call=lambda number: None, clock=None):
    store = store_of(path, stack, call)
    tasks = (Task(index) for index in store.plan.grid)
    return store, in_this_process(store, stack, clock)(Todo(tasks))


def test_the_next_is_read_and_the_last_is_written_while_one_is_restored(tmp_path, monkeypatch):
    read, made, written = ([Event() for _ in range(6)] for _ in range(3))

    def restore(number):
        made[number].set()
        if 0 < number < 5:
            assert read[number + 1].wait(PATIENCE)
            assert written[number - 1].wait(PATIENCE)

    write = Store.write_tile

    def slowly(self, index, restored, **kwargs):
        number = index[-1]
        written[number].set()
        if number < 4:
            assert made[number + 1].wait(PATIENCE)
        return write(self, index, restored, **kwargs)

    monkeypatch.setattr(Store, "write_tile", slowly)
    stack = numbered(6, lambda number: read[number].set())
    _, engine = engine_of(tmp_path / "a.zarr", stack, restore)
    outcomes = list(engine)
    assert [task.index[-1] for task, _ in outcomes] == list(range(6))
    assert [entry.kind for _, entry in outcomes] == ["tile"] * 6


def test_no_more_than_one_is_read_ahead_and_one_waits_to_be_written(tmp_path):
    reads, made = [], []
    _, engine = engine_of(tmp_path / "a.zarr", numbered(12, reads.append), made.append)
    for done, _ in enumerate(engine):
        # Behind what came out: one that is made, one in work; ahead of it one block.
        assert len(made) <= done + 3
        assert len(reads) <= done + 4
    assert sorted(reads) == sorted(made) == list(range(12))


def test_what_comes_out_is_in_the_ledger_and_what_follows_is_not(tmp_path):
    store, engine = engine_of(tmp_path / "a.zarr", numbered(8))
    for count, (task, _) in enumerate(engine, start=1):
        done = store.done().tiles
        assert task.index in done
        assert len(done) == count


def test_the_bytes_are_those_of_one_task_after_the_other(tmp_path):
    plan, stack = small()
    list(run(plan, tmp_path / "a.zarr", stack))
    store = creating.create(tmp_path / "b.zarr", plan)
    for index in plan.grid:
        perform(store, stack, Task(index))
    store.finish()
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "b.zarr")


def test_a_block_that_cannot_be_read_is_its_tiles_failure_alone(tmp_path):
    tries = []

    def read(number):
        if number == 3:
            tries.append(number)
            raise OSError("the server is away")

    stack = numbered(6, read)
    path = tmp_path / "a.zarr"
    seen = list(run(plan_of(stack), path, stack))
    assert len(tries) == 3
    assert [p.index[-1] for p in seen if "failed" in p.note] == [3, 3, 3]
    assert seen[-1].phase == "incomplete"
    assert open_result(path).failed == ((0, 0, 0, 0, 3),)
    image = open_result(path).levels[0][:]
    assert np.isnan(image[..., 24:32]).all()
    assert (image[0, 0, ::8][[0, 1, 2, 4, 5]] == [0, 1, 2, 4, 5]).all()
    with pytest.raises(OSError, match="the server is away"):
        list(run(plan_of(stack), tmp_path / "b.zarr", stack, fail_fast=True))


def endless(begun, number):
    if number == 2:
        begun.set()
        while True:
            ops.checkpoint()


def test_closing_stops_what_is_in_work_and_leaves_no_thread(tmp_path):
    begun = Event()
    store, engine = engine_of(tmp_path / "a.zarr", numbered(6), lambda n: endless(begun, n))
    next(engine)
    next(engine)
    assert begun.wait(PATIENCE)
    engine.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("napari-deblur")]
    assert [index[-1] for index in store.done().tiles] == [0, 1]


def test_who_asks_to_cancel_is_heard_by_the_thread_that_restores(tmp_path):
    begun = Event()
    store, engine = engine_of(tmp_path / "a.zarr", numbered(6), lambda n: endless(begun, n))
    with ops.cancellable(begun.is_set), pytest.raises(Cancelled):
        list(engine)
    assert set(store.done().tiles) <= {(0, 0, 0, 0, 0), (0, 0, 0, 0, 1)}


def test_the_clock_tells_waiting_from_work(tmp_path):
    wait = Event().wait
    clock = Clock()
    list(engine_of(tmp_path / "a.zarr", numbered(4, lambda n: wait(0.05)), clock=clock)[1])
    assert clock.waiting >= 0.1
    clock = Clock()
    list(engine_of(tmp_path / "b.zarr", numbered(4), lambda n: wait(0.05), clock)[1])
    assert clock.computing >= 0.2


def test_levels_of_the_pyramid_need_no_stack(tmp_path):
    stack = stack_of(numbers((4, 300, 300)))
    plan = plan_of(stack, core=(4, 150, 150))
    list(run(plan, tmp_path / "a.zarr", stack))
    store = creating.create(tmp_path / "a.zarr", plan)
    level, done = store.levels[1], store.done()
    tasks = [Task(index, 1, inputs=store.inputs(1, index, done)) for index in level.grid]
    made = list(in_this_process(store, None)(Todo(iter(tasks))))
    assert {(entry.kind, entry.level) for _, entry in made} == {("level", 1)}
    assert len(made) == len(tasks) > 0


def test_a_split_is_noted_by_the_thread_that_writes(tmp_path, monkeypatch):
    names = []
    note = Store.note_split

    def noted(self, index, splits):
        names.append(threading.current_thread().name)
        note(self, index, splits)

    monkeypatch.setattr(Store, "note_split", noted)
    stack = stack_of(numbers((4, 16, 16)))
    failed = []

    def hungry(number):
        if not failed:
            failed.append(number)
            raise MemoryError

    store, engine = engine_of(tmp_path / "a.zarr", stack, hungry)
    list(engine)
    assert [name.startswith("napari-deblur-write") for name in names] == [True]
    assert store.done().splits == {(0, 0, 0, 0, 0): 1}
    assert np.array_equal(open_result(store.path).levels[0][:], stack.data.compute())
