"""What is kept of an entry of EMDB."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EmdbEntry:
    """One map of EMDB: facts, each None where EMDB does not state it in a form that can be relied on.

    How each is derived, docs/emdb.md says. Days are ``YYYY-MM-DD``.
    """

    emdb_id: str
    status: str | None = None
    title: str | None = None
    deposition_date: str | None = None
    release_date: str | None = None
    update_date: str | None = None
    obsolete_date: str | None = None
    #: Accessions, joined by commas.
    superseded_by: str | None = None
    method: str | None = None
    aggregation_state: str | None = None
    resolution_angstrom: float | None = None
    resolution_method: str | None = None
    symmetry: str | None = None
    particle_count: int | None = None
    #: Several are joined by semicolons, here and in `detector`, `organism` and the like.
    microscope: str | None = None
    voltage_kv: float | None = None
    cs_mm: float | None = None
    detector: str | None = None
    detector_mode: str | None = None
    sample: str | None = None
    organism: str | None = None
    molecular_weight_kda: float | None = None
    #: ``summed`` or ``stated``.
    molecular_weight_source: str | None = None
    largest_chain_kda: float | None = None
    #: True where EMDB says so; never False, since silence proves nothing.
    membrane_protein: bool | None = None
    membrane_source: str | None = None
    keywords: str | None = None
    half_map_count: int | None = None
    map_pixel_angstrom: float | None = None
    #: Sentences on what could not be taken as it came.
    oddities: tuple[str, ...] = ()
    pdb_ids: tuple[str, ...] = ()
    empiar_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reference of an EMPIAR entry to an EMDB entry with which something is wrong for sure."""

    empiar_id: int
    stated: str
    found: str
