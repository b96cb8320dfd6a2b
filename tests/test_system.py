import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from by_hand import SRC
from napari_deblur import system


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "zarr.json"
    system.write_atomically(file, b"one")

    def full(path):
        raise OSError("no space")

    monkeypatch.setattr(system, "sync_file", full)
    with pytest.raises(OSError, match="no space"):
        system.write_atomically(file, b"two")
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]


def test_a_half_written_file_that_is_swept_up_is_written_again(tmp_path, monkeypatch):
    sync, swept = system.sync_file, []

    def sweep_once(path):
        sync(path)
        if not swept:
            swept.append(path.unlink())

    monkeypatch.setattr(system, "sync_file", sweep_once)
    system.write_atomically(tmp_path / "zarr.json", b"one")
    assert [f.read_bytes() for f in tmp_path.iterdir()] == [b"one"]
    with pytest.raises(FileNotFoundError):
        system.write_atomically(tmp_path / "none" / "zarr.json", b"one")


def test_numbers_of_the_machine_are_plausible(tmp_path):
    assert 1 <= system.cores() <= (os.cpu_count() or 1)
    assert system.available_memory() > 1 << 20
    assert system.free_disk(tmp_path / "not" / "there") > 0
    assert system.cpu_kind()


@pytest.mark.skipif(sys.platform == "win32", reason="raise_signal ends the process there")
def test_sigterm_stops_like_ctrl_c_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), system.stopping_on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_are_left_alone_outside_the_main_thread():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with system.stopping_on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_links_out_of_a_folder_are_found(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "a").touch()
    (inside / "own").symlink_to(inside / "a")
    (inside / "away").symlink_to(outside)
    (inside / "up").symlink_to("../out/x")
    assert {p.name for p in system.links_out_of(inside)} == {"away", "up"}


CALL = "from napari_deblur.system import refuse_unguarded_script as check\n"


@pytest.mark.parametrize(
    ("script", "refused"),
    [
        ("check()", True),
        ("if __name__ == '__main__':\n    check()", False),
        ("def main():\n    check()\nif __name__ == '__main__':\n    main()", False),
        ("if __name__ == '__main__':\n    pass\ncheck()", True),
        ("def main():\n    check()\nmain()", True),
        ("list(map(lambda _: check(), [1]))", True),
        ("import threading\nt = threading.Thread(target=check)\nt.start()\nt.join()", False),
    ],
)
def test_a_script_must_guard_what_starts_processes(tmp_path, script, refused):
    file = tmp_path / "script.py"
    file.write_text(f"{CALL}{script}\n")
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, env=env)
    assert (done.returncode != 0) == refused
    assert ('below `if __name__ == "__main__":`' in done.stderr) == refused
    piped = subprocess.run(
        [sys.executable, "-"], input=f"{CALL}check()", capture_output=True, text=True, env=env
    )
    assert piped.returncode == 0  # nothing is imported again


@pytest.mark.skipif(sys.platform == "win32", reason="there they hear it")
def test_ctrl_c_is_held_while_processes_start_which_never_hear_it():
    said, code = [], "import signal; print(signal.SIGINT in signal.pthread_sigmask(0, []))"
    end = threading.Event()
    threading.Thread(target=end.wait).start()  # to which the system may give the signal
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes when the block has ended
        with system.ctrl_c_held():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            said.append(done.stdout.strip())
        said.append("goes on")
    end.set()
    assert said == ["True"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
