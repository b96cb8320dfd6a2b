"""SIGKILL at 100 random moments: the same bytes, and no tile twice but those in flight."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from by_hand import third_party, tree_hash  # noqa: F401
from napari_deblur.ledger import entries
from napari_deblur.verifying import verify
from test_kill import CHILD, ended, example, start

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows"),
]

KILLS = 100
IN_FLIGHT = 3  # one being read, one restored, one written
# As in the small test, and each tile that is begun leaves a byte in a file beside the store.
COUNTING = """
from test_kill import example as uncounted
def example(methods, **how):
    whole = methods.Slow.__call__
    def counted(self, tile, blur):
        mark = os.open(os.environ["BEGUN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(mark, b".")
        os.close(mark)
        return whole(self, tile, blur)
    methods.Slow.__call__ = counted
    return uncounted(methods, **how)
"""


@pytest.fixture
def begun(tmp_path):
    return tmp_path / "begun"


@pytest.fixture
def server(third_party, begun):  # noqa: F811
    code = CHILD.replace("for line in sys.stdin:", COUNTING + "for line in sys.stdin:")
    code = code.replace("from test_kill import example\n", "pass\n")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BEGUN": str(begun)},
    ) as process:
        yield process
        process.stdin.close()


def test_100_kills_leave_the_same_bytes_and_repeat_only_what_was_in_flight(
    tmp_path,
    third_party,  # noqa: F811
    server,
    begun,
):
    plan, _ = example(third_party)
    whole = tmp_path / "whole.zarr"
    start(server, whole)
    moment = time.monotonic()
    assert ended(server) == 0
    duration = time.monotonic() - moment
    expected = tree_hash(whole)
    chance, kills, rounds, again = random.Random(100), 0, 0, 0
    while kills < KILLS:
        path, before = tmp_path / f"{rounds}.zarr", kills
        rounds += 1
        begun.unlink()
        while True:
            pid = start(server, path)
            time.sleep(chance.uniform(0, 0.6 * duration))
            with suppress(ProcessLookupError):  # it was faster
                os.kill(pid, signal.SIGKILL)
            status = ended(server)
            kills += status == -signal.SIGKILL
            if status == 0:
                break
            assert kills - before < 60, "the runs don't get on"
        assert tree_hash(path) == expected
        assert list(verify(path)) == []
        noted = Counter(e.index for e in entries(path / "ledger") if e.kind == "tile")
        assert set(noted.values()) == {1}
        repeated = begun.stat().st_size - len(plan)
        assert 0 <= repeated <= IN_FLIGHT * (kills - before)
        again += repeated
    print(f"{kills} kills in {rounds} runs of {len(plan)} tiles: {again} tiles were begun again")
