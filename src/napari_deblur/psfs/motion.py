"""Motion: the object or the camera moved while the shutter was open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from napari_deblur.psfs._compact import Compact, number, odd, offsets, rule
from napari_deblur.psfs._sampling import FAR

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Motion"]

NODES = 512
# How strongly an anxious hand errs at each node: by chance, back to where it was, and in jerks.
TREMOR, PULL, JERKS = 0.25, 30.0, 0.01
FWHM = 2 * np.sqrt(2 * np.log(2))
# A path without width is given this standard deviation, in pixels: less than 1 % of a pixel's own
# variance. Points along the path stand as close, so that the path has no beads.
THINNEST = 0.02
# Standard deviations beside the path that "auto" takes along; 4e-4 of the light is beyond.
BESIDE = 3.5
# Of a path that is larger than its kernel: how often it is moved at most, and the share of the
# kernel's side that is no move any more.
MOVES, STILL = 200, 1e-6


@dataclass(frozen=True)
class Motion(Compact):
    """A point that moves: on a straight line at an even speed, or as a hand shakes.

    The path is integrated over each pixel, and lies so that its centre of mass is in the middle of
    pixel ``n // 2``; where it does not fit into the kernel, that of the part that is inside. It
    acts plane by plane.

    Parameters
    ----------
    length : float, in µm
        Between the two points of the path that are farthest from each other.
    angle : float, in degrees
        From the x axis towards the y axis; of the line, or by which the whole path is turned.
    width : float, in µm
        Full width at half maximum across the path, which has a Gaussian profile; 0 for a line.
    path : "line" or "hand-shake"
        Straight on at an even speed, or as a hand shakes.
    seed : int
        Which of the paths of a shaking hand.
    anxiety : float
        How nervous the hand is; at 0 it moves straight on.

    References
    ----------
    Random paths after Boracchi and Foi, IEEE Trans. Image Process. 21, 3502 (2012),
    doi:10.1109/TIP.2012.2192126: a velocity of fixed size that is disturbed at random, is drawn
    back and sometimes turns round. Unlike there, paths are scaled to a given extent.
    """

    length: Annotated[float, {"label": "length (µm)", "min": 0.0, "max": FAR}] = 1.0
    angle: Annotated[float, {"label": "angle (degrees)", "min": -360.0, "max": 360.0}] = 0.0
    width: Annotated[float, {"label": "width (µm)", "min": 0.0, "max": FAR}] = 0.0
    path: Literal["line", "hand-shake"] = "line"
    seed: Annotated[int, {"min": 0}] = 0
    anxiety: Annotated[float, {"min": 0.0}] = 0.5

    continuous: ClassVar[tuple[str, ...]] = ("length", "angle", "width")

    def __post_init__(self) -> None:
        for name in ("length", "width", "anxiety", "seed"):
            rule(self, name)
        rule(self, "angle", least=-np.inf)
        if self.path not in ("line", "hand-shake"):
            raise ValueError(f'path of motion is "{self.path}": take line or hand-shake')

    def reach(self, pixel_size: tuple[float, float, float]) -> tuple[int, int, int]:
        """Give the shape that holds the path, and nearly all of what lies beside it."""
        points = self._points(np.deg2rad(self.angle)) * self.length
        beside = BESIDE * self.width / FWHM
        y, x = (
            odd(far + beside, p)
            for far, p in zip(np.abs(points).max(axis=0), pixel_size[1:], strict=True)
        )
        return 1, y, x

    def share(
        self,
        shape: tuple[int, int, int],
        pixel_size: tuple[float, float, float],
        values: Mapping[str, Tensor],
    ) -> Tensor:
        """Give the share of the time that the point spends in each pixel."""
        import torch

        length = number(self, values, "length")
        angle, width = (number(self, values, name).to(length) for name in ("angle", "width"))
        size = torch.tensor(pixel_size[1:], dtype=torch.float64, device=length.device)
        sigma = (width / FWHM).clamp(min=THINNEST * float(size.min()))
        # So many points that the profiles of neighbours overlap wherever the path goes.
        nodes = _nodes(self.path, self.seed, self.anxiety)
        around = float(np.hypot(*np.diff(nodes, axis=0).T).sum())
        count = int(around * float(length.detach()) / float(sigma.detach())) + 2
        places = (np.arange(count) + 0.5) / count * (len(nodes) - 1)
        points = torch.from_numpy(
            np.stack([np.interp(places, np.arange(len(nodes)), line) for line in nodes.T])
        ).to(length)
        points = points - points.mean(dim=1, keepdim=True)
        turn = torch.deg2rad(angle)
        y, x = points
        y, x = turn.cos() * y + turn.sin() * x, turn.cos() * x - turn.sin() * y
        sides = [offsets(n, float(p), length) for n, p in zip(shape[1:], size, strict=True)]
        moved = _to_the_middle(torch.stack([y, x]).detach() * length.detach(), sides)
        profiles = []
        for at, side, by in zip((y, x), sides, moved, strict=True):
            edges = (side + by)[:, None] - length * at
            profiles.append(torch.erf(edges / (np.sqrt(2) * sigma)).diff(dim=0) / 2)
        share = length.new_zeros(shape)
        share[shape[0] // 2] = profiles[0] @ profiles[1].T / count
        return share

    def _points(self, turn: float) -> NDArray[np.float64]:
        nodes = _nodes(self.path, self.seed, self.anxiety)
        y, x = (nodes - nodes.mean(axis=0)).T
        return np.stack(
            [np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y], axis=1
        )


def _to_the_middle(points: Tensor, sides: Sequence[Tensor]) -> Tensor:
    """Give by how much (y, x) a kernel must go along a path for its part to be centred.

    Parameters
    ----------
    points : Tensor, (2, points)
        Their mean is 0.
    sides : edges of the kernel's pixels down and across
    """
    import torch

    moved = points.new_zeros(2)
    low, high = (torch.stack([side[end] for side in sides])[:, None] for end in (0, -1))
    for _ in range(MOVES):
        here = points - moved[:, None]
        inside = ((here >= low) & (here <= high)).all(dim=0)
        if bool(inside.all()) or not bool(inside.any()):
            break
        # The mean of a window that follows it comes to rest (mean shift).
        off = here[:, inside].mean(dim=1)
        moved = moved + off
        if float(off.abs().max()) < STILL * float((high - low).max()):
            break
    return moved


@lru_cache(maxsize=64)
def _nodes(path: str, seed: int, anxiety: float) -> NDArray[np.float64]:
    """Give a path as nodes (y, x) at even times, of extent 1, without a centre yet."""
    if path == "line":
        return np.array([[0.0, 0.0], [0.0, 1.0]])
    random = np.random.default_rng(seed)
    tremor, jerks = random.standard_normal((NODES, 2)), random.random((NODES, 2))
    place = np.zeros(2)
    turn = 2 * np.pi * random.random()
    velocity = np.array([np.sin(turn), np.cos(turn)])
    nodes = np.zeros((NODES, 2))
    for k in range(1, NODES):
        if jerks[k, 0] < JERKS * anxiety:  # back, more or less
            turn = np.pi * (0.5 + jerks[k, 1])
            velocity = np.array(
                [
                    np.cos(turn) * velocity[0] + np.sin(turn) * velocity[1],
                    np.cos(turn) * velocity[1] - np.sin(turn) * velocity[0],
                ]
            )
        velocity = velocity + anxiety * (TREMOR * tremor[k] - PULL / NODES * place)
        velocity = velocity / np.hypot(*velocity)
        place = place + velocity / NODES
        nodes[k] = place
    apart = nodes[:, None] - nodes[None]
    scaled: NDArray[np.float64] = nodes / np.hypot(apart[..., 0], apart[..., 1]).max()
    return scaled
