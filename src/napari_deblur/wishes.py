"""What is asked of each channel: its method, its kernel or psf, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.checking import check_wish, default_method, finds_kernels, the_method
from napari_deblur.estimating import default_shape
from napari_deblur.kernel_sets import fields_given, fitted, is_point, same_as
from napari_deblur.kernel_verdicts import NOTHING, verdict_of
from napari_deblur.methods.accelerated_richardson_lucy import AcceleratedRichardsonLucy
from napari_deblur.methods.identity import Identity
from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.modelled import Psf, check_optics, sampled
from napari_deblur.protocols import Facts, Kernel, KernelField

if TYPE_CHECKING:
    from napari_deblur.kernel_sets import Kernels
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Wish", "each", "same_kernels", "wishes_of"]

Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Wish:
    """What is asked of one channel; `kernel` is None where none is given."""

    method: Any
    kernel: Kernel | None
    facts: Facts

    @property
    def finds(self) -> bool:
        """Whether the method finds a kernel."""
        return finds_kernels(self.method)

    @property
    def needs_kernel(self) -> bool:
        """Whether the method does anything with a kernel."""
        return bool(getattr(self.method, "needs_kernel", True))

    def restorer(self, scope: str, found: Kernel) -> Any:
        """Give what restores a tile once the kernel is known; in scope "tile" that finds it too."""
        still = scope != "tile" or verdict_of(found.report)[0] == NOTHING
        if still and is_point(found) and self._leaves_points():
            return Identity()
        if not self.finds or scope == "tile":
            return self.method
        return self.method.restorer()

    def _leaves_points(self) -> bool:
        """Tell whether there is nothing to do without a blur: no noise to take away, say."""
        return self.finds or isinstance(self.method, RichardsonLucy | AcceleratedRichardsonLucy)


def wishes_of(
    stack: Stack,
    *,
    method: Any,
    kernel: Kernels | None,
    psf: Psf | Mapping[Any, Psf] | None,
    facts: Facts | Mapping[Any, Facts] | None,
    shape: Triple | None,
    scope: str,
    centre_kernel: bool,
    notes: list[str],
) -> dict[int, Wish]:
    """Give the wish of each channel; sentences about kernels are added to `notes`.

    Raises
    ------
    ValueError
        When a channel is not there, or lacks what its method needs.
    """
    colour = {"method": method, "kernel": kernel, "psf": psf, "facts": facts}
    for name, value in colour.items():
        if stack.rgb and isinstance(value, Mapping):
            raise ValueError(
                f"a picture in colour has one {name} for all colours: give one {name}, not one "
                "for each channel"
            )
    known = each(stack, facts, "facts")
    models = each(stack, psf, "psf")
    kernels = fitted(stack, kernel, notes, centre=centre_kernel)
    both = sorted(kernels.keys() & models.keys())
    if both and (isinstance(psf, Mapping) or not isinstance(kernel, Mapping)):
        raise ValueError(
            f"channel {both[0]} is given a kernel and a psf, which makes a kernel too: "
            "leave one of them out"
        )
    for given in known.values():
        check_optics(given)
    for c, model in models.items():
        if c not in kernels:
            given = known.get(c, Facts())
            other = default_shape(stack, given, c)
            kernels[c] = sampled(stack, c, model, given, shape, other, notes)
    methods = each(stack, method, "method")
    wishes = {}
    unnamed: dict[str, list[str]] = {}
    for c in range(stack.shape[1]):
        chosen = methods.get(c)
        if chosen is None or (isinstance(chosen, str) and chosen == "auto"):
            chosen = default_method(scope, known=c in kernels)
            unnamed.setdefault(chosen, []).append(str(c))
        wish = Wish(the_method(chosen), kernels.get(c), known.get(c, Facts()))
        check_wish(stack, wish.method, wish.kernel, scope, c)
        wishes[c] = wish
    for name, of in unnamed.items():
        where = "" if len(of) == stack.shape[1] else f" for channel {' and '.join(of)}"
        notes.append(f"no method was named{where}: {name} is taken")
    if scope == "channel-time" and not any(wish.finds for wish in wishes.values()):
        raise ValueError(
            'no method here finds kernels, so there is none per frame: take scope "channel"'
        )
    return wishes


def each(stack: Stack, value: Any, what: str) -> dict[int, Any]:
    """Give a value to each channel: one for all, or those of {channel: value} by index or name."""
    count = stack.shape[1]
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return dict.fromkeys(range(count), value)
    names = {channel.name: c for c, channel in enumerate(stack.channels) if channel.name}
    found = {}
    for key, one in value.items():
        c = names.get(key) if isinstance(key, str) else key
        if c is None or not 0 <= c < count:
            known = ", ".join([*map(str, range(count)), *names])
            raise ValueError(f"{what} is given for channel {key!r}; there are: {known}")
        found[c] = one
    return found


def same_kernels(plan: Plan, stack: Stack, asked: Mapping[str, Any]) -> bool:
    """Tell whether the kernels asked for are those of an earlier plan of the same job.

    Where a kernel is only the start of a search, nobody can tell: then they are not.
    """
    if asked["kernel"] is None:
        return True
    fields, plain = fields_given(stack, asked["kernel"])
    if not all(_same_field(plan.field(c), one) for c, one in fields.items()):
        return False
    kernels = fitted(stack, plain, [], centre=asked["centre_kernel"])
    methods = each(stack, asked["method"], "method")
    default = default_method(asked["scope"], known=True)
    if any(finds_kernels(the_method(methods.get(c) or default)) for c in kernels):
        return False
    return same_as(plan.kernel, kernels)


def _same_field(planned: KernelField | None, asked: KernelField) -> bool:
    return (
        planned is not None
        and planned.nodes == asked.nodes
        and np.array_equal(planned.basis, asked.basis)
        and np.array_equal(planned.weights, asked.weights)
    )
