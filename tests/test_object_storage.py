"""Results in a bucket of a real server: the same as in a folder, whatever happens on the way."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import zarr

from buckets import content, running, server, upload  # noqa: F401
from by_hand import SRC, numbers, plan_of, small, stack_of
from napari_deblur import scratch
from napari_deblur.arrays import laid_out
from napari_deblur.batch import run
from napari_deblur.ledger import LINES, entries
from napari_deblur.opening import open_stack
from napari_deblur.places import place_of
from napari_deblur.results import LEDGER, open_result
from napari_deblur.scratch import copied, scratch_of
from napari_deblur.verifying import verify

OUT = "s3://cells/out/a.deblur.zarr"

# A process that has imported everything forks a run for each line it is told.
CHILD = """
import os, sys
from by_hand import *
import torch, zarr, botocore.session, obstore, napari_deblur.batch
from napari_deblur import batch, objects
from test_object_storage import OUT, levelled
torch.set_num_threads(1)
children = {}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            plan, stack = levelled()
            part = tuple(map(int, line.split("/"))) if "/" in line else None
            *_, last = batch.run(plan, OUT, stack, part=part)
            status = {"complete": 0, "part": 3}.get(last.phase, 2)
        finally:
            os._exit(status)
    print(child, flush=True)
    if "&" not in line:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def levelled():
    stack = stack_of(numbers((4, 300, 280)), pixel_size=(0.3, 0.1, 0.1))
    return plan_of(stack, core=(4, 110, 100)), stack


