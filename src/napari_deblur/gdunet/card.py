"""The model card: what is to be known of weights before they are used or passed on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_deblur.gdunet.keeping import BEST, WEIGHTS, facts_of
from napari_deblur.gdunet.weights import digest

if TYPE_CHECKING:
    from pathlib import Path

    from napari_deblur.gdunet.schedule import Settings

__all__ = ["Card", "Material"]

# Files that are listed one by one; of more, one hash stands for the rest.
LISTED = 60
NUMBERS = {
    "psnr in": "blurred (dB)",
    "psnr out": "restored (dB)",
    "psnr given": "with the true kernel (dB)",
    "ncc out": "kernel NCC",
}
LIMITS = """\
- Numbers are means over cases that were held back: their blur and noise are simulated, but for
  pairs. PSNR is that of the image, NCC the correlation of the kernel found with the true one.
- What was held back are other files, or an end of a single one. Where these are of the same day,
  or pieces of one stack, they are alike, and the numbers flatter.
- Of other specimens, lenses or cameras than those below nothing is known: look at kernel and image
  before you believe them.
- Nobody has stated a licence. Who passes these weights on names those who made the images, and
  heeds the licences of these."""


@dataclass(frozen=True)
class Material:
    """A file that was learned from.

    Parameters
    ----------
    kind : str
        "sharp", "blurred of a pair", "sharp of a pair".
    name : str
    digest : str
        SHA-256 of the file; "" of a folder.
    """

    kind: str
    name: str
    digest: str


@dataclass(frozen=True)
class Card:
    """Writes ``model_card.md`` beside the weights.

    Parameters
    ----------
    folder : Path
    settings : Settings
    start : str
        The weights that it began with; "" for none.
    optics : mapping, or None
        Numerical aperture, wavelength and pixel size (µm), where they were given.
    materials : sequence of Material
    device : str
    program : str
        With its version.
    """

    folder: Path
    settings: Settings
    start: str
    optics: Mapping[str, float] | None
    materials: Sequence[Material]
    device: str
    program: str

    def write(self) -> None:
        """Write the card of what lies in the folder now."""
        beside = self.folder / ".model_card.md.new"
        beside.write_text(self.text(), "utf-8")
        beside.replace(self.folder / "model_card.md")

    def text(self) -> str:
        """Give the card, in Markdown."""
        parts = [
            f"# GDUNet weights: {self.folder.resolve().name}",
            self._facts(),
            "## How to use them",
            "In napari: Deblur, method gdunet, weights. In a shell:",
            "```bash\nnapari-deblur run IMAGE OUT.deblur.zarr --method gdunet "
            f"--set weights={BEST}\n```",
            "## Numbers",
            self._numbers() or "Not validated yet.",
            "## Limits",
            LIMITS,
            "## Settings",
            f"```json\n{json.dumps(asdict(self.settings), indent=1)}\n```",
            "## Images",
            self._images(),
        ]
        return "\n\n".join(parts) + "\n"

    def _facts(self) -> str:
        rows = {
            "Made": f"{time.strftime('%Y-%m-%d')}, {self.program}, torch {torch.__version__}, on "
            f"{self.device}",
            "Network": f"GDUNet, {self.settings.configuration}",
            "Begun with": self.start or "nothing",
            "Lens": self._lens(),
        }
        for name in (BEST, WEIGHTS):
            if facts := facts_of(self.folder / name):
                what = ", the best validation" if name == BEST else ""
                rows[f"`{name}`"] = (
                    f"after {facts['iterations']} iterations{what}; SHA-256 "
                    f"`{digest(self.folder / name)}`"
                )
        return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])

    def _lens(self) -> str:
        if not self.optics:
            return "of all kinds"
        na, wavelength, pixel = (self.optics[k] for k in ("na", "wavelength", "pixel_size"))
        return f"NA {na:g}, {wavelength:g} µm, pixels of {pixel:g} µm"

    def _numbers(self) -> str:
        found: dict[str, float] = facts_of(self.folder / BEST).get("best", {}).get("validation", {})
        if not found:
            return ""
        lines = [f"| | {' | '.join(NUMBERS.values())} |", "|---" * (len(NUMBERS) + 1) + "|"]
        for kind in dict.fromkeys(name.split(": ")[0] for name in found):
            values = (found.get(f"{kind}: {key}") for key in NUMBERS)
            words = ["" if value is None else f"{value:.3f}" for value in values]
            lines.append(f"| {kind} | {' | '.join(words)} |")
        return "\n".join(lines)

    def _images(self) -> str:
        if not self.materials:
            return "None: objects were made up."
        lines = ["| | file | SHA-256 |", "|---|---|---|"]
        lines += [
            f"| {m.kind} | {m.name} | {f'`{m.digest}`' if m.digest else 'a folder'} |"
            for m in self.materials[:LISTED]
        ]
        if more := self.materials[LISTED:]:
            rest: Any = hashlib.sha256("".join(m.digest for m in more).encode())
            lines.append(f"| | and {len(more)} more | of their hashes: `{rest.hexdigest()}` |")
        return "\n".join(lines)
