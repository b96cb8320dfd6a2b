"""A result that is overwritten or removed at any moment while an old run writes there."""

import shutil
from contextlib import suppress
from dataclasses import replace

import pytest

from by_hand import Writer, plan_of, third_party, tree_hash, two_tiles  # noqa: F401
from napari_deblur.batch import run
from napari_deblur.verifying import verify

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("joined", [False, True])
def test_what_is_overwritten_at_any_moment_has_no_byte_of_the_old_run(
    tmp_path,
    third_party,  # noqa: F811
    after,
    joined,
):
    old, stack = two_tiles(third_party, joined=joined)
    new = replace(plan_of(stack, method=third_party.Broken()), shard=old.shard)
    list(run(new, tmp_path / "whole.zarr", stack))
    for number in range(1, 100):
        path = tmp_path / f"{number}.zarr"
        writer = Writer(path, old, stack)
        reached = writer.looks(number, lambda old=writer: old.overwritten(new), after=after)
        with suppress(OSError):
            writer.write_all()
        if not reached:
            break
        assert tree_hash(path) == tree_hash(tmp_path / "whole.zarr")
        assert list(verify(path)) == []
    writer.claim.release()
    print(f"overwritten at each of {number - 1} looks at the claim")
    assert number > (13 if joined else 9)


@pytest.mark.parametrize("after", [False, True])
def test_what_is_removed_at_any_moment_is_not_made_again(tmp_path, third_party, after):  # noqa: F811
    plan, stack = two_tiles(third_party, joined=True)
    for number in range(1, 100):
        path = tmp_path / f"{number}.zarr"
        writer = Writer(path, plan, stack)
        reached = writer.looks(number, lambda path=path: shutil.rmtree(path), after=after)
        with suppress(OSError):
            writer.write_all()
        writer.claim.release()
        if not reached:
            break
        assert not path.exists()
    print(f"removed at each of {number - 1} looks at the claim")
    assert number > 13
