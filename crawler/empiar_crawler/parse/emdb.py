"""An answer of EMDB's ``entry/{id}`` → the facts that are kept of it. How each is derived, docs/emdb.md says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from empiar_crawler.parse.api import parse_json
from empiar_crawler.parse.emdb_membrane import membrane_source
from empiar_crawler.parse.emdb_values import (
    ANGSTROM,
    KILOVOLT,
    MILLIMETRE,
    Notes,
    count_of,
    day_of,
    joined,
    measure_of,
    text_of,
    texts,
    under,
    values,
)
from empiar_crawler.parse.emdb_weights import weight_of
from empiar_schema.emdb import EmdbEntry
from empiar_schema.faults import BadAnswer

#: Keys of which a true entry has at least one.
_SECTIONS: Final = ("admin", "sample", "structure_determination_list", "map", "crossreferences")
_EMDB_ID: Final = re.compile(r"EMD-([0-9]{4,9})", re.IGNORECASE)
_PDB_ID: Final = re.compile(r"[0-9][A-Za-z0-9]{3}|pdb_[0-9a-z]{8}", re.IGNORECASE)
_EMPIAR_ID: Final = re.compile(r"empiar[^0-9]{1,40}([0-9]{5,9})(?![0-9])", re.IGNORECASE)
#: Å; above it nobody means a resolution.
_RESOLUTIONS: Final = (0.3, 1000.0)


def parse_emdb(body: bytes, emdb_id: str) -> EmdbEntry | None:
    """What EMDB says of this entry; None where the answer holds no entry at all (``{}``).

    Raises:
        BadAnswer: no JSON, an entry of another accession, or nothing that looks like an entry.
    """
    answer = parse_json(body)
    if answer in ({}, []):
        return None
    entry = _entry_in(answer, emdb_id)
    if entry is None:
        raise BadAnswer(f"EMDB's answer for {emdb_id} is no entry")
    stated = text_of(entry.get("emdb_id"))
    # Old accessions are written with and without a leading zero.
    if stated is not None and stated.upper().removeprefix("EMD-").lstrip("0") != emdb_id[4:].lstrip("0"):
        raise BadAnswer(f"EMDB's answer for {emdb_id} is that of {stated[:20]}")
    return _facts(emdb_id, entry, Notes())


def _entry_in(answer: JsonValue, emdb_id: str) -> dict[str, JsonValue] | None:
    """The entry: the answer itself, the only one of a list, or the value of a key that is its accession."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    inner = answer.get(emdb_id, answer.get(emdb_id.removeprefix("EMD-")))
    found = inner if isinstance(inner, dict) else answer
    return found if any(isinstance(found.get(key), dict) for key in _SECTIONS) else None


def _facts(emdb_id: str, entry: dict[str, JsonValue], notes: Notes) -> EmdbEntry:
    admin = next(under(entry, "admin"), {})
    dates = next(under(admin, "key_dates"), {})
    sample = entry.get("sample")
    determinations = list(under(entry, "structure_determination_list", "structure_determination"))
    microscopy = [m for d in determinations for m in under(d, "microscopy_list", "microscopy")]
    recordings = [r for m in microscopy for r in under(m, "image_recording_list", "image_recording")]
    best = _best(determinations, notes)
    weight = weight_of(sample, notes)
    status = text_of(next(values(admin, "current_status", "code"), None))
    title, keywords = text_of(admin.get("title")), text_of(admin.get("keywords"))
    source = membrane_source(_go_terms(sample), keywords, filter(None, [title, *_names(sample)]))
    map_spacing = {
        measure_of(side, ANGSTROM, "pixel_spacing", notes, between=(0.01, 1e5))
        for axis in ("x", "y", "z")
        for side in values(entry, "map", "pixel_spacing", axis)
    }
    return EmdbEntry(
        emdb_id,
        status=None if status is None else status.upper(),
        title=title,
        deposition_date=day_of(dates.get("deposition"), "deposition", notes),
        release_date=day_of(dates.get("map_release"), "map_release", notes)
        or day_of(dates.get("header_release"), "header_release", notes),
        update_date=day_of(dates.get("update"), "update", notes),
        obsolete_date=day_of(dates.get("obsolete"), "obsolete", notes),
        superseded_by=_successors(admin, emdb_id, obsolete=status is not None and status.upper() == "OBS"),
        method=joined(d.get("method") for d in determinations),
        aggregation_state=joined(d.get("aggregation_state") for d in determinations),
        resolution_angstrom=best.resolution,
        resolution_method=best.resolution_method,
        symmetry=best.symmetry,
        particle_count=best.particles,
        microscope=joined(m.get("microscope") for m in microscopy),
        voltage_kv=_agreed(
            measure_of(
                m.get("acceleration_voltage"), KILOVOLT, "acceleration_voltage", notes, between=(1, 5000)
            )
            for m in microscopy
        ),
        cs_mm=_agreed(
            measure_of(m.get("nominal_cs"), MILLIMETRE, "nominal_cs", notes, between=(0, 50))
            for m in microscopy
        ),
        detector=joined(r.get("film_or_detector_model") for r in recordings),
        detector_mode=joined(r.get("detector_mode") for r in recordings),
        sample=text_of(next(values(sample, "name"), None)),
        organism=joined(_organisms(sample)),
        molecular_weight_kda=weight.whole,
        molecular_weight_source=weight.source,
        largest_chain_kda=weight.largest_chain,
        membrane_protein=True if source is not None else None,
        membrane_source=source,
        keywords=keywords,
        half_map_count=sum(1 for _ in under(entry, "interpretation", "half_map_list", "half_map")),
        map_pixel_angstrom=_agreed(map_spacing),
        oddities=tuple(notes.sentences),
        pdb_ids=_accessions(values(entry, "crossreferences", "pdb_list", "pdb_reference", "pdb_id"), _PDB_ID),
        empiar_ids=_empiar_ids(entry),
    )


