"""Who writes by a claim that is gone: no harm to what came later, nothing where all was removed."""

import shutil
import time
from contextlib import nullcontext, suppress

import obstore
import pytest
import zarr
from distributed import LocalCluster

from buckets import content, running, server  # noqa: F401
from by_hand import (
    FIRST,
    SECOND,
    Writer,
    numbers,
    plan_of,
    small,
    stack_of,
    third_party,  # noqa: F401
    tree_hash,
    two_tiles,
)
from napari_deblur import (
    claims,
    ops,
    places,
    restoring,
    scratch,
    sending,
    standing,
    tasks,
    working,
)
from napari_deblur.batch import RunStopped, run
from napari_deblur.claims import ALL, take
from napari_deblur.ledger import Ledger
from napari_deblur.opening import open_stack
from napari_deblur.places import place_of
from napari_deblur.results import LEDGER, open_result
from napari_deblur.standing import Standing
from napari_deblur.tasks import Task
from napari_deblur.verifying import verify


@pytest.fixture(scope="module")
def cluster():
    """One worker with two threads, in this process, so that it can be watched."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://",
        dashboard_address="127.0.0.1:0", memory_limit=0,
    ) as started:  # fmt: skip
        yield started


# Looks at the claim while a tile is written: for the folder of its image, before that gets its
# name, the same for its residuals, and the line in the ledger. `make soak` tries all of them.
NAMED, LISTED = 2, 5


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [NAMED, LISTED])
def test_what_is_overwritten_has_no_byte_of_the_old_run(tmp_path, third_party, number, after):  # noqa: F811
    old, stack = two_tiles(third_party)
    new, path = plan_of(stack, method=third_party.Broken()), tmp_path / "a.zarr"
    list(run(new, tmp_path / "whole.zarr", stack))
    writer = Writer(path, old, stack)
    reached = writer.looks(number, lambda: writer.overwritten(new), after=after)
    with suppress(OSError):
        writer.write_all()
    assert reached
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []
    with pytest.raises(RunStopped, match="this run was stopped, or gave no sign"):
        writer.write(FIRST)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, NAMED, LISTED])
def test_what_is_removed_is_not_made_again(tmp_path, third_party, number, after):  # noqa: F811
    plan, stack = two_tiles(third_party)
    path = tmp_path / "a.zarr"
    writer = Writer(path, plan, stack)
    reached = writer.looks(number, lambda: shutil.rmtree(path), after=after)
    with suppress(OSError):
        writer.write_all()
    writer.claim.release()
    assert reached
    assert not path.exists()
    with pytest.raises(RunStopped, match="was removed while it was written"):
        writer.store.check()


def test_objects_are_not_written_by_a_claim_that_is_gone(server):  # noqa: F811
    plan, stack = small()
    path = place_of("s3://cells/a.zarr")
    writer = Writer(path, plan, stack)
    writer.write(FIRST)
    writer.claim.release()
    before = content("s3://cells")
    writer.store.standing = Standing(writer.claim.file)  # which has not looked yet
    with pytest.raises(RunStopped, match=r"writes s3://cells/a\.zarr now"):
        writer.write(SECOND)
    assert content("s3://cells") == before


@pytest.mark.parametrize(("number", "joined"), [(1, False), (2, False), (7, True)])
def test_an_object_on_its_way_comes_too_late(server, tmp_path, third_party, number, joined):  # noqa: F811
    old, stack = two_tiles(third_party, joined=joined)
    new, path = plan_of(stack, method=third_party.Broken()), place_of("s3://cells/a.zarr")
    list(run(new, tmp_path / "whole.zarr", stack))
    writer = Writer(path, old, stack)
    reached = writer.looks(number, lambda: writer.overwritten(new), after=True)
    with suppress(OSError):
        writer.write_all()
    assert reached == [True]
    assert [f for f in verify(path) if f.kind != "foreign"] == []
    image = open_result(path).levels[0][:]
    assert (image == stack.data.compute()).all()


def test_an_object_that_is_there_is_written_anew(server):  # noqa: F811
    plan, stack = small()
    path = place_of("s3://cells/a.zarr")
    writer = Writer(path, plan, stack)
    writer.write(FIRST)
    good = content(path)
    (path / "0/c/0/0/0").write_bytes(b"torn")
    writer.write(FIRST)
    writer.claim.release()
    assert {name: raw for name, raw in good.items() if "ledger" not in name}.items() <= (
        content(path).items()
    )


def test_a_server_without_conditions_writes_all_the_same(server, monkeypatch):  # noqa: F811
    from napari_deblur import remotes

    put, asked = obstore.put, []

    def unable(*arguments, mode, **options):
        asked.append(mode)
        if mode == "create":
            raise obstore.exceptions.GenericError("<Code>NotImplemented</Code>")
        return put(*arguments, mode=mode, **options)

    monkeypatch.setattr(remotes, "_unconditional", set())
    monkeypatch.setattr(obstore, "put", unable)
    file = place_of("s3://cells/a.bin")
    file.write_bytes(b"1", new=True)
    file.write_bytes(b"2", new=True)
    assert file.read_bytes() == b"2"
    assert asked == ["create", "overwrite", "overwrite"]


def test_an_object_is_looked_at_once_in_a_while(server, monkeypatch):  # noqa: F811
    clock = [1_000_000_000]
    monkeypatch.setattr(standing.time, "time", lambda: clock[0])
    file = place_of("s3://cells/a.zarr/ledger/one.claim")
    file.write_bytes(b"mine")
    server.requests.clear()
    watch = Standing(file, 5)
    for _ in range(21):
        watch.check()
        clock[0] += 1
    assert server.requests == {"HEAD": 5}
    file.unlink()
    clock[0] += 5
    with pytest.raises(RunStopped):
        watch.check()


@pytest.mark.parametrize("size", [1, 2**20 * 5])
def test_pieces_of_an_object_become_none_if_the_claim_goes_meanwhile(server, size):  # noqa: F811
    def refuse():
        raise RunStopped("over")

    file = place_of("s3://cells/a.bin")
    file.write_bytes(b"old")
    for new in (bytes(size), (bytes(size) for _ in range(3))):
        with pytest.raises(RunStopped):
            places.write_atomically(file, new, refuse)
        assert file.read_bytes() == b"old"
    places.write_atomically(file, (bytes(size) for _ in range(3)), lambda: None)
    assert file.stat().st_size == 3 * size


def test_a_folder_to_which_somebody_still_writes_is_removed(tmp_path, monkeypatch):
    folder, remove, late = tmp_path / "0", shutil.rmtree, [1, 1]
    (folder / "c").mkdir(parents=True)

    def disturbed(path):
        if late:
            (path / "c" / f"{late.pop()}.partial").touch()
            (path / "c").rmdir()
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", disturbed)
    monkeypatch.setattr(places, "PAUSE", 0.0)
    places.remove_tree(folder)
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        places.remove_tree(folder)


def test_a_tile_in_work_is_left_when_its_run_is_over(tmp_path, third_party, monkeypatch):  # noqa: F811
    plan, stack = two_tiles(third_party)
    writer = Writer(tmp_path / "a.zarr", plan, stack)

    def restored(*args, **kwargs):
        ops.checkpoint()
        writer.claim.release()
        ops.checkpoint()
        raise AssertionError("it goes on")

    monkeypatch.setattr(tasks, "LOOKS", 0.0)
    monkeypatch.setattr(tasks, "restore_tile", restored)
    with pytest.raises(RunStopped):
        tasks.perform(writer.store, stack, Task(FIRST))


def test_a_run_here_stops_at_its_next_tile_when_it_was_taken_for_dead(tmp_path):
    plan, stack = small()
    progress = run(plan, tmp_path / "a.zarr", stack)
    while next(progress).done < 3:
        pass
    (claim,) = (tmp_path / "a.zarr" / LEDGER).glob("*.claim")
    claim.unlink()  # its own look, every ten seconds, is yet to come
    with pytest.raises(RunStopped, match="took it for dead"):
        list(progress)
    assert list(run(plan, tmp_path / "a.zarr", stack))[-1].phase == "complete"


def interrupted(plan, path, cluster, folder, monkeypatch, stack=None):
    """Run by a scheduler, and press Ctrl-C when a worker is at a tile."""

    def press(flight):
        while not (folder / "begun").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sending._Flight, "landed", press)
        with pytest.raises(KeyboardInterrupt):
            list(run(plan, path, stack, scheduler=cluster.scheduler_address))


@pytest.fixture
def told(monkeypatch):
    """What workers came to, tile by tile."""
    outcomes, perform = [], working.perform

    def performed(*args):
        try:
            outcomes.append(perform(*args))
        except Exception as error:
            outcomes.append(error)
            raise
        return outcomes[-1]

    monkeypatch.setattr(working, "perform", performed)
    return outcomes


def let_it_end(cluster, folder, told):
    (folder / "gate").touch()
    (worker,) = cluster.workers.values()
    while not told or worker.active_threads:
        time.sleep(0.01)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("what", ["overwritten", "removed"])
def test_a_worker_whose_run_was_stopped_writes_nothing_more(
    tmp_path,
    cluster,
    third_party,  # noqa: F811
    monkeypatch,
    told,
    what,
    memory,
):
    zarr.save_array(tmp_path / "raw.zarr", numbers((8, 16, 16)))
    path, stack = tmp_path / "a.zarr", open_stack(tmp_path / "raw.zarr", "zyx", (0.3, 0.1, 0.1))
    if memory:
        stack = stack_of(numbers((8, 16, 16)), pixel_size=(0.3, 0.1, 0.1))
    old = plan_of(stack, method=third_party.Gated(str(tmp_path)))
    interrupted(old, path, cluster, tmp_path, monkeypatch, stack if memory else None)
    assert not scratch.scratch_of(path).exists()
    if what == "removed":
        shutil.rmtree(path)
    else:
        # In another process nobody would wait for a tile of this one.
        monkeypatch.setattr(restoring, "alone_on", nullcontext)
        new = plan_of(stack, method=third_party.Broken())
        list(run(new, path, stack, overwrite=True))
        list(run(new, tmp_path / "whole.zarr", stack))
    let_it_end(cluster, tmp_path, told)
    assert {type(one) for one in told} == {RunStopped}
    if what == "removed":
        assert not path.exists()
    else:
        assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
        assert list(verify(path)) == []


def test_a_worker_of_a_stopped_run_does_no_harm_to_the_same_that_goes_on(
    tmp_path,
    cluster,
    third_party,  # noqa: F811
    monkeypatch,
    told,
):
    zarr.save_array(tmp_path / "raw.zarr", numbers((8, 16, 16)))
    path, stack = tmp_path / "a.zarr", open_stack(tmp_path / "raw.zarr", "zyx", (0.3, 0.1, 0.1))
    plan = plan_of(stack, method=third_party.Gated(str(tmp_path)))
    interrupted(plan, path, cluster, tmp_path, monkeypatch)
    progress = run(plan, path, scheduler=cluster.scheduler_address)
    next(progress)
    (tmp_path / "gate").touch()
    *_, last = progress
    assert last.phase == "complete"
    let_it_end(cluster, tmp_path, told)
    assert {type(one) for one in told if isinstance(one, Exception)} == {RunStopped}
    list(run(plan, tmp_path / "whole.zarr"))
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []


def test_a_claim_that_came_back_after_it_was_lost_is_taken_away(server, monkeypatch):  # noqa: F811
    monkeypatch.setattr(claims, "EVERY", 0.01)
    monkeypatch.setattr(claims, "EXPIRES", -1.0)
    monkeypatch.setattr(claims, "_rivals", lambda *args, but=None: [])
    claim = take(place_of("s3://cells/a.zarr/ledger"), "k", ALL)
    monkeypatch.setattr(claims, "_rivals", lambda *args, but=None: ["another"])
    while claim.file.is_file():
        time.sleep(0.01)
    assert claim.lost
    claim.release()


def test_a_line_of_a_ledger_is_not_written_when_the_run_is_over(tmp_path, third_party):  # noqa: F811
    plan, stack = two_tiles(third_party)
    writer = Writer(tmp_path / "a.zarr", plan, stack)
    writer.claim.release()
    before = tree_hash(tmp_path / "a.zarr", ledger=True)
    for _ in range(2):
        with pytest.raises(RunStopped):
            writer.store.note_split(FIRST, 1)
        assert tree_hash(tmp_path / "a.zarr", ledger=True) == before
    writer.store.ledger = Ledger(tmp_path / "a.zarr" / LEDGER, writer.store.check)  # without a file
    with pytest.raises(RunStopped):
        writer.store.note_split(FIRST, 1)
    assert tree_hash(tmp_path / "a.zarr", ledger=True) == before
