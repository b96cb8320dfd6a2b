"""Where a result goes, and what is there already."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import napari_deblur
from napari_deblur import claims, places
from napari_deblur.fingerprints import agree
from napari_deblur.places import Place, Remote, place_of
from napari_deblur.results import LEDGER, open_result

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.parts import Part
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Source, Stack

__all__ = [
    "SOFTWARE",
    "as_begun",
    "is_blank",
    "is_ours",
    "kernel_targets",
    "kernels_path",
    "refuse",
    "refuse_changed",
    "refuse_foreign",
    "refuse_input",
    "refuse_kernel",
    "refuse_workers",
    "removing",
    "store_of",
    "stored_plan",
    "suggested_output",
    "sweep",
]

SOFTWARE = "napari-deblur"  # as TIFFs say it
REMOVING = ".removing"  # ends the name of a folder with what is being removed
SUFFIXES = {".zarr", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".ome"}
SUFFIXES |= {".nd2", ".lif", ".czi"}


def suggested_output(address: str, word: str = "") -> Path:
    """Suggest ``NAME[.WORD].deblur.zarr`` beside an input, or here if that is not writable."""
    path = Path(
        address.rstrip("/\\") if "://" not in address else address.rstrip("/").split("/")[-1]
    )
    name = path.name
    while (suffix := Path(name).suffix.lower()) in SUFFIXES and Path(name).stem:
        name = name[: -len(suffix)]
    if word:
        name = name.removesuffix(".deblur")
    folder = path.expanduser().absolute().parent
    for outer in (folder, *folder.parents):
        if outer.suffix == ".zarr":  # never inside somebody's store
            folder = outer.parent
    there = "://" not in address and os.access(folder, os.W_OK)
    name = f"{name}.{word}" if word else name
    return (folder if there else Path.cwd()) / f"{name}.deblur.zarr"


def kernels_path(path: Path) -> Path:
    """Say where the kernels of a TIFF go: ``NAME.kernels.tif``."""
    name = path.name.removesuffix(path.suffix).removesuffix(".ome")
    return path.with_name(f"{name}.kernels{path.suffix}")


def store_of(output: Place) -> Place:
    """Say where the zarr store of an output is while it is written: a TIFF has a hidden one."""
    return output if output.suffix == ".zarr" else output.with_name(f".{output.name}.deblur.zarr")


def refuse_input(output: Place, address: str) -> None:
    """Raise ValueError when writing would harm what is read."""
    if isinstance(output, Remote):
        if f"{address.rstrip('/')}/".startswith(f"{output}/") or f"{output}/".startswith(
            f"{address.rstrip('/')}/"
        ):
            raise ValueError(f"output {output} and input {address} are one: choose another output")
        return
    if "://" in address:
        return
    source, target = Path(address).expanduser().resolve(), output.expanduser().resolve()
    if _is_within(source, target) or _is_within(target, source):
        raise ValueError(f"output {output} and input {source} are one: choose another output")


def _is_within(inner: Path, outer: Path) -> bool:
    """Whether a path is another one or in it; a disk may not tell upper from lower case."""
    around = (inner, *inner.parents)
    if outer in around:
        return True
    with suppress(OSError):
        known = outer.stat()
        return any(os.path.samestat(one.stat(), known) for one in around if one.exists())
    return False


def refuse(
    output: str | Path | Remote,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    overwrite: bool = False,
    part: Part | None = None,
) -> None:
    """Raise what a run would raise whatever its plan: before planning, which may take long.

    What killed processes left of results that they were removing goes.

    Raises
    ------
    ValueError
        When the output is of an unknown kind, or workers, scheduler or part do not fit.
    FileExistsError
        When something is there that is neither continued nor overwritten, or is being written.
    OSError
        When nothing can be written there.
    """
    output = _writable(output)
    if output.suffix not in (".zarr", ".tif", ".tiff"):
        raise ValueError(f'output {output} ends in "{output.suffix}": use .deblur.zarr or .tif')
    refuse_workers(workers, scheduler)
    if part is not None:
        _refuse_part(part, output, overwrite=overwrite)
    if overwrite or not _is_complete(output):
        _refuse_place(output)
    sweep(store_of(output))
    if overwrite:
        refuse_foreign(store_of(output))
    elif output.suffix == ".zarr":
        _refuse_unknown(output)
    if output.suffix != ".zarr" and isinstance(output, Path):
        for target in (output, kernels_path(output)):
            _refuse_tiff(target, unfinished=store_of(output).exists(), overwrite=overwrite)
    claims.refuse(store_of(output) / LEDGER, str(part or claims.ALL))


def refuse_workers(workers: int, scheduler: str | None) -> None:
    """Raise ValueError if workers and scheduler do not fit."""
    if workers < 0:
        raise ValueError(f"workers is {workers} and must be 0 or more: a number of processes")
    if workers and scheduler is not None:
        raise ValueError(
            f"workers ({workers}) and scheduler ({scheduler}) exclude each other: give a number "
            "of processes or the address of a scheduler"
        )


def _writable(output: str | Path | Remote) -> Place:
    """Give the place of an output; ValueError for the web, and for a TIFF among objects."""
    place = place_of(output)
    if isinstance(place, Path):
        return place
    if place.scheme != "s3":
        raise ValueError(
            f"output {place} is on the web, where nothing can be written: give a folder, or "
            "s3://BUCKET/NAME.deblur.zarr"
        )
    if place.suffix != ".zarr":
        raise ValueError(
            f"output {place} does not end in .zarr, and nothing else is written to object storage: "
            "give s3://BUCKET/NAME.deblur.zarr, or a file of this machine"
        )
    return place


def refuse_foreign(path: Place) -> None:
    """Raise FileExistsError if a folder is neither blank nor a result: it is never deleted."""
    if not path.exists() and not path.is_symlink():
        return
    ours = path.is_dir() and not path.is_symlink()
    if not ours or not (is_blank(path) or _is_result(path)):
        raise FileExistsError(
            f"{path} is not recognisable as a result of napari-deblur, so it is not overwritten: "
            "delete it yourself or choose another output"
        )


def sweep(path: Place) -> None:
    """Delete what is left of results that were here and are being removed."""
    if isinstance(path, Path):
        shutil.rmtree(removing(path), ignore_errors=True)  # another process may be at it


def removing(path: Path) -> Path:
    """Say where a result goes that is being removed."""
    return path.with_name(f".{path.name}{REMOVING}")


def is_blank(path: Place) -> bool:
    """Whether nothing is there, or only what a process killed at its very start leaves."""
    if not path.exists():
        return True
    return path.is_dir() and all(
        p.suffix == ".partial" or path / LEDGER in (p, p.parent) for p in path.rglob("*")
    )


def is_ours(path: Path) -> bool:
    """Whether a file is a TIFF that this package wrote."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return str(file.pages.first.software).startswith(SOFTWARE)
    except (OSError, ValueError, KeyError, IndexError):
        return False