def _agreed(found: Iterable[float | None]) -> float | None:
    """The one value on which all that state any agree."""
    stated = {value for value in found if value is not None}
    return stated.pop() if len(stated) == 1 else None


@dataclass(frozen=True, slots=True)
class _Reconstruction:
    resolution: float | None = None
    resolution_method: str | None = None
    symmetry: str | None = None
    particles: int | None = None


def _best(determinations: list[dict[str, JsonValue]], notes: Notes) -> _Reconstruction:
    """The reconstruction of the finest resolution; the first where none states one."""
    every = [
        _Reconstruction(
            measure_of(final.get("resolution"), ANGSTROM, "resolution", notes, between=_RESOLUTIONS),
            text_of(final.get("resolution_method")),
            _symmetry(final),
            _particles(final, notes),
        )
        for determination in determinations
        for processing in under(determination, "image_processing")
        for final in _finals(processing)
    ]
    inf = float("inf")
    return min(
        every, key=lambda one: inf if one.resolution is None else one.resolution, default=_Reconstruction()
    )


def _finals(processing: dict[str, JsonValue]) -> Iterator[dict[str, JsonValue]]:
    yield from under(processing, "final_reconstruction")
    # Crystals have no final_reconstruction of their own; their resolution stands among the statistics.
    for statistics in under(processing, "crystallography_statistics"):
        if (resolution := statistics.get("high_resolution")) is not None:
            yield {"resolution": resolution}


def _particles(final: dict[str, JsonValue], notes: Notes) -> int | None:
    for key in ("number_images_used", "number_subtomograms_used"):
        if final.get(key) is not None:
            return count_of(final[key], key, notes)
    return None


def _symmetry(final: dict[str, JsonValue]) -> str | None:
    for applied in under(final, "applied_symmetry"):
        if (group := text_of(applied.get("point_group"))) is not None:
            return group.upper()
        for helix in under(applied, "helical_parameters"):
            rise, twist = text_of(helix.get("delta_z")), text_of(helix.get("delta_phi"))
            axial = text_of(helix.get("axial_symmetry"))
            return f"helical: rise {rise or '?'} Å, twist {twist or '?'}°, {axial or 'C1'}"
        if (space_group := text_of(applied.get("space_group"))) is not None:
            return f"space group {space_group}"
    return None


def _successors(admin: dict[str, JsonValue], emdb_id: str, *, obsolete: bool) -> str | None:
    """Of an obsolete entry also its `obsolete_list` names successors; of others it names those that they replace."""
    lists = ["superseded_by_list", *(["obsolete_list"] if obsolete else [])]
    named = [one for key in lists for one in values(admin, key, "entry", "entry")]
    return ",".join(one for one in _accessions(named, _EMDB_ID) if one != emdb_id) or None


def _accessions(found: Iterable[JsonValue], form: re.Pattern[str]) -> tuple[str, ...]:
    """Spelled as in `cross_references`; the new long ones of PDB have small letters."""
    kept = {text for text in texts(found) if form.fullmatch(text)}
    return tuple(sorted({text.lower() if len(text) > 9 and "_" in text else text.upper() for text in kept}))


def _molecules(sample: JsonValue) -> Iterator[dict[str, JsonValue]]:
    yield from under(sample, "macromolecule_list", "macromolecule")
    yield from under(sample, "supramolecule_list", "supramolecule")


def _names(sample: JsonValue) -> list[str]:
    return texts([*values(sample, "name"), *(molecule.get("name") for molecule in _molecules(sample))])


def _organisms(sample: JsonValue) -> Iterator[JsonValue]:
    for molecule in _molecules(sample):
        yield from values(molecule, "natural_source", "organism")
        if (virus := molecule.get("sci_species_name")) is not None:
            yield virus


def _go_terms(sample: JsonValue) -> list[str]:
    references = (
        reference
        for molecule in _molecules(sample)
        for where in ((), ("sequence",))
        for reference in under(molecule, *where, "external_references")
    )
    return texts(one for one in references if text_of(one.get("type_", one.get("type"))) == "GO")


def _empiar_ids(entry: dict[str, JsonValue]) -> tuple[int, ...]:
    """Entries of EMPIAR that the map names: as another data base, or by an address."""
    named = [
        reference.get("accession_id")
        for reference in under(entry, "crossreferences", "other_db_list", "db_reference")
        if (text_of(reference.get("db_name")) or "").upper() == "EMPIAR"
    ]
    linked = list(values(entry, "crossreferences", "auxiliary_link_list", "auxiliary_link", "link"))
    ids = {int(text) for text in texts(named) if text.isascii() and text.isdigit() and len(text) <= 9}
    ids |= {int(match[1]) for text in texts([*named, *linked]) for match in _EMPIAR_ID.finditer(text)}
    return tuple(sorted(ids))
