"""Which makers there are: those built in that views and configuration ask for, and the configured hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from empiar_mirror.makers.by_hand import hand_makers
from empiar_mirror.makers.hook import HookMaker
from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.labels import label_makers
from empiar_mirror.makers.pictures import picture_makers
from empiar_mirror.makers.stacks import stack_makers
from empiar_mirror.makers.workers import Workers
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings

#: Gives the makers of one kind that `Settings` and views ask for; none where they do not. The functions run in `Workers`.
BuiltIn = Callable[[Settings, Sequence[ViewRecipe], Workers], Iterable[Maker]]

#: The makers of this product, each after those whose products it reads.
BUILT_IN: Final[tuple[BuiltIn, ...]] = (hand_makers, label_makers, stack_makers, picture_makers)


def configured(
    settings: Settings,
    workers: Workers,
    *,
    recipes: Sequence[ViewRecipe] | None = None,
    built_in: Sequence[BuiltIn] = BUILT_IN,
) -> tuple[Maker, ...]:
    """The makers that are in force for these views (those that are built by themselves, if None), hooks after the built-in ones.

    Nothing is made that was not asked for.
    """
    views = settings.recipes if recipes is None else recipes
    makers = [maker for kind in built_in for maker in kind(settings, views, workers)]
    makers += [HookMaker(name, hook, settings.root) for name, hook in settings.hook.items() if hook.enabled]
    return tuple(makers)