def _is_result(path: Place) -> bool:
    try:
        open_result(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _is_complete(path: Place) -> bool:
    """Whether a result is said to be: nothing is written there, then, unless something was lost."""
    try:
        return open_result(path).complete
    except (OSError, ValueError):
        return False


def _refuse_unknown(path: Place) -> None:
    if not is_blank(path) and not _is_result(path):
        raise FileExistsError(
            f"{path} exists and is no result that could be continued: choose another output"
        )


def _refuse_part(part: Part, output: Place, *, overwrite: bool) -> None:
    if output.suffix != ".zarr":
        raise ValueError(f"part {part} writes into what others write, a .zarr: {output} is none")
    if overwrite:
        raise ValueError(
            f"part {part} with overwrite would remove what other parts did: delete {output} "
            "before the first part starts, or choose another output"
        )


def _refuse_tiff(path: Path, *, unfinished: bool, overwrite: bool) -> None:
    """Keep a file, unless it is ours and being finished or to be overwritten."""
    ours = is_ours(path)
    if not path.exists() or (ours and (unfinished or overwrite)):
        return
    way = ", or use --overwrite" if ours else "; only results of napari-deblur are overwritten"
    raise FileExistsError(f"{path} exists: choose another output{way}")


def _refuse_place(output: Place) -> None:
    """Raise OSError if nothing can be made where the output is to be."""
    try:
        if isinstance(output, Remote):
            places.clock(output / LEDGER)  # which takes an object
            return
        if output.exists():
            return
        folder = output.absolute().parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise OSError(
            f"output {output} cannot be made ({reason}): choose another folder, or get the "
            "permission to write there"
        ) from error


def kernel_targets(path: Path, stack: Stack, *, overwrite: bool) -> list[Path]:
    """Give a file for the kernel of each channel: ``NAME_c0.tif`` and so on, if there are several.

    An OME-Zarr holds those of all channels.

    Raises
    ------
    ValueError, FileExistsError
        When the suffix is none of a kernel's, or a file is there already.
    """
    count = 1 if stack.rgb else stack.shape[1]
    targets = [path]
    if count > 1 and path.suffix.lower() != ".zarr":
        targets = [path.with_name(f"{path.stem}_c{c}{path.suffix}") for c in range(count)]
    for target in targets:
        if stack.source is not None:
            refuse_input(target, stack.source.address)
        refuse_kernel(target, overwrite=overwrite)
    return targets


def refuse_kernel(path: Path, *, overwrite: bool) -> None:
    """Raise ValueError or FileExistsError if a kernel can't go to `path`."""
    if path.suffix.lower() not in (".tif", ".tiff", ".npz", ".zarr"):
        raise ValueError(f'a kernel is saved as .tif, .npz or .zarr, and "{path.name}" is none')
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f'there is no folder "{path.absolute().parent}": make it first')
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name, or use --overwrite")


