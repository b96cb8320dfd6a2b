"""Places that fail: a full disk, one that becomes read-only, an input that goes, no permission."""

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
import zarr

from by_hand import numbers, plan_of, stack_of, tree_hash
from napari_deblur.batch import RunStopped, run
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result
from napari_deblur.store import Store
from napari_deblur.verifying import verify

pytestmark = pytest.mark.soak
NOBODY = 65534
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="mounting a disk and being somebody else need root",
)


@contextmanager
def disk(tmp_path, size):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        subprocess.run(["umount", str(place)], check=True)


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def interrupted(progress, accident):
    """Let something happen after 5 tiles."""
    for step in progress:
        if step.phase == "tiles" and step.done == 5:
            accident()


def goes_on(plan, path, stack, whole):
    """Resume from what was complete; the end is that of an undisturbed run."""
    done = len(Store(path, plan).done().tiles)
    assert 0 < done < len(plan)
    first, *_, last = run(plan, path, stack)
    assert (first.done, last.phase) == (done, "complete")
    list(run(plan, whole, stack))
    assert tree_hash(path) == tree_hash(whole)
    assert list(verify(path)) == []
    return done


@root_only
def test_a_disk_of_20_mb_that_is_full(tmp_path):
    random = np.random.default_rng(0)
    stack = stack_of(random.random((16, 640, 640)).astype(np.float32))  # 26 MB, incompressible
    plan = plan_of(stack, core=(16, 80, 80))
    with disk(tmp_path, "20m") as place:
        with pytest.raises(RunStopped, match="free some space, then run the same again") as caught:
            list(run(plan, place / "a.zarr", stack))
        assert list(place.rglob("*.partial")) == []
        remount(place, "size=60m")
        done = goes_on(plan, place / "a.zarr", stack, tmp_path / "whole.zarr")
    print(f"{done} of {len(plan)} tiles kept; said: {caught.value}")


@contextmanager
def quota(tmp_path, size):
    """A file system of 256 MB on which a quota allows less; give it, and what lifts the quota."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("a real quota needs btrfs-progs")
    place, image = tmp_path / "quota", tmp_path / "quota.img"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(2**28)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(place)]).returncode:
        pytest.skip("mounting is not allowed here")

    def limit(size):
        subprocess.run(["btrfs", "qgroup", "limit", size, str(place)], check=True)

    try:
        subprocess.run(["btrfs", "quota", "enable", str(place)], check=True)
        limit(size)
        yield place, limit
    finally:
        subprocess.run(["umount", str(place)], check=True)


@root_only
def test_a_quota_of_20_mb_that_is_used_up(tmp_path):
    random = np.random.default_rng(0)
    stack = stack_of(random.random((16, 640, 640)).astype(np.float32))  # 26 MB, incompressible
    plan = plan_of(stack, core=(16, 80, 80))
    with quota(tmp_path, "20M") as (place, limit):
        with pytest.raises(RunStopped, match="free some of your quota, then run") as caught:
            list(run(plan, place / "a.zarr", stack))
        assert caught.value.errno == errno.EDQUOT
        assert list(place.rglob("*.partial")) == []
        limit("none")
        done = goes_on(plan, place / "a.zarr", stack, tmp_path / "whole.zarr")
    print(f"{done} of {len(plan)} tiles kept; said: {caught.value}")


@root_only
def test_a_target_that_becomes_read_only(tmp_path):
    stack = stack_of(numbers((8, 80, 80)))
    plan = plan_of(stack, core=(8, 20, 20))
    with disk(tmp_path, "20m") as place:
        with pytest.raises(RunStopped, match="make it writable, then run") as caught:
            interrupted(run(plan, place / "a.zarr", stack), lambda: remount(place, "ro"))
        remount(place, "rw")
        # Nobody could remove the claim of this process, which lives on; a dead one's is ignored.
        for claim in (place / "a.zarr").rglob("*.claim"):
            claim.unlink()
        done = goes_on(plan, place / "a.zarr", stack, tmp_path / "whole.zarr")
    print(f"{done} of {len(plan)} tiles kept; said: {caught.value}")


@pytest.mark.parametrize("kind", ["zarr", "tiff", "tiff-zlib"])
def test_an_input_that_vanishes_and_comes_back(tmp_path, kind):
    path = tmp_path / "raw"
    if kind == "zarr":
        zarr.create_array(path, data=numbers((6, 40, 40)), chunks=(6, 20, 20))
    else:
        how = {"compression": "zlib"} if kind == "tiff-zlib" else {}
        tifffile.imwrite(path, numbers((6, 40, 40)), metadata={"axes": "ZYX"}, **how)
    plan = plan_of(open_stack(path, "zyx"), core=(6, 10, 10))
    progress = run(plan, tmp_path / "a.zarr")
    if kind == "tiff-zlib":  # an open file stays, whatever its name
        interrupted(progress, lambda: path.rename(tmp_path / "gone"))
        assert open_result(tmp_path / "a.zarr").complete
        return
    with pytest.raises(RunStopped, match="is no longer there; put it back") as caught:
        interrupted(progress, lambda: path.rename(tmp_path / "gone"))
    print(f"said: {caught.value}")
    assert "\n" not in str(caught.value)
    assert not open_result(tmp_path / "a.zarr").failed
    (tmp_path / "gone").rename(path)
    goes_on(plan, tmp_path / "a.zarr", None, tmp_path / "whole.zarr")


@contextmanager
def nobody():
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def forbid(file):
    os.seteuid(0)
    file.chmod(0o600)
    os.seteuid(NOBODY)


@root_only
def test_no_permission_to_read_or_write(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    tifffile.imwrite(tmp_path / "a.tif", numbers((6, 40, 40)), metadata={"axes": "ZYX"})
    stack = open_stack(tmp_path / "a.tif")
    plan = plan_of(stack, core=(6, 10, 10))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with nobody(), pytest.raises(OSError, match=r"a\.zarr") as caught:
        list(run(plan, theirs / "a.zarr"))
    print(f"writing: {caught.value}")
    assert "\n" not in str(caught.value)
    (tmp_path / "a.tif").chmod(0o600)
    with nobody(), pytest.raises(OSError, match=r"a\.tif") as caught:
        open_stack(tmp_path / "a.tif")
    print(f"reading: {caught.value}")
    # In the middle of a run, by the one who may write but no longer read.
    shutil.copy(tmp_path / "a.tif", tmp_path / "b.tif")
    plan = plan_of(open_stack(tmp_path / "b.tif"), core=(6, 10, 10))
    (tmp_path / "b.tif").chmod(0o644)
    theirs.chmod(0o777)
    with nobody():
        with pytest.raises(RunStopped) as caught:
            interrupted(run(plan, theirs / "b.zarr"), lambda: forbid(tmp_path / "b.tif"))
        print(f"reading, later: {caught.value}")
        assert 0 < len(Store(theirs / "b.zarr", plan).done().tiles) < len(plan)