@pytest.fixture
def forks(server, monkeypatch):  # noqa: F811
    paths = [str(SRC), os.path.dirname(__file__)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def begin(forks, line):
    forks.stdin.write(f"{line}\n")
    forks.stdin.flush()
    return int(forks.stdout.readline())


@pytest.mark.parametrize("box", [(1, 1, 1, 1, 1), (1, 1, 2, 2, 2)])
def test_a_result_is_the_same_in_a_bucket_and_in_a_folder(server, tmp_path, box):  # noqa: F811
    plan, stack = small()
    plan = replace(plan, shard=box)
    *_, last = run(plan, OUT, stack)
    assert last.phase == "complete"
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")
    assert {name.split("/")[0] for name in content("s3://cells")} == {"out"}
    assert list(verify(OUT)) == []
    result, local = open_result(OUT), open_result(tmp_path / "a.zarr")
    np.testing.assert_array_equal(result.levels[0][:], local.levels[0][:])
    np.testing.assert_array_equal(result.kernels[:], local.kernels[:])
    assert (str(result.path), result.complete) == (OUT, True)
    again = run(plan, OUT, stack)
    assert next(again).note == "it was complete already"


def test_a_tile_costs_two_requests(server):  # noqa: F811
    stack, counts = stack_of(numbers((4, 40, 80)), pixel_size=(0.3, 0.1, 0.1)), []
    for core in ((4, 20, 20), (2, 10, 10)):
        plan = plan_of(stack, core=core)
        server.requests.clear()
        list(run(plan, f"s3://cells/{len(plan)}.zarr", stack))
        counts.append((len(plan), server.requests.copy()))
    (few, before), (many, after) = counts
    assert (few, many) == (8, 64)
    assert after["PUT"] - before["PUT"] == 2 * (many - few)  # the chunk, and the ledger
    for kind in ("GET", "HEAD", "LIST", "POST", "DELETE"):
        assert after[kind] - before[kind] <= 2, kind


def test_a_ledger_is_a_few_objects(server):  # noqa: F811
    stack = stack_of(numbers((2, 40, 160)), pixel_size=(0.3, 0.1, 0.1))
    plan = plan_of(stack, core=(1, 8, 8))
    list(run(plan, OUT, stack))
    known = [entry for entry in entries(place_of(OUT) / LEDGER) if entry.kind == "tile"]
    assert sorted(entry.index for entry in known) == sorted(plan.grid)
    lines = [len(file.read_bytes().splitlines()) for file in (place_of(OUT) / LEDGER).glob("*l")]
    assert sum(lines) > len(plan) > LINES
    assert max(lines) == LINES
    assert len(lines) == -(-sum(lines) // LINES)


def test_a_lost_object_is_found_and_made_again(server):  # noqa: F811
    plan, stack = small()
    list(run(plan, OUT, stack))
    before = content(OUT)
    (place_of(OUT) / "0/c/0/1/2").unlink()
    (found,) = verify(OUT)
    assert (found.kind, found.path) == ("missing", "0/c/0/1/2")
    first, *_, last = run(plan, OUT, stack)
    assert (first.done, last.phase) == (len(plan) - 1, "complete")
    assert content(OUT) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, for speed")
def test_kill_at_any_request_and_go_on(forks, server, tmp_path):  # noqa: F811
    plan, stack = levelled()
    moments = [("/0/zarr.json", 1), ("/0/c/", 4), (".jsonl", 11), ("/1/c/", 2), ("a.zarr/zarr", 2)]
    for name, number in moments:
        seen, child = [], []

        def kill(method, path, name=name, number=number, seen=seen, child=child):
            if method != "PUT" or name not in path or not child:
                return None
            seen.append(path)
            if len(seen) == number:
                os.kill(child[0], signal.SIGKILL)
                return 500  # what was on its way is lost
            return None

        server.failing = kill
        child.append(begin(forks, "go"))
        assert int(forks.stdout.readline()) == (-signal.SIGKILL if len(seen) >= number else 0), name
    server.failing = lambda method, path: None
    begin(forks, "go")
    assert int(forks.stdout.readline()) == 0
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")
    assert list(verify(OUT)) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, for speed")
def test_two_parts_side_by_side(forks, tmp_path):
    children = [begin(forks, "1/2 &"), begin(forks, "2/2")]
    assert int(forks.stdout.readline()) in (0, 3)
    assert len(set(children)) == 2
    plan, stack = levelled()
    *_, last = run(plan, OUT, stack, part=(1, 2))  # whoever comes last finishes it
    assert last.phase == "complete"
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")
    assert list(verify(OUT)) == []


def test_tiles_that_share_an_object(server, tmp_path):  # noqa: F811
    plan, stack = small()
    plan = laid_out(plan, shards=6)
    assert plan.shards.several
    *_, last = run(plan, OUT, stack)
    assert last.phase == "complete"
    list(run(plan, tmp_path / "a.zarr", stack))
    assert content(OUT) == content(tmp_path / "a.zarr")
    assert len([name for name in content(OUT) if name.startswith("0/c/")]) < len(plan)
    assert list(verify(OUT)) == []


def test_two_processes_read_and_write_a_bucket(server, tmp_path):  # noqa: F811
    zarr.save_array(tmp_path / "raw.zarr", numbers((10, 30, 28)))
    upload(tmp_path / "raw.zarr", "s3://cells/raw.zarr")
    stack = open_stack("s3://cells/raw.zarr", "zyx", (0.3, 0.1, 0.1))
    plan = plan_of(stack, core=(5, 15, 14), halo=(1, 2, 2))
    *_, last = run(plan, OUT, workers=2)
    assert last.phase == "complete"
    list(run(plan, tmp_path / "one.zarr"))
    assert content(OUT) == content(tmp_path / "one.zarr")


def test_a_stack_in_memory_is_copied_beside_the_result_and_the_copy_removed(server):  # noqa: F811
    plan, stack = small()
    place = place_of(OUT)
    with copied(stack, place, plan.grid):
        again = scratch.stack_of(scratch_of(place), plan.layout)
        np.testing.assert_array_equal(again.read(0, 0), stack.read(0, 0))
        names = set(content("s3://cells"))
        assert all(name.startswith("out/.a.deblur.zarr.input.zarr/") for name in names)
    assert content("s3://cells") == {}


def test_overwriting_removes_a_result_and_nothing_else(server):  # noqa: F811
    plan, stack = small()
    list(run(plan, OUT, stack))
    other = plan_of(stack, core=(5, 14, 13))
    with pytest.raises(FileExistsError, match="another plan"):
        list(run(other, OUT, stack))
    *_, last = run(other, OUT, stack, overwrite=True)
    assert last.phase == "complete"
    assert list(verify(OUT)) == []
    (place_of("s3://cells/mine.zarr") / "notes.txt").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="not recognisable as a result"):
        run(plan, "s3://cells/mine.zarr", stack, overwrite=True)
    assert content("s3://cells/mine.zarr") == {"notes.txt": b"mine"}
