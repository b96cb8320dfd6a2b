"""Tiles that fail: a few are left out; where all fail the run stops, and spoils nothing."""

import errno
import os

import numpy as np
import pytest

from by_hand import numbers, plan_of, stack_of, tree_hash
from napari_deblur import attempts, creating, describing, finishing, many, stopping, store, tasks
from napari_deblur.batch import RunStopped, run
from napari_deblur.claims import Claim
from napari_deblur.results import open_result
from napari_deblur.stopping import ImageStopped
from napari_deblur.store import Store
from napari_deblur.tasks import Task, Todo


def row(count):
    """A plan of so many tiles, one beside the other."""
    stack = stack_of(numbers((1, 4, 4 * count)))
    kernel = np.random.default_rng(1).random((1, 3, 3))
    return plan_of(stack, core=(1, 4, 4), kernel=kernel), stack


@pytest.fixture
def failing(monkeypatch):
    """Let tiles fail: a list of the tries, and a place for what says whether one fails."""
    restore, tries = tasks.restore_tile, []

    def restored(plan, stack, index, **options):
        tries.append(index[4])
        if (error := restored.error(index[4])) is not None:
            raise error
        return restore(plan, stack, index, **options)

    restored.error, restored.tries = lambda number: None, tries
    monkeypatch.setattr(tasks, "restore_tile", restored)
    return restored


def away(number):
    return OSError(errno.EIO, os.strerror(errno.EIO), "/data/raw")


def bad(number):
    return RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(attempts, "STEPS", tuple((step, 0.02) for step, _ in attempts.STEPS))


@pytest.mark.parametrize("well", [0, 10])
def test_a_run_in_which_all_fails_stops_early_and_goes_on_later(tmp_path, failing, well):
    plan, stack = row(60)
    list(run(plan, tmp_path / "whole.zarr", stack))
    failing.tries.clear()
    failing.error = lambda number: bad(number) if len(failing.tries) > well else None
    path = tmp_path / "a.zarr"
    said = rf"the first is \(0, 0, 0, 0, {well}\) \(RuntimeError: CUDA error.*what is done is kept"
    with pytest.raises(ImageStopped, match=said) as caught:
        list(run(plan, path, stack))
    assert "\n" not in str(caught.value)
    assert len(failing.tries) < well + 40
    assert (open_result(path).complete, open_result(path).failed) == (False, ())
    failing.error = lambda number: None
    first, *_, last = run(plan, path, stack)
    assert (first.done, last.phase) == (well, "complete")
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")


def test_many_bad_tiles_side_by_side_are_left_out_and_the_rest_is_done(tmp_path, failing):
    plan, stack = row(70)
    failing.error = lambda number: ValueError("damaged") if 10 <= number < 50 else None
    for _ in range(2):  # those that are known to be bad are no reason to stop
        *_, last = run(plan, tmp_path / "a.zarr", stack)
        assert (last.phase, last.done, last.failed) == ("incomplete", 30, 40)
    assert [index[4] for index in open_result(tmp_path / "a.zarr").failed] == [*range(10, 50)]


def test_how_many_may_fail_can_be_said(tmp_path, failing):
    plan, stack = row(60)
    failing.error = lambda number: bad(number) if number >= 10 else None
    with pytest.raises(RunStopped, match="more than 5 tiles failed"):
        list(run(plan, tmp_path / "a.zarr", stack, max_failed=5))
    assert len(failing.tries) < 20
    *_, last = run(plan, tmp_path / "b.zarr", stack, max_failed=50)
    assert (last.phase, last.failed) == ("incomplete", 50)
    with pytest.raises(ValueError, match="max_failed is -1"):
        run(plan, tmp_path / "c.zarr", stack, max_failed=-1)


@pytest.mark.parametrize(("count", "until"), [(60, 30), (8, 13)])
def test_a_disk_that_is_away_for_a_moment_is_waited_for(tmp_path, failing, quick, count, until):
    plan, stack = row(count)
    failing.error = lambda number: away(number) if 4 < len(failing.tries) < until else None
    *_, last = run(plan, tmp_path / "a.zarr", stack)
    assert (last.phase, last.failed) == ("complete", 0)


def test_a_disk_that_stays_away_stops_the_run_which_can_go_on(tmp_path, failing, quick):
    plan, stack = row(60)
    failing.error = lambda number: away(number) if number >= 7 else None
    with pytest.raises(RunStopped, match="wait until the disk or the network works") as caught:
        list(run(plan, tmp_path / "a.zarr", stack))
    assert not isinstance(caught.value, ImageStopped)
    assert caught.value.errno == errno.EIO
    assert open_result(tmp_path / "a.zarr").failed == ()
    failing.error = lambda number: None
    first, *_, last = run(plan, tmp_path / "a.zarr", stack)
    assert (first.done, last.phase) == (7, "complete")


