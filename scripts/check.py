"""Run every check of the project: linters, types, layers, manifest, documentation, tests.

    python scripts/check.py           # all
    python scripts/check.py --lint    # all but the tests
    python scripts/check.py -- -k tiles -x    # all; what follows -- goes to pytest

It needs the extras `all`, `test` and `docs`; it runs on Linux, macOS and Windows. All steps run,
whatever failed before; the exit status is 0 if none failed.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    """Run the steps one after the other, the tests last; give the exit status."""
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="napari-deblur-check-") as scratch:
        steps = {
            "ruff check": [python, "-m", "ruff", "check", "."],
            "ruff format": [python, "-m", "ruff", "format", "--check", "."],
            "mypy": [python, "-m", "mypy", "--strict"],
            "import-linter": [_script("lint-imports"), "--no-logo"],
            "npe2 validate": [_script("npe2"), "validate", "napari-deblur"],
            "mkdocs build": [
                *(python, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet"),
                *("--site-dir", str(Path(scratch) / "site")),
            ],
        }
        if "--lint" not in arguments:
            rest = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
            steps["pytest"] = [*_screen(), python, "-m", "pytest", *_workers(), *rest]
        environment = _environment(Path(scratch))
        failed = [
            name for name, command in steps.items() if not _passes(name, command, environment)
        ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _passes(name: str, command: list[str], environment: dict[str, str]) -> bool:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if name != "pytest":  # its own last line says it
        print(
            f"   {'ok' if status == 0 else 'FAILED'}, {time.monotonic() - start:.1f} s", flush=True
        )
    return status == 0


def _script(name: str) -> str:
    """Find a command of this environment, on or off the PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise SystemExit(f'{name} is missing: pip install -c constraints.txt -e ".[all,test,docs]"')
    return found


def _screen() -> list[str]:
    """Give the prefix that runs a command on a virtual screen, where there is one to have."""
    if sys.platform == "linux" and shutil.which("xvfb-run"):
        # GL in 24 bits; a free server number, so that two runs don't meet.
        return ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24"]
    return []


def _workers() -> list[str]:
    """Let as many processes test as there are cores, 4 at most: each takes 1 to 2 GB."""
    # What a file's tests share is made once.
    return ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadscope"]


def _environment(scratch: Path) -> dict[str, str]:
    """Keep the user's settings of napari out of it, and Qt on the (virtual) screen."""
    environment = os.environ | {
        "NAPARI_ASYNC": "0",
        "NAPARI_CONFIG": str(scratch / "napari.yaml"),
        # Threads that wait for each other crawl where every core is busy with tests.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NO_MKDOCS_2_WARNING": "1",  # mkdocs-material's notice, not ours to act on
    }
    environment.pop("QT_QPA_PLATFORM", None)
    return environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
