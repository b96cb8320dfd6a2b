"""The manifest at the top of the repository is the packaged one.

A copy, since symbolic links become text files on Windows.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_manifest_at_the_top_is_the_packaged_one():
    shown, packaged = ROOT / "napari.yaml", ROOT / "src" / "napari_deblur" / "napari.yaml"
    assert shown.read_text("utf-8") == packaged.read_text("utf-8"), (
        "copy src/napari_deblur/napari.yaml to napari.yaml"
    )


def test_manifest_is_valid_and_named_like_the_distribution():
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-deblur")
    assert manifest.name == "napari-deblur"