def test_a_place_of_the_disk_that_cannot_be_read_is_left_out(tmp_path, failing, quick):
    plan, stack = row(40)
    failing.error = lambda number: away(number) if number in (3, 38, 39) else None
    *_, last = run(plan, tmp_path / "a.zarr", stack)
    assert (last.phase, last.failed) == ("incomplete", 3)


def test_the_last_tiles_are_not_given_up_while_the_disk_is_away(
    tmp_path, failing, quick, monkeypatch
):
    plan, stack = row(10)
    failing.error = lambda number: away(number) if number > 7 else None
    gone = OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/out")
    monkeypatch.setattr(stopping, "clock", lambda folder: (_ for _ in ()).throw(gone))
    with pytest.raises(RunStopped, match=r"stopped at /out: .*; wait until .* is kept"):
        list(run(plan, tmp_path / "a.zarr", stack))
    assert Store(tmp_path / "a.zarr", plan).done().failed == {}


def test_samples_come_from_further_and_further_on_and_nothing_is_lost():
    everything = [Task((0, 0, 0, 0, i)) for i in range(100)]
    todo = Todo(iter(everything))
    given = [todo.next() for _ in range(10)]
    todo.again(given[0])
    todo.search([(1, 0), (4, 0), (16, 0), (1000, 0), (1000, 0)])
    samples = [todo.next() for _ in range(5)]
    assert [one.index[4] for one in samples] == [11, 16, 33, 99, 98]
    assert todo.next() is None
    assert [todo.missed(one) for one in samples] == [False] * 4 + [True]
    todo.found()
    given += samples
    while (task := todo.next()) is not None:
        given.append(task)
    assert given.pop() == given[0]  # what is tried again comes last
    assert not todo.wait()
    assert [one.index[4] for one in given[15:]] == sorted(one.index[4] for one in given[15:])
    assert set(given) == set(everything)


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ESTALE, RunStopped, "wait until the disk or the network works again, then run the"),
        (errno.EMFILE, RunStopped, r"let more files be open \(ulimit -n\), then run the same"),
        (errno.ENXIO, ImageStopped, "see to that, then run the same again: what is done is kept"),
    ],
)
def test_whatever_a_system_says_it_is_said_that_what_is_done_is_kept(
    tmp_path, monkeypatch, number, kind, said
):
    plan, stack = row(3)
    error = OSError(number, os.strerror(number), "/out/ledger")
    monkeypatch.setattr(Claim, "check", lambda self: (_ for _ in ()).throw(error))
    with pytest.raises(RunStopped, match=f"stopped at /out/ledger: .*; {said}") as caught:
        list(run(plan, tmp_path / "a.zarr", stack))
    assert type(caught.value) is kind
    assert caught.value.errno == number


def test_an_image_of_which_all_fails_does_not_keep_others_from_their_turn():
    target = many.Target.__new__(many.Target)
    assert not many._meets_all(ImageStopped("all failed"), target, {"scheduler": "tcp://a:1"})


def test_of_very_many_failures_the_metadata_list_some(tmp_path):
    plan, _ = row(3)
    made = creating.create(tmp_path / "a.zarr", plan)
    index = [0] * 5
    failures = [{"level": 0, "index": index, "error": "?"}] * (store.MOST_LISTED + 500)
    made.finish(failures)
    result = open_result(tmp_path / "a.zarr")
    assert len(result.failed) == store.MOST_LISTED
    assert result.failed_count == store.MOST_LISTED + 500
    said = dict(describing.of_result(result))["complete"]
    assert f"{store.MOST_LISTED + 500} tiles failed" in said
    made.finish(failures[:7])
    result = open_result(tmp_path / "a.zarr")
    assert len(result.failed) == result.failed_count == 7


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_what_is_complete_is_so_where_nobody_may_write(tmp_path, monkeypatch, number):
    plan, stack = row(6)
    path = tmp_path / "a.zarr"

    def denied(*arguments):
        raise OSError(number, os.strerror(number), str(path))

    def again(**how):
        with monkeypatch.context() as patch:
            patch.setattr("napari_deblur.claims._written", denied)
            patch.setattr("napari_deblur.ledger.Ledger.append", denied)
            return list(run(plan, path, stack, **how))

    progress = run(plan, path, stack)
    while next(progress).done < 3:
        pass
    progress.close()
    with pytest.raises(RunStopped, match="stopped at"):
        again()
    list(run(plan, path, stack))
    (last,) = again()
    assert (last.phase, last.done, last.note) == ("complete", 6, "it was complete already")
    (last,) = again(part=(1, 2))
    assert last.phase == "complete"
    for how in ({"overwrite": True}, {"resume": False}):
        with pytest.raises(RunStopped, match="stopped at"):
            again(**how)
    with monkeypatch.context() as patch:
        patch.setattr("napari_deblur.claims._written", denied)
        (last,) = finishing.finish(path)
    assert last.phase == "complete"
    (path / "0/c/0/0/3").unlink()
    with pytest.raises(RunStopped, match="stopped at"):
        again()
