"""How heavy the sample of an EMDB entry is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from empiar_crawler.parse.emdb_values import KILODALTON, Notes, alone, count_of, measure_of, text_of, under

#: Chains; ligands, labels and water are not.
_CHAINS: Final = frozenset({"protein_or_peptide", "dna", "rna"})
#: kDa: from an atom to a giant virus.
_WEIGHTS: Final = (1e-3, 1e8)
SUMMED: Final = "summed"
STATED: Final = "stated"


@dataclass(frozen=True, slots=True)
class Weight:
    """Weights in kDa."""

    whole: float | None = None
    #: How `whole` came about: `SUMMED` or `STATED`.
    source: str | None = None
    largest_chain: float | None = None


def weight_of(sample: JsonValue, notes: Notes) -> Weight:
    """The weight of the sample.

    The weights of the molecules follow from their sequences, and their sum counts; the authors' own statement, in which kDa and MDa
    are easily confused, only where the sum is not complete.
    """
    chains, total, complete = [], 0.0, True
    for molecule in under(sample, "macromolecule_list", "macromolecule"):
        weight = _stated(molecule, notes)
        copies = count_of(molecule.get("number_of_copies"), "number_of_copies", notes)
        is_chain = text_of(molecule.get("instance_type")) in _CHAINS
        if is_chain and weight is not None:
            chains.append(weight)
        if weight is not None and copies is not None:
            total += weight * copies
        elif is_chain:
            complete = False
    largest = max(chains, default=None)
    if chains and complete:
        return Weight(float(f"{total:.9g}"), SUMMED, largest)
    whole = [
        weight
        for part in under(sample, "supramolecule_list", "supramolecule")
        # A part of another supramolecule has its number as parent.
        if text_of(part.get("parent")) in (None, "0") and (weight := _stated(part, notes)) is not None
    ]
    if len(whole) == 1:
        return Weight(whole[0], STATED, largest)
    return Weight(largest_chain=largest)


def _stated(part: dict[str, JsonValue], notes: Notes) -> float | None:
    for weight in under(part.get("molecular_weight")):
        for kind in ("theoretical", "experimental"):
            stated = alone(weight.get(kind))
            unit = text_of(stated.get("units")) if isinstance(stated, dict) else None
            if stated is None or unit == "kDa/nm":
                continue
            found = measure_of(stated, KILODALTON, f"molecular_weight.{kind}", notes, between=_WEIGHTS)
            if found is not None:
                return found
    return None
