import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from by_hand import SRC, small
from napari_deblur import claims
from napari_deblur.batch import RunStopped, run
from napari_deblur.claims import ALL, FINISH, PLAN, Claimed, refuse, take
from napari_deblur.store import open_result
from napari_deblur.verifying import verify

HOLDER = """
import sys, time
from pathlib import Path
from napari_deblur import claims
claims.take(Path(sys.argv[1]), "k", sys.argv[2])
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.zarr/ledger"


def elsewhere(folder, what=ALL, *, key="k", seconds=0.0, **changed):
    """Write the claim of a process on another machine, last touched some seconds ago."""
    claim = take(folder, key, what)
    (file,) = folder.glob("*.claim")
    first, rest = file.read_text().split("\n", 1)
    file.write_text(f"{json.dumps(json.loads(first) | changed)}\n{rest}")
    now = file.stat().st_mtime
    other = file.rename(file.with_name("other.claim"))
    claim.release()
    os.utime(other, (now - seconds, now - seconds))
    return other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/3", "2/3"),  # parts of one plan
        ("1/3", FINISH),  # which looks by itself whether tiles are missing
        (ALL, PLAN),  # a plan that nobody waits for any more
    ],
)
def test_what_goes_together_may_be_claimed_at_once(folder, one, other):
    with take(folder, "k", one), take(folder, "k", other):
        assert len(list(folder.glob("*.claim"))) == 2


@pytest.mark.parametrize(
    ("one", "other", "key", "said"),
    [
        ("1/3", "1/3", "k", r"part 1/3 of .*a\.zarr is going on .*: wait until it has ended"),
        ("1/3", "1/2", "k", "in parts of another number: 1/3 by .*, and this would be 1/2"),
        ("1/3", ALL, "k", "part 1/3 of .* is going on"),
        (ALL, "1/3", "k", "a run of .* is going on"),
        (ALL, FINISH, "k", "a run of .* is going on"),
        (FINISH, FINISH, "k", "the finishing of .* is going on"),
        (PLAN, PLAN, "", "a search for its plan"),
        ("1/3", "2/3", "other", "written by part 1/3 of another plan .*choose another output"),
        (ALL, ALL, "other", "written by a run of another plan"),
    ],
)
def test_what_would_meet_is_refused_in_one_sentence(folder, one, other, key, said):
    with take(folder, "" if one == PLAN else "k", one):
        with pytest.raises(Claimed, match=said) as caught:
            take(folder, key, other)
        assert "\n" not in str(caught.value)
        assert len(list(folder.glob("*"))) == 1
    take(folder, key, other).release()


def test_nothing_is_left_of_a_claim_on_a_place_where_nothing_was(tmp_path, folder):
    with take(folder, "", PLAN):
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
    folder.parent.mkdir()
    take(folder, "", PLAN).release()
    assert list(tmp_path.rglob("*")) == [folder.parent]


def test_a_claim_of_another_machine_holds_until_it_gave_no_sign_for_a_minute(folder):
    elsewhere(folder, machine="moon", host="moon", pid=12, seconds=claims.EXPIRES - 20)
    with pytest.raises(Claimed, match="process 12 on moon, or dead for less than 60 s"):
        take(folder, "k", "1/2")
    with pytest.raises(Claimed, match="moon"):
        refuse(folder, "1/2")
    (file,) = folder.glob("*.claim")
    old = file.stat().st_mtime - 30
    os.utime(file, (old, old))
    refuse(folder, "1/2")
    take(folder, "k", "1/2").release()
    assert not list(folder.parent.rglob("*.claim"))


def test_a_number_that_another_process_has_by_now_holds_nothing(folder):
    elsewhere(folder, started=1.0)  # our own number, but we did not start then
    take(folder, "k", ALL).release()


def test_what_cannot_be_read_counts_until_it_expires(folder):
    file = elsewhere(folder)
    file.write_text('{"key": ')
    with pytest.raises(Claimed):
        take(folder, "k", "1/2")
    os.utime(file, (1, 1))
    take(folder, "k", "1/2").release()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_process_holds_nothing_on_its_own_machine(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, "1/2"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(SRC)},
    )
    holder.stdout.readline()
    with pytest.raises(Claimed, match=rf"part 1/2 of .* is going on \(process {holder.pid}\)"):
        take(folder, "k", "1/2")
    os.kill(holder.pid, signal.SIGKILL)
    while psutil_status(holder.pid) != "zombie":  # nobody has asked how it ended
        time.sleep(0.01)
    take(folder, "k", "1/2").release()
    holder.wait()
    holder.stdout.close()


def psutil_status(pid):
    import psutil

    return psutil.Process(pid).status()


def test_of_many_that_ask_at_once_one_gets_it(folder):
    def ask(_):
        with suppress(Claimed):
            return take(folder, "k", ALL)
        return None

    with ThreadPoolExecutor(8) as pool:
        (claim,) = filter(None, pool.map(ask, range(8)))
    assert len(list(folder.glob("*"))) == 1
    claim.release()


def test_a_claim_is_touched_while_its_process_lives(folder, monkeypatch):
    monkeypatch.setattr(claims, "EVERY", 0.01)
    with take(folder, "k", ALL) as claim:
        (file,) = folder.glob("*.claim")
        os.utime(file, (1, 1))
        while file.stat().st_mtime < 100:
            time.sleep(0.01)
        file.unlink()  # as one does who takes it for dead
        while not claim.lost:
            time.sleep(0.01)


def test_a_run_that_lost_its_claim_stops_and_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "EVERY", 0.01)
    plan, stack = small()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    next(progress)
    for file in path.rglob("*.claim"):
        file.unlink()
    while any(thread.name == "napari-deblur-claim" for thread in threading.enumerate()):
        time.sleep(0.01)  # it ends when it has seen that
    with pytest.raises(RunStopped, match="another one took it for dead"):
        list(progress)
    assert list(run(plan, path, stack))[-1].phase == "complete"


def test_a_claim_is_no_damage_and_goes_with_the_run(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < 3:
        pass
    assert {finding.kind for finding in verify(path)} == {"incomplete"}
    progress.close()
    assert not list(path.rglob("*.claim"))


def test_overwriting_is_refused_too_and_removes_nothing(tmp_path):
    plan, stack = small()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack)
    while next(progress).done < 3:
        pass
    with pytest.raises(Claimed):
        run(plan, path, stack, overwrite=True)
    assert list(progress)[-1].phase == "complete"
    before = open_result(path).levels[0][:].tobytes()
    *_, last = run(plan, path, stack, overwrite=True)
    assert last.phase == "complete"
    assert open_result(path).levels[0][:].tobytes() == before
    assert list(verify(path)) == []
