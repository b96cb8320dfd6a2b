"""Preferences, and that the widget costs nothing to import."""

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from napari_deblur._napari import settings
from napari_deblur._napari.settings import Preferences, preferences


def test_defaults_of_the_manifest_are_ours():
    assert preferences() == Preferences()


def test_scratch_folder(scratch):
    assert Preferences().folder == scratch
    assert Preferences(scratch=" ~/big ").folder == Path.home() / "big"


def test_results_do_not_lie_among_temporary_files(monkeypatch):
    spec = spec_from_file_location("fresh_settings", settings.__file__)
    fresh = module_from_spec(spec)  # the fixture gave the module another folder
    monkeypatch.setitem(sys.modules, spec.name, fresh)
    spec.loader.exec_module(fresh)
    assert fresh.Preferences().folder == Path.home() / "napari-deblur" / "results"


def test_older_napari_has_no_page(monkeypatch):
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    assert preferences() == Preferences()


def _loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys, json; print(json.dumps(list(sys.modules)))"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1])), done.stdout


def test_widget_is_imported_in_less_than_a_second():
    code = (
        "import napari, qtpy.QtWidgets; from time import process_time as now; t = now(); "
        "import napari_deblur._napari.deblur; print(now() - t)"
    )
    runs = [_loaded(code) for _ in range(2)]
    assert min(float(out.splitlines()[0]) for _, out in runs) < 1
    assert not {"torch", "zarr", "tifffile"} & runs[0][0]


def test_child_imports_neither_napari_nor_qt():
    code = (
        "import napari_deblur._napari.child, napari_deblur._napari.asking, "
        "napari_deblur.planning, napari_deblur.batch"
    )
    assert not {"napari", "qtpy", "PyQt6", "magicgui"} & _loaded(code)[0]


@pytest.mark.parametrize("name", ["deblur", "reader", "samples"])
def test_commands_of_the_manifest_exist(name):
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-deblur")
    commands = [c for c in manifest.contributions.commands if f"_napari.{name}:" in c.python_name]
    assert commands
    for command in commands:
        assert callable(_import(command.python_name))


def _import(name):
    from importlib import import_module

    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
