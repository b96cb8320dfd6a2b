"""A folder is a catalogue: ``methods/richardson_lucy.py`` is the method ``richardson-lucy``.

Listing names imports nothing; looking one up imports that one file, whose ``__all__`` holds
exactly one name. Other packages join by the entry-point groups ``napari_deblur.methods``,
``napari_deblur.psfs`` and ``napari_deblur.readers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

__all__ = ["Registry", "methods", "parameters_of", "psfs", "readers", "with_parameters"]


class Registry(Mapping[str, Any]):
    """The classes of one folder of this package, and of other packages, by public name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.__name__ = f"napari_deblur.{folder}"  # so `import napari_deblur.methods.x as y` works

    @cached_property
    def _files(self) -> dict[str, str]:
        files = sorted((Path(__file__).parent / self.folder).glob("[a-z]*.py"))
        return {file.stem.replace("_", "-"): f"{self.__name__}.{file.stem}" for file in files}

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.__name__)}

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in order, without importing anything."""
        return iter(sorted(self._files | self._others))

    def __len__(self) -> int:
        return len(self._files | self._others)

    def __contains__(self, name: object) -> bool:
        return name in self._files or name in self._others

    def __getitem__(self, name: str) -> Any:
        """Import the class of that name; KeyError lists the names there are."""
        if name in self._files:
            module = import_module(self._files[name])
            (public,) = module.__all__
            return getattr(module, public)
        if name in self._others:
            return self._others[name].load()
        kind = self.folder.removesuffix("s")
        raise KeyError(f'no {kind} "{name}"; there are: {", ".join(self)}')

    def name_of(self, thing: object) -> str:
        """Give the public name of a class of this catalogue or of an object of such a class."""
        cls = thing if isinstance(thing, type) else type(thing)
        for name, module in self._files.items():
            if cls.__module__ == module:
                return name
        for name, entry in self._others.items():
            if entry.load() is cls:
                return name
        raise KeyError(f"{cls.__qualname__} is not in the catalogue of {self.folder}")

    def __repr__(self) -> str:
        return f"<{self.folder}: {', '.join(self)}>"


methods = Registry("methods")
psfs = Registry("psfs")
readers = Registry("readers")


def parameters_of(method: object) -> dict[str, Any]:
    """Give a method as plain data: its public name and its parameters."""
    return {"name": methods.name_of(method), **asdict(method)}  # type: ignore[call-overload]


def with_parameters(data: Mapping[str, Any]) -> Any:
    """Make the method that `parameters_of` described."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "name"}
    return methods[data["name"]](**values)
