"""What was decided from whole channels, kept for as long as nothing it depends on changes.

A kernel is searched for, or judged, once. Another number of the restoring method then only makes
a new plan with the kernel and the facts that are known.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from napari_deblur import kernel_json

if TYPE_CHECKING:
    from napari_deblur._napari.asking import Ask
    from napari_deblur.plans import Plan
    from napari_deblur.protocols import Kernel, KernelField
    from napari_deblur.stack import Stack

__all__ = ["Decided"]

# Of methods that find kernels, what only the restoring afterwards looks at.
RESTORING = {
    "blind-richardson-lucy": ("iterations",),
    "blind-sparse": ("weight", "iterations", "spacing"),
}
# Searches, and plans, that are remembered.
MOST = 8
# What a plan says of its tiles.
OF_TILES = (" is not cut: ", "one task needs ")


@dataclass(frozen=True, eq=False)
class _Search:
    """The first plan that was made with a kernel, and what it said of all but the numbers."""

    plan: Plan
    notes: tuple[str, ...]


class Decided:
    """Makes plans, and keeps of them what took long. For one thread at a time."""

    def __init__(self) -> None:
        self._searches: dict[str, _Search] = {}
        self._plans: dict[str, Plan] = {}

    def forget(self) -> None:
        """Begin anew: the pixels are others."""
        self._searches, self._plans = {}, {}

    def knows(self, ask: Ask, stack: Stack, read_as: tuple[Any, ...]) -> bool:
        """Tell whether a plan can be made without a search."""
        return _search_key(ask, stack, read_as) in self._searches

    def same_search(
        self, one: tuple[Ask, Stack, tuple[Any, ...]], other: tuple[Ask, Stack, tuple[Any, ...]]
    ) -> bool:
        """Tell whether two askings need the same search."""
        return _search_key(*one) == _search_key(*other)

    def plan(
        self, ask: Ask, stack: Stack, read_as: tuple[Any, ...], *, search: bool = True
    ) -> Generator[str, None, Plan | None]:
        """Give the plan, saying what is done for it.

        Parameters
        ----------
        ask, stack
            What is asked for, and of which pixels.
        read_as : tuple
            Tells the pixels, and how they are read, from others.
        search : bool
            Whether to look for kernels that are not known; else the plan is None then.
        """
        from napari_deblur._napari.asking import deciding

        key = repr((ask.key, *read_as))
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        searched = _search_key(ask, stack, read_as)
        known = self._searches.get(searched)
        if known is not None:
            plan = yield from _again(known, ask, stack)
        elif search:
            plan = yield from deciding(ask, stack)
            notes = tuple(n for n in plan.notes if not _of_numbers(n, plan))
            self._searches = _with(self._searches, searched, _Search(plan, notes))
        if plan is not None:
            self._plans = _with(self._plans, key, plan)
        return plan


def _with(known: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Remember one more and forget the oldest; a new dict, as another thread may be reading."""
    return dict([*known.items(), (key, value)][-MOST:])


def _again(known: _Search, ask: Ask, stack: Stack) -> Generator[str, None, Plan]:
    """Make a plan with a kernel and facts that are known."""
    from napari_deblur._napari.asking import deciding

    first = known.plan
    methods = {c: _restorer(one, first, c) for c, one in _methods(ask, stack).items()}
    facts = {c: first.channels[c].facts for c in methods}
    plan = yield from deciding(
        ask,
        stack,
        method=methods[0] if stack.rgb else methods,
        kernel=_kernels(first, stack),
        psf=None,
        shape=None,
        # One kernel for each frame is no search any more.
        scope="channel" if first.scope == "channel-time" else first.scope,
        facts=facts[0] if stack.rgb else facts,
        centre_kernel=False,
        judge=False,
    )
    channels = tuple(
        replace(new, facts=old.facts)  # the same numbers, and where they came from
        for new, old in zip(plan.channels, first.channels, strict=True)
    )
    tiles = [note for note in plan.notes if any(words in note for words in OF_TILES)]
    plan = replace(plan, channels=channels, scope=first.scope)
    if plan.kernel.shape == first.kernel.shape:  # to the last bit, and with what is known of it
        plan = replace(plan, kernel=first.kernel)
    return replace(plan, notes=(*known.notes, *_numbers(plan), *tiles))


def _numbers(plan: Plan) -> list[str]:
    """Say what was decided of the methods' numbers."""
    from napari_deblur.describing import said_of

    several = len(plan.channels) > 1 and not plan.layout.rgb
    used = plan.channels if several else plan.channels[:1]
    return [
        note
        for c, one in enumerate(used)
        for note in said_of(one.method, one.decided, one.facts, c if several else None)
    ]


def _of_numbers(note: str, plan: Plan) -> bool:
    return note in _numbers(plan) or any(words in note for words in OF_TILES)


def _methods(ask: Ask, stack: Stack) -> dict[int, Any]:
    """Give the method of each channel, as a plan takes it."""
    from napari_deblur.checking import default_method, the_method
    from napari_deblur.wishes import each

    asked = ask.arguments(stack)
    named = each(stack, asked["method"], "method")
    known: set[int] = set()
    for name in ("kernel", "psf"):
        known |= each(stack, asked[name], name).keys()
    return {
        c: the_method(named.get(c) or default_method(asked["scope"], known=c in known))
        for c in range(stack.shape[1])
    }


def _restorer(method: Any, first: Plan, c: int) -> Any:
    """Give what restores with a kernel that is known; each tile still finds its own."""
    from napari_deblur.checking import finds_kernels
    from napari_deblur.kernel_sets import is_point
    from napari_deblur.methods.identity import Identity

    if first.scope == "tile" or not finds_kernels(method):
        return method
    return Identity() if is_point(_kernel(first, c)) else method.restorer()


def _kernels(plan: Plan, stack: Stack) -> Any:
    """Give the kernels of a plan as another one takes them."""
    if stack.rgb:
        return plan.field(0) or plan.kernel
    every: dict[int, Kernel | KernelField] = {}
    for c in range(stack.shape[1]):
        every[c] = plan.field(c) or _kernel(plan, c)
    return every


def _kernel(plan: Plan, c: int) -> Kernel:
    whole = plan.kernel
    if whole.array.shape[1] == 1:
        return whole
    reports = whole.report.get("channels", [whole.report] * whole.array.shape[1])
    return replace(whole, array=whole.array[:, c : c + 1], report=reports[c])


def _search_key(ask: Ask, stack: Stack, read_as: tuple[Any, ...]) -> str:
    """Name all that kernel and facts depend on."""
    asked = ask.arguments(stack)
    parts = [
        {c: _searching(one) for c, one in _methods(ask, stack).items()},
        _plain(asked["kernel"]),
        *(repr(asked[name]) for name in ("psf", "facts", "shape", "scope", "gamma", "device")),
        asked["centre_kernel"],
        repr(read_as),
    ]
    return sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _searching(method: Any) -> Any:
    """Give a search's numbers; nothing of a method that is given its kernel."""
    from napari_deblur.checking import finds_kernels
    from napari_deblur.registry import parameters_of

    if not finds_kernels(method):
        return getattr(method, "needs_kernel", True)
    numbers = parameters_of(method)
    for name in RESTORING.get(numbers["name"], ()):
        del numbers[name]
    return numbers


def _plain(kernel: Any) -> Any:
    if isinstance(kernel, Mapping):
        return {str(key): _plain(one) for key, one in kernel.items()}
    return None if kernel is None else kernel_json.plain(kernel)
