"""What `pip install napari-deblur` brings, and under which licences."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from napari_deblur.data import sample_path

ROOT = Path(__file__).parents[1]
WINDOWS = {"napari", "qtpy", "pyqt5", "pyqt6", "pyside2", "pyside6", "magicgui", "superqt", "vispy"}
GPL = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)


def _needed(requirements: Iterable[str], extra: str = "") -> dict[str, Requirement]:
    """Walk the installed requirements down to the leaves."""
    found: dict[str, Requirement] = {}
    todo = [(Requirement(text), extra) for text in requirements]
    while todo:
        requirement, wanted = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
            continue
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras - found[name].extras:
            continue
        found[name] = requirement
        try:
            lower = distribution(name).requires or []
        except PackageNotFoundError:  # of another platform
            continue
        todo += [(Requirement(text), e) for text in lower for e in ("", *requirement.extras)]
    return found


@pytest.fixture(scope="module")
def base() -> dict[str, Requirement]:
    return _needed(distribution("napari-deblur").requires or [])


def test_base_install_has_no_window_and_nothing_that_breaks_torch(base):
    assert "torch" in base
    assert "numpy" in base
    assert set(base) & (WINDOWS | {"torchvision", "psfmodels", "spandrel", "deepinv"}) == set()


def test_base_install_has_nothing_under_the_gpl(base):
    for name in base:
        try:
            metadata = distribution(name).metadata
        except PackageNotFoundError:
            continue
        stated = [
            metadata.get("License-Expression") or "",
            # A whole licence text may quote others, of libraries with a linking exception.
            (metadata.get("License") or "").strip().split("\n")[0],
            *(c for c in metadata.get_all("Classifier") or [] if c.startswith("License")),
        ]
        bad = [text for text in stated if GPL.search(text)]
        assert not bad, f"{name}: {bad}"


def test_extra_all_brings_napari_with_qt():
    every = _needed(distribution("napari-deblur").requires or [], extra="all")
    assert {"napari", "pyqt6", "magicgui", "qtpy"} <= set(every)


def test_metadata_says_licence_python_and_plugin():
    ours = distribution("napari-deblur")
    assert ours.metadata["License-Expression"] == "BSD-3-Clause"
    assert ours.metadata["Requires-Python"] == ">=3.11"
    entries = {(e.group, e.name): e.value for e in ours.entry_points}
    assert entries["napari.manifest", "napari-deblur"] == "napari_deblur:napari.yaml"
    assert entries["console_scripts", "napari-deblur"] == "napari_deblur.cli:main"


@pytest.mark.parametrize("name", ["napari.yaml", "py.typed", "data/README.md"])
def test_package_holds_more_than_code(name):
    assert (files("napari_deblur") / name).is_file()


def test_bundled_stack_is_small_credited_and_has_a_voxel_size():
    tifffile = pytest.importorskip("tifffile")
    assert sample_path().stat().st_size < 1_000_000
    with tifffile.TiffFile(sample_path()) as file:
        assert file.series[0].axes == "ZYX"
        assert "PhysicalSizeZ" in file.ome_metadata
    credit = (sample_path().parent / "README.md").read_text("utf-8")
    for word in (sample_path().name, "CC BY 4.0", "commit", "Changes"):
        assert word in credit


def test_constraints_pin_one_torch_and_every_direct_requirement():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name) for name in pins}
    assert pins["torch"] == "2.13.0"
    direct = {
        canonicalize_name(Requirement(text).name)
        for text in distribution("napari-deblur").requires or []
    }
    assert direct - pinned - {"napari-deblur"} == set()
