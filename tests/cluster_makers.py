"""A maker that calls one function on each movie, for tests with clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from empiar_mirror.makers.function import FunctionMaker, each_file
from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.registry import BuiltIn
from empiar_mirror.makers.worker import Function
from empiar_mirror.makers.workers import Workers
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.states import Role


def maker(function: Function, **parameters: object) -> BuiltIn:
    """The maker `shout`, whose work is `function`."""

    def build(settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers) -> Iterable[Maker]:
        del settings, recipes
        choose = each_file(Role.MOVIE)
        yield FunctionMaker("shout", function, choose, "1", workers, parameters, timeout_s=60.0)

    return build
