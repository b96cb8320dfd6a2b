"""Where a result goes, and what is there already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_deblur

if TYPE_CHECKING:
    from napari_deblur.job import Job
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = [
    "kernel_targets",
    "refuse_existing",
    "refuse_input",
    "store_of",
    "stored_plan",
    "suggested_output",
]

SUFFIXES = {".zarr", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".ome"}


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


def store_of(output: Path) -> Path:
    """Say where the zarr store of an output is while it is written: a TIFF has a hidden one."""
    return output if output.suffix == ".zarr" else output.with_name(f".{output.name}.deblur.zarr")


def refuse_input(output: Path, address: str) -> None:
    """Raise ValueError when writing would harm what is read."""
    if "://" in address:
        return
    source, target = Path(address).expanduser().resolve(), output.expanduser().resolve()
    if target == source or target in source.parents or source in target.parents:
        raise ValueError(f"output {output} and input {source} are one: choose another output")


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError early, before hours of planning, where the run would refuse anyway."""
    from napari_deblur.results import open_result

    if overwrite or not output.exists():
        return
    if output.suffix == ".zarr":
        if not output.is_dir() or any(output.iterdir()):
            try:
                open_result(output)
            except (ValueError, FileNotFoundError) as error:
                raise FileExistsError(
                    f"{output} exists and is no result that could be continued: "
                    "choose another output"
                ) from error
    elif not store_of(output).exists():
        raise FileExistsError(f"{output} exists: choose another output, or use --overwrite")


def kernel_targets(path: Path, stack: Stack, *, overwrite: bool) -> list[Path]:
    """Give a file for the kernel of each channel: ``NAME_c0.tif`` and so on, if there are several.

    Raises
    ------
    ValueError, FileExistsError
        When the suffix is none of a kernel's, or a file is there already.
    """
    if path.suffix.lower() not in (".tif", ".tiff", ".npz"):
        raise ValueError(f'a kernel is saved as .tif or .npz, and "{path.name}" is neither')
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f'there is no folder "{path.absolute().parent}": make it first')
    count = 1 if stack.rgb else stack.shape[1]
    targets = [path]
    if count > 1:
        targets = [path.with_name(f"{path.stem}_c{c}{path.suffix}") for c in range(count)]
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists: choose another name, or use --overwrite")
    return targets


def stored_plan(job: Job, stack: Stack, kernel: Any) -> Plan | None:
    """Give the plan of an earlier run of the same job on the same data, to go on with it.

    Planning anew might come to another grid, if less memory is free than was then.
    """
    from napari_deblur.results import open_result

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
    if known != asked or plan.source != stack.source or not same_software:
        return None
    return plan if _same_device(plan, job) and _same_kernel(plan, stack, kernel) else None


def _same_device(plan: Plan, job: Job) -> bool:
    from napari_deblur.gridding import chosen_device

    return plan.device == chosen_device(job.device)


def _same_kernel(plan: Plan, stack: Stack, kernel: Any) -> bool:
    """Whether the files still hold the kernels of the plan."""
    from napari_deblur.kernel_sets import fitted, together

    if kernel is None:
        return True
    now = together(fitted(stack, kernel, []))
    return np.array_equal(now.array, plan.kernel.array)
