"""The form of a saved query: what was given for its parameters, and what is wrong with it (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from empiar_mirror.saved.header import Parameter, SavedQuery, Value
from empiar_schema.faults import ConfigFault

_LONGEST_VALUE: Final = 1000


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter as the form shows it: with what stands in it, and what is wrong with that."""

    parameter: Parameter
    text: str
    error: str | None

    @property
    def mode(self) -> str:
        """Which keys a telephone shows."""
        return {"id": "numeric", "int": "numeric", "real": "decimal"}.get(self.parameter.kind, "text")


@dataclass(frozen=True, slots=True)
class Form:
    """A query with what a visitor has given for its parameters."""

    query: SavedQuery
    inputs: tuple[Input, ...]
    values: Mapping[str, Value]
    #: Names in the address that are none of the query's parameters.
    strange: tuple[str, ...]
    #: Whether something must still be given, which is no mistake yet.
    waits: bool

    @property
    def is_complete(self) -> bool:
        """Whether it can be asked."""
        return not (self.waits or self.strange or any(one.error for one in self.inputs))

    @property
    def given(self) -> dict[str, str]:
        """The address's query that asks the same."""
        return {one.parameter.name: one.text for one in self.inputs}


def form_of(query: SavedQuery, given: Mapping[str, str]) -> Form:
    """The query's form with what is `given` as text; a field that was left empty has its default, unless it takes text."""
    inputs, values, waits = [], dict[str, Value](), False
    for parameter in query.parameters:
        text = given.get(parameter.name)
        if not text and (parameter.kind != "text" or parameter.default is None):
            text = None
        shown = text if text is not None else parameter.default or ""
        error = None
        if text is None and parameter.default is None:
            waits = True
            error = "This has to be given." if parameter.name in given else None
        elif len(shown) > _LONGEST_VALUE:
            error = f"This is longer than {_LONGEST_VALUE} characters."
        else:
            try:
                values[parameter.name] = parameter.value(shown.strip())
            except ConfigFault as fault:
                error = f"{str(fault)[:1].upper()}{str(fault)[1:]}. Write it like {parameter.example}."
        inputs.append(Input(parameter, shown[:_LONGEST_VALUE], error))
    known = {parameter.name for parameter in query.parameters}
    return Form(query, tuple(inputs), values, tuple(name for name in given if name not in known), waits)


def mistakes_of(form: Form) -> str:
    """Why the form cannot be asked, as one line."""
    said = [f"There is no parameter {name}." for name in form.strange]
    for one in form.inputs:
        missing = one.parameter.default is None and not one.text
        if one.error or missing:
            said.append(one.error or f"The parameter {one.parameter.name} has to be given.")
    return " ".join(said)
