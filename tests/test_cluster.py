import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import zarr

from by_hand import SRC, numbers, plan_of, small, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur import cluster
from napari_deblur.batch import run
from napari_deblur.cluster import local_workers
from napari_deblur.connecting import connected
from napari_deblur.opening import open_stack
from napari_deblur.store import open_result
from napari_deblur.verifying import verify


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = set(psutil.Process().children(recursive=True))
    yield
    for _ in range(50):
        left = set(psutil.Process().children(recursive=True)) - before
        # Python's own helper for spawned processes stays as long as this one.
        left = {p for p in left if "resource_tracker" not in " ".join(_command(p))}
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes are left: {left}")


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def on_disk(tmp_path, array):
    """Write an image and open it, so that workers can open it too."""
    zarr.save_array(tmp_path / "raw.zarr", array)
    return open_stack(tmp_path / "raw.zarr", "zyx", (0.3, 0.1, 0.1))


def test_two_processes_give_the_bytes_of_one(tmp_path):
    stack = on_disk(tmp_path, numbers((10, 300, 280)))
    plan = plan_of(stack, core=(4, 80, 90), halo=(1, 5, 5))
    list(run(plan, tmp_path / "one.zarr"))
    *seen, last = run(plan, tmp_path / "two.zarr", workers=2)
    assert last.phase == "complete"
    assert {p.index for p in seen if p.phase == "tiles" and p.index} == set(plan.grid)
    assert tree_hash(tmp_path / "one.zarr") == tree_hash(tmp_path / "two.zarr")
    assert len(list((tmp_path / "two.zarr/ledger").glob("*.jsonl"))) == 3  # 2 workers and this one
    assert list(verify(tmp_path / "two.zarr")) == []


def test_a_stack_in_memory_is_copied_for_the_workers_and_the_copy_removed(tmp_path, caplog):
    plan, stack = small()
    *_, last = run(plan, tmp_path / "a.zarr", stack, workers=1)
    assert last.phase == "complete"
    assert "the stack lives in memory: it is copied" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert np.array_equal(open_result(tmp_path / "a.zarr").levels[0][:], stack.data.compute())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_killed_workers_are_replaced_and_nothing_is_lost(tmp_path, third_party):  # noqa: F811
    array = numbers((12, 20, 40))
    array[6, 10, 20] = 999  # here a worker kills itself, once
    stack = on_disk(tmp_path, array)
    method = third_party.Deadly(marker=str(tmp_path / "died"))
    plan = plan_of(stack, core=(2, 8, 8), method=method)
    progress, killed = run(plan, tmp_path / "a.zarr", workers=2), 0
    for step in progress:
        if step.phase == "tiles" and step.done in (10, 40) and killed < 2:
            children = psutil.Process().children(recursive=True)
            workers = [p for p in children if "spawn_main" in " ".join(_command(p))]
            os.kill(workers[-1].pid, signal.SIGKILL)  # from outside
            killed += 1
    assert step.phase == "complete"
    assert (tmp_path / "died").exists()
    assert killed == 2
    list(run(plan, tmp_path / "one.zarr"))
    assert tree_hash(tmp_path / "a.zarr") == tree_hash(tmp_path / "one.zarr")
    assert list(verify(tmp_path / "a.zarr")) == []


def test_a_failing_tile_on_a_worker_is_left_out(tmp_path, third_party):  # noqa: F811
    array = numbers((10, 14, 25))
    array[0, 0, 0] = 999
    plan = plan_of(on_disk(tmp_path, array), method=third_party.Broken())
    *_, last = run(plan, tmp_path / "a.zarr", workers=1)
    assert (last.phase, last.failed) == ("incomplete", 1)
    assert open_result(tmp_path / "a.zarr").failed == ((0, 0, 0, 0, 0),)
    with pytest.raises(ValueError, match="999 is too much"):
        list(run(plan, tmp_path / "a.zarr", workers=1, fail_fast=True))


def test_closing_the_generator_stops_the_workers_and_keeps_what_is_done(tmp_path, third_party):  # noqa: F811
    stack = on_disk(tmp_path, numbers((12, 20, 40)))
    plan = plan_of(stack, core=(2, 8, 8), method=third_party.Slow(0.05))
    progress = run(plan, tmp_path / "a.zarr", workers=2)
    while next(progress).done < 5:
        pass
    begun = time.monotonic()
    progress.close()
    assert time.monotonic() - begun < 20  # 2 s alone; the machine may be busy
    *_, last = run(plan, tmp_path / "a.zarr")
    assert last.phase == "complete"
    assert list(verify(tmp_path / "a.zarr")) == []


def test_workers_leave_it_to_this_process_to_hear_ctrl_c():
    with local_workers(1) as address:
        client = connected(address, 20)
        assert list(client.run(signal.getsignal, signal.SIGINT).values()) == [signal.SIG_IGN]
        client.close()


def test_a_running_scheduler_is_used_by_its_address(tmp_path):
    from distributed import LocalCluster

    stack = on_disk(tmp_path, numbers((10, 14, 25)))
    plan = plan_of(stack)
    with LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        address = cluster.scheduler_address
        for _ in range(2):  # the workers live on while the store is made again
            *_, last = run(plan, tmp_path / "a.zarr", scheduler=address, overwrite=True)
            assert last.phase == "complete"
            assert list(verify(tmp_path / "a.zarr")) == []
    assert np.array_equal(open_result(tmp_path / "a.zarr").levels[0][:], stack.data.compute())


def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    from napari_deblur import connecting

    monkeypatch.setattr(connecting, "PATIENCE", 0.5)
    plan = plan_of(on_disk(tmp_path, numbers((10, 14, 25))))
    with pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        list(run(plan, tmp_path / "a.zarr", scheduler="tcp://127.0.0.1:9"))
    assert logging.getLogger("distributed.client").level < logging.CRITICAL


def test_a_script_without_a_guard_gets_one_sentence(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from by_hand import small\n"
        "from napari_deblur.batch import run\n"
        "plan, stack = small()\n"
        f"list(run(plan, {str(tmp_path / 'a.zarr')!r}, stack, workers=2))\n"
    )
    path = os.pathsep.join([str(SRC), os.path.dirname(__file__)])
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1
    assert done.stderr.count('if __name__ == "__main__":') == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: worker processes import")


def test_workers_that_cannot_say_what_memory_is_free_are_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(cluster, "free_memory", lambda: 1 / 0)
    with local_workers(1) as address, pytest.raises(ConnectionError, match="what memory is free"):
        cluster.memories(address)
