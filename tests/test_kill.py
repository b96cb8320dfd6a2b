"""SIGKILL at any moment, start again until it is done: the same bytes as without."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from by_hand import numbers, plan_of, stack_of, third_party, tree_hash  # noqa: F401
from napari_deblur.batch import run
from napari_deblur.store import open_result
from napari_deblur.verifying import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

# A server that has imported everything forks one run after the other: what is killed is the run,
# not two seconds of imports. (One process, no threads: forking is safe here.)
CHILD = """
import os, sys
from by_hand import *
import torch, zarr, napari_deblur.batch, napari_deblur.opening, third_party
from napari_deblur import batch
torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            from test_kill import example
            plan, stack = example(third_party, joined="joined" in line)
            *_, last = batch.run(plan, line.strip(), stack)
            status = 0 if last.phase == "complete" else 2
        finally:
            os._exit(status)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def example(methods, *, joined=False):
    stack = stack_of(numbers((6, 300, 280)), pixel_size=(0.3, 0.1, 0.1))
    plan = plan_of(stack, core=(3, 110, 100), method=methods.Slow(seconds=0.004))
    return replace(plan, shard=(1, 1, 2, 2, 2)) if joined else plan, stack


@pytest.fixture
def server(third_party):  # noqa: F811
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def start(server, path):
    server.stdin.write(f"{path}\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def ended(server):
    return int(server.stdout.readline())


@pytest.mark.parametrize(("kind", "times"), [("apart", 20), ("joined", 8)])
def test_a_run_killed_often_leaves_the_same_bytes(tmp_path, third_party, server, kind, times):  # noqa: F811
    plan, stack = example(third_party, joined=kind == "joined")
    tmp_path /= kind
    tmp_path.mkdir()
    whole = tmp_path / "whole.zarr"
    start(server, whole)
    begun = time.monotonic()
    assert ended(server) == 0
    duration = time.monotonic() - begun
    expected = tree_hash(whole)
    chance, kills, rounds = random.Random(20), 0, 0
    while kills < times:
        path = tmp_path / f"{rounds}.zarr"
        rounds += 1
        for _ in range(100):
            pid = start(server, path)
            time.sleep(chance.uniform(0, 0.6 * duration))
            with suppress(ProcessLookupError):  # it was faster
                os.kill(pid, signal.SIGKILL)
            status = ended(server)
            kills += status == -signal.SIGKILL
            if status == 0:
                break
        else:
            start(server, path)
            assert ended(server) == 0
        assert tree_hash(path) == expected
        assert list(verify(path)) == []
        assert np.array_equal(open_result(path).levels[0][:], 2 * stack.data.compute())
    assert list(run(plan, path, stack))[-1].note == "it was complete already"


def test_what_is_killed_when_all_was_done_leaves_nothing_behind(tmp_path, third_party):  # noqa: F811
    plan, stack = example(third_party)
    list(run(plan, tmp_path / "a.zarr", stack))
    expected = tree_hash(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "ledger" / "0_all_1.claim.2.partial").write_bytes(b"{")
    assert list(run(plan, tmp_path / "a.zarr", stack))[-1].note == "it was complete already"
    assert tree_hash(tmp_path / "a.zarr") == expected


def test_of_three_runs_of_one_plan_those_that_came_late_are_refused(tmp_path, third_party):  # noqa: F811
    script = """
import sys
from by_hand import *
import third_party
from test_kill import example
from napari_deblur.batch import Claimed, run
plan, stack = example(third_party)
try:
    assert list(run(plan, sys.argv[1], stack))[-1].phase == "complete"
except Claimed:
    sys.exit(9)
"""
    path = tmp_path / "a.zarr"
    runs = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(3)]
    ends = {process.wait(120) for process in runs}
    assert 0 in ends  # more than one where the others came when it was complete already
    assert ends <= {0, 9}
    plan, stack = example(third_party)
    list(run(plan, tmp_path / "whole.zarr", stack))
    assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
    assert list(verify(path)) == []