def stored_plan(job: Job, stack: Stack) -> Plan | None:
    """Give the plan of an earlier run of the same job on the same data, to go on with it.

    Planning anew might come to another grid, if less memory is free than was then.
    """
    try:
        result = open_result(store_of(job.output_path))
        plan = result.plan
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # nothing there, or nothing that could be continued: `run` will say so
    same_software = result.attributes["versions"]["napari-deblur"] == napari_deblur.__version__
    known = dict(result.job or {})
    asked = job.resolved().to_dict()
    for job_data in (known, asked):
        job_data.pop("output", None)
    if known != asked or not _same_input(plan, stack.source) or not same_software:
        return None
    return plan if _same_device(plan, job) else None


def as_begun(plan: Plan, path: Place) -> Plan:
    """Give a plan as the result at `path` has it, if it differs only in how its input is known.

    Earlier versions knew less of inputs, and a chunk that was missing may be there by now.
    """
    try:
        result = open_result(path)
        known = result.plan
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return plan
    if result.key == plan.key or not _same_input(known, plan.source, plan.fingerprint):
        return plan
    same = replace(plan, source=known.source, fingerprint=known.fingerprint)
    return same if same.key == result.key else plan


def refuse_changed(path: Place, source: Source | None, fingerprint: str = "") -> None:
    """Raise FileExistsError if the result at a place is of this input before it changed.

    `fingerprint` is that of an input in memory.
    """
    try:
        known = open_result(store_of(path)).plan
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return
    if _same_input(known, source, fingerprint):
        return
    if source is None and known.source is None:
        was = "an array with other pixels"
    elif (
        source
        and known.source
        and known.source == replace(source, fingerprint=known.source.fingerprint)
    ):
        was = f'"{source.address}" as it was before it changed'
    else:
        return
    raise FileExistsError(
        f"{path} holds the result of {was}: overwrite it (--overwrite) or choose another output"
    )


def _same_input(known: Plan, source: Source | None, fingerprint: str = "") -> bool:
    if known.source is None or source is None:
        return known.source is source and agree(known.fingerprint, fingerprint)
    return known.source.is_same(source)


def _same_device(plan: Plan, job: Job) -> bool:
    from napari_deblur.gridding import chosen_device

    # That of a scheduler's workers may not be here.
    return plan.device == job.device or plan.device == chosen_device(job.device)
