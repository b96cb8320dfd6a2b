import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from buckets import running, server  # noqa: F401
from by_hand import SRC, five_axes, small
from napari_deblur import claims, system
from napari_deblur.batch import RunStopped, run
from napari_deblur.claims import ALL, FINISH, PLAN, Claimed, refuse, take
from napari_deblur.places import place_of
from napari_deblur.store import open_result
from napari_deblur.verifying import verify

HOLDER = """
import sys, time
from napari_deblur import claims, places
claims.take(places.place_of(sys.argv[1]), "k", sys.argv[2])
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.zarr/ledger"


@pytest.fixture(params=["folder", "bucket"])
def anywhere(request, folder):
    if request.param == "folder":
        return folder
    request.getfixturevalue("server")
    return place_of("s3://cells/a.zarr/ledger")


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
def test_what_goes_together_may_be_claimed_at_once(anywhere, one, other):
    with take(anywhere, "k", one), take(anywhere, "k", other):
        assert len(list(anywhere.glob("*.claim"))) == 2


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
def test_what_would_meet_is_refused_in_one_sentence(anywhere, one, other, key, said):
    with take(anywhere, "" if one == PLAN else "k", one):
        with pytest.raises(Claimed, match=said) as caught:
            take(anywhere, key, other)
        assert "\n" not in str(caught.value)
        assert len(list(anywhere.glob("*"))) == 1
    take(anywhere, key, other).release()


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


def test_a_number_that_we_have_by_now_holds_nothing(folder):
    elsewhere(folder, started=1.0)  # who held it before gave no sign, or this process left it
    take(folder, "k", ALL).release()


def claim_of_our_parent(folder, seconds, **changed):
    started = psutil.Process(os.getppid()).create_time()
    elsewhere(folder, pid=os.getppid(), seconds=seconds, **({"started": started} | changed))


@pytest.mark.parametrize("what", ["a clock that was set", "a system that hides processes"])
@pytest.mark.parametrize("seconds", [claims.EXPIRES - 20, claims.EXPIRES + 20])
def test_who_gives_signs_is_not_taken_for_dead(folder, monkeypatch, what, seconds):
    def hidden(pid):
        raise psutil.NoSuchProcess(pid)

    if what == "a clock that was set":
        began = psutil.Process(os.getppid()).create_time()
        claim_of_our_parent(folder, seconds, started=began - 3600)
    else:
        claim_of_our_parent(folder, seconds)
        monkeypatch.setattr(psutil, "Process", hidden)
    if seconds < claims.EXPIRES:
        with pytest.raises(Claimed, match=f"process {os.getppid()}"):
            take(folder, "k", ALL)
    else:
        take(folder, "k", ALL).release()


def test_who_lives_and_was_stopped_for_long_is_not_taken_for_dead(folder):
    claim_of_our_parent(folder, 10 * claims.EXPIRES)
    with pytest.raises(Claimed):
        take(folder, "k", ALL)


def test_who_has_ended_holds_nothing_though_it_gave_a_sign_just_now(folder):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    elsewhere(folder, pid=ended.pid)
    take(folder, "k", ALL).release()


def test_what_cannot_be_read_counts_until_it_expires(folder):
    file = elsewhere(folder)
    file.write_text('{"key": ')
    with pytest.raises(Claimed):
        take(folder, "k", "1/2")
    os.utime(file, (1, 1))
    take(folder, "k", "1/2").release()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_process_holds_nothing_on_its_own_machine(anywhere):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(anywhere), "1/2"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(SRC)},
    )
    holder.stdout.readline()
    with pytest.raises(Claimed, match=rf"part 1/2 of .* is going on \(process {holder.pid}\)"):
        take(anywhere, "k", "1/2")
    os.kill(holder.pid, signal.SIGKILL)
    while psutil.Process(holder.pid).status() != "zombie":  # nobody has asked how it ended
        time.sleep(0.01)
    take(anywhere, "k", "1/2").release()
    holder.wait()
    holder.stdout.close()


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


def test_a_sign_of_life_has_the_time_of_the_place_whatever_this_machine_believes(
    folder, monkeypatch
):
    monkeypatch.setattr(claims, "EVERY", 0.01)
    utime = os.utime
    with take(folder, "k", ALL):
        (file,) = folder.glob("*.claim")
        # Windows, and some network drives, set the time of the machine that asks.
        monkeypatch.setattr(os, "utime", lambda path: utime(path, (2, 2)))
        utime(file, (1, 1))
        while file.stat().st_mtime < 100:
            assert file.stat().st_mtime != 2
            time.sleep(0.01)


def stubborn(monkeypatch, name):
    """Let a file be open in another program, as Windows sees it, for three tries of each path."""
    whole, tries = getattr(Path, name), Counter()

    def refused(self, *args, **kwargs):
        tries[self] += 1
        if tries[self] <= 3 and self.suffix in (".claim", ".partial"):
            raise PermissionError(errno.EACCES, "it is used by another process", str(self))
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(Path, name, refused)
    monkeypatch.setattr(system, "SHARES", False)
    monkeypatch.setattr(system, "PAUSES", (0.001,) * 4)


@pytest.mark.parametrize("name", ["read_text", "replace", "unlink"])
def test_a_file_that_another_program_has_open_is_tried_again(folder, monkeypatch, name):
    stubborn(monkeypatch, name)
    with take(folder, "k", "1/2"):
        take(folder, "k", "2/2").release()
        with pytest.raises(Claimed):
            take(folder, "k", ALL)
    take(folder, "k", ALL).release()
    assert not folder.exists()


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


@pytest.mark.parametrize("part", [None, (1, 1)])
def test_a_run_that_lost_its_claim_writes_no_pyramid_and_no_complete(tmp_path, monkeypatch, part):
    monkeypatch.setattr(claims, "EVERY", 0.01)
    plan, stack = five_axes()
    path = tmp_path / "a.zarr"
    progress = run(plan, path, stack, part=part)
    while next(progress).phase != "pyramid":
        pass
    mine = [one for one in threading.enumerate() if one.name == "napari-deblur-claim"]
    for file in path.rglob("*.claim"):
        file.unlink()
    for thread in mine:
        thread.join()
    with pytest.raises(RunStopped, match="another one took it for dead"):
        list(progress)
    assert not open_result(path).complete
    assert list(run(plan, path, stack))[-1].phase == "complete"


def test_a_claim_is_no_damage_and_goes_with_the_run(anywhere):
    plan, stack = small()
    path = anywhere.parent
    progress = run(plan, path, stack)
    while next(progress).done < 3:
        pass
    assert {finding.kind for finding in verify(path)} == {"incomplete"}
    progress.close()
    assert not list(path.rglob("*.claim"))


def test_overwriting_is_refused_too_and_removes_nothing(anywhere):
    plan, stack = small()
    path = anywhere.parent
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


@pytest.fixture
def bucket(server):  # noqa: F811
    return place_of("s3://cells/a.zarr/ledger")


def foreign(bucket, **changed):
    """Put the claim of another process there."""
    said = json.loads(claims._Owner.here("k", "1/2").line()) | changed
    other = bucket / "other.claim"
    other.write_bytes(f"{json.dumps(said)}\n{claims.HELD}".encode())
    return other


def test_an_object_of_another_machine_holds_until_the_servers_clock_says_so(bucket, monkeypatch):
    other = foreign(bucket, what=ALL, machine="moon", host="moon", pid=12)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock is not asked
    with pytest.raises(Claimed, match="process 12 on moon, or dead for less than 60 s"):
        take(bucket, "k", "1/2")
    with pytest.raises(Claimed, match="process 12 on moon"):
        refuse(bucket, "1/2")
    monkeypatch.setattr(claims, "EXPIRES", 0.0)
    refuse(bucket, "1/2")
    assert not other.is_file()
    foreign(bucket, what=ALL, machine="moon")
    take(bucket, "k", "1/2").release()
    assert list(bucket.rglob("*")) == []


def test_of_hundreds_of_parts_only_what_is_in_the_way_is_read(bucket, server):  # noqa: F811
    key = "0123456789abcdef" * 4

    def part(number, **changed):
        said = claims._Owner(key, f"{number}/400", "moon", "moon", 12)
        (bucket / said.name()).write_bytes(said.line() + claims.HELD.encode())

    for number in range(1, 101):
        part(number)
    server.requests.clear()
    refuse(bucket, "200/400")
    assert server.requests == {"LIST": 1}
    server.requests.clear()
    claim = take(bucket, key, "200/400")
    assert server.requests == {"PUT": 2, "LIST": 1}
    claim.release()
    part(200)
    server.requests.clear()
    with pytest.raises(Claimed, match=r"part 200/400 of .* is going on"):
        take(bucket, key, "200/400")
    assert server.requests["GET"] == 1
    with pytest.raises(Claimed, match="another number"):
        take(bucket, key, "1/200")


@pytest.mark.parametrize("what", [ALL, PLAN, FINISH, "1/3", "2/3", "1/2"])
@pytest.mark.parametrize("key", ["", "0123456789abcdef" * 4, "fedcba9876543210" * 4])
def test_the_name_of_a_claim_tells_whether_it_is_in_the_way(what, key):
    me = claims._Owner("0123456789abcdef" * 4, "1/3")
    for mine in (me, claims._Owner("", PLAN), claims._Owner("", ALL)):
        other = claims._Owner(key, what)
        assert mine.may_collide_with(other.name()) == mine.collides_with(other)
    assert me.may_collide_with("some.claim")


def test_a_claim_gives_signs_while_the_others_are_looked_at(folder, monkeypatch):
    monkeypatch.setattr(claims, "EVERY", 0.01)
    look, signs = claims._rivals, []

    def slow(*args, but=None):
        os.utime(but, (1, 1))
        for _ in range(500):
            time.sleep(0.01)
            if but.stat().st_mtime > 100:
                signs.append(True)
                break
        return look(*args, but=but)

    monkeypatch.setattr(claims, "_rivals", slow)
    take(folder, "k", "1/2").release()
    assert signs


def test_an_object_is_written_again_while_its_process_lives(bucket, server, monkeypatch):  # noqa: F811
    monkeypatch.setattr(claims, "EVERY", 0.01)
    with take(bucket, "k", ALL) as claim:
        (file,) = bucket.glob("*.claim")
        before, content = server.requests["PUT"], file.read_bytes()
        while server.requests["PUT"] < before + 3:
            time.sleep(0.01)
        assert file.read_bytes() == content
        file.unlink()  # as one does who takes it for dead
        while not claim.lost:
            time.sleep(0.01)
    assert list(bucket.rglob("*")) == []


def test_an_object_that_came_back_after_a_long_silence_is_lost(bucket, monkeypatch):
    """It was deleted between being read and being written again: nobody can see that from it."""
    monkeypatch.setattr(claims, "EVERY", 0.01)
    with take(bucket, "k", "1/2") as claim:
        parent = os.getppid()
        foreign(bucket, pid=parent, started=psutil.Process(parent).create_time())
        time.sleep(0.2)
        assert not claim.lost  # it gave signs all the time, so who else came will give way
        monkeypatch.setattr(claims, "EXPIRES", -1.0)
        while not claim.lost:
            time.sleep(0.01)


def test_a_run_into_a_bucket_that_lost_its_claim_stops_and_can_go_on(bucket, monkeypatch):
    monkeypatch.setattr(claims, "EVERY", 0.01)
    plan, stack = small()
    progress = run(plan, str(bucket.parent), stack)
    next(progress)
    (thread,) = (one for one in threading.enumerate() if one.name == "napari-deblur-claim")
    while thread.is_alive():
        for file in bucket.glob("*.claim"):
            file.unlink()
    with pytest.raises(RunStopped, match=r"writes s3://cells/a\.zarr now"):
        list(progress)
    assert list(run(plan, str(bucket.parent), stack))[-1].phase == "complete"
    assert not list(bucket.glob("*.claim"))


def test_machines_of_one_name_are_told_apart_where_nothing_else_tells(monkeypatch):
    def none(self, *_, **__):
        raise FileNotFoundError(errno.ENOENT, "no such file", str(self))

    names = set()
    monkeypatch.setattr(Path, "read_text", none)
    for number in (1, 2, 1):
        claims._machine.cache_clear()
        monkeypatch.setattr(claims.uuid, "getnode", lambda number=number: number)
        names.add(claims._machine())
    claims._machine.cache_clear()
    assert len(names) == 2


@pytest.mark.parametrize("code", ["EROFS", "EACCES", "EPERM"])
def test_where_nobody_may_write_nothing_is_in_the_way_of_looking(folder, monkeypatch, code):
    def refused(_):
        raise OSError(getattr(errno, code), code)

    elsewhere(folder, machine="moon", host="moon")
    with pytest.raises(Claimed, match="moon"):
        refuse(folder, ALL)
    monkeypatch.setattr(claims.places, "clock", refused)
    refuse(folder, ALL)
