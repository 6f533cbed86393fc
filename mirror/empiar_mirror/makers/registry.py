"""Which makers there are: those built in that the configuration asks for, and its hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from empiar_mirror.makers.hook import HookMaker
from empiar_mirror.makers.maker import Maker
from empiar_mirror.makers.workers import Workers
from empiar_schema.settings import Settings

#: Gives the makers of one kind that `Settings` ask for; none where they do not. The functions run in `Workers`.
BuiltIn = Callable[[Settings, Workers], Iterable[Maker]]

#: The makers of this product.
BUILT_IN: Final[tuple[BuiltIn, ...]] = ()


def configured(
    settings: Settings, workers: Workers, *, built_in: Sequence[BuiltIn] = BUILT_IN
) -> tuple[Maker, ...]:
    """The makers that are in force, hooks after the built-in ones. Nothing is made that was not asked for."""
    makers = [maker for kind in built_in for maker in kind(settings, workers)]
    makers += [HookMaker(name, hook, settings.root) for name, hook in settings.hook.items() if hook.enabled]
    return tuple(makers)
