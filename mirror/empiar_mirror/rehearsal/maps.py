"""What the rehearsal's EMDB says of the maps that its entries name: the shapes of EMDB's API, odd ones among them."""

from __future__ import annotations

from typing import Final

from empiar_mirror.rehearsal.archive import Json

#: A map with nothing odd about it, for tests that need one.
PLAIN: Final = "EMD-0103"


def standard_maps() -> dict[str, Json]:
    """Maps of the standard entries by accession; EMD-0115 is named by an entry, and not served."""
    maps: list[dict[str, Json]] = [
        emdb_map(
            "EMD-0101", title="Rehearsal: a transporter", resolution="2.4", keywords="MEMBRANE PROTEIN", copies="1", megadaltons="0.078", pdb_ids=("1abc",)
        ),
        _obsolete(),
        emdb_map(
            PLAIN, title="Rehearsal: a channel", resolution="2.7", go_terms=("GO:0016021",), copies="2", megadaltons="0.032", pdb_ids=("2abc", "3abc"), empiar_id=10102
        ),
        _odd_shapes(),
        _filament(),
        _tomogram(),
        emdb_map("EMD-0113", title="Rehearsal: a large transmembrane complex", resolution="2.1", copies="4", megadaltons="0.0775"),
        emdb_map("EMD-0114", title="Rehearsal: a small enzyme", resolution="2.9", copies="1", megadaltons="0.045", empiar_id=10101),
    ]  # fmt: skip
    return {str(one["emdb_id"]): one for one in maps}


def measure(value: str, units: str) -> Json:
    """A number as EMDB writes it: a text beside its unit."""
    return {"valueOf_": value, "units": units}


def emdb_map(
    emdb_id: str,
    *,
    title: str,
    resolution: str | None,
    keywords: str = "",
    go_terms: tuple[str, ...] = (),
    copies: str,
    megadaltons: str,
    pdb_ids: tuple[str, ...] = (),
    empiar_id: int | None = None,
) -> dict[str, Json]:
    """A single-particle map in the shape of EMDB's API, with a contact such as must not be kept."""
    references: dict[str, Json] = {
        "pdb_list": {
            "pdb_reference": [{"pdb_id": pdb_id, "instance_type": "pdb_reference"} for pdb_id in pdb_ids]
        }
    }
    if empiar_id is not None:
        reference: Json = {"db_name": "EMPIAR", "accession_id": f"EMPIAR-{empiar_id}"}
        references["other_db_list"] = {"db_reference": [reference]}
    final: dict[str, Json] = {
        "applied_symmetry": {"point_group": "C2"},
        "number_images_used": 124_891,
        "resolution_method": "FSC 0.143 CUT-OFF",
    }
    if resolution is not None:
        final["resolution"] = {"res_type": "BY AUTHOR", "units": "Å", "valueOf_": resolution}
    return {
        "emdb_id": emdb_id,
        "admin": {
            "title": title,
            "keywords": keywords,
            "current_status": {"code": {"valueOf_": "REL"}, "date": "2022-11-17T00:00:00"},
            "key_dates": {"deposition": "2021-10-07T00:00:00", "map_release": "2022-11-17T00:00:00"},
            "contact_author": [{"email": "author@example.org"}],
            "details": "Write to author@example.org.",
        },
        "crossreferences": references,
        "interpretation": {"half_map_list": {"half_map": [{"file": f"half_{n}.map.gz"} for n in (1, 2)]}},
        "map": {"pixel_spacing": {axis: measure("1.03", "Å") for axis in "xyz"}},
        "sample": {
            "name": {"valueOf_": title.removeprefix("Rehearsal: ")},
            "macromolecule_list": {
                "macromolecule": [
                    {
                        "instance_type": "protein_or_peptide",
                        "macromolecule_id": 1,
                        "molecular_weight": {"theoretical": measure(megadaltons, "MDa")},
                        "name": {"valueOf_": "chain of the rehearsal"},
                        "natural_source": {"organism": {"ncbi": 9606, "valueOf_": "Homo sapiens"}},
                        "number_of_copies": copies,
                        "sequence": {
                            "string": "MGSSHHHHHH",
                            "external_references": [{"type_": "GO", "valueOf_": term} for term in go_terms],
                        },
                    },
                    {
                        "instance_type": "ligand",
                        "molecular_weight": {"theoretical": measure("0.000018", "MDa")},
                    },
                ]
            },
            "supramolecule_list": {"supramolecule": [{"parent": 0, "name": {"valueOf_": "the whole"}}]},
        },
        "structure_determination_list": {
            "structure_determination": [
                {
                    "method": "singleParticle",
                    "aggregation_state": "particle",
                    "image_processing": [{"final_reconstruction": final}],
                    "microscopy_list": {
                        "microscopy": [
                            {
                                "microscope": "FEI TITAN KRIOS",
                                "acceleration_voltage": measure("300", "kV"),
                                "nominal_cs": measure("2.7", "mm"),
                                "image_recording_list": {
                                    "image_recording": [
                                        {
                                            "film_or_detector_model": {
                                                "valueOf_": "GATAN K2 SUMMIT (4k x 4k)"
                                            },
                                            "detector_mode": "COUNTING",
                                        }
                                    ]
                                },
                            }
                        ]
                    },
                }
            ]
        },
    }


def _obsolete() -> dict[str, Json]:
    return {
        "emdb_id": "EMD-0102",
        "admin": {
            "title": "Rehearsal: a transporter, first map",
            "current_status": {"code": "OBS"},
            "key_dates": {
                "deposition": "2019-01-01",
                "header_release": "2020-01-01",
                "obsolete": "2022-11-17",
            },
            "superseded_by_list": {"entry": [{"date": "2022-11-17", "entry": "EMD-0101"}]},
        },
    }


def _odd_shapes() -> dict[str, Json]:
    """Lone objects in place of lists, numbers in place of texts, units inside of numbers, values that nobody can mean."""
    return {
        "emdb_id": "EMD-0110",
        "admin": {"title": "Rehearsal: odd shapes &amp; units", "current_status": None, "key_dates": {"map_release": "soon"}},
        "sample": {
            "name": "odd",
            "macromolecule_list": {"macromolecule": {"instance_type": "protein_or_peptide", "molecular_weight": {"theoretical": {"units": "Da", "valueOf_": 52_000}}, "number_of_copies": 3}},
        },
        "structure_determination_list": {
            "structure_determination": {
                "method": {"valueOf_": "singleParticle"},
                "image_processing": {"final_reconstruction": {"resolution": "3.1 Å", "number_images_used": "12,345"}},
                "microscopy_list": {"microscopy": {"acceleration_voltage": {"units": "kV", "valueOf_": "300000"}, "nominal_cs": 2.7, "microscope": ["OTHER"]}},
            }
        },
        "crossreferences": {"pdb_list": None},
        "interpretation": "none",
    }  # fmt: skip


def _filament() -> dict[str, Json]:
    helix: Json = {
        "delta_z": measure("4.75", "Å"),
        "delta_phi": measure("-1.2", "deg"),
        "axial_symmetry": "C1",
    }
    return {
        "emdb_id": "EMD-0111",
        "admin": {"title": "Rehearsal: a filament", "current_status": {"code": "REL"}},
        "sample": {
            "supramolecule_list": {
                "supramolecule": [
                    {"parent": 0, "molecular_weight": {"experimental": measure("24", "kDa/nm")}}
                ]
            }
        },
        "structure_determination_list": {
            "structure_determination": [
                {
                    "method": "helical",
                    "image_processing": [
                        {
                            "final_reconstruction": {
                                "resolution": measure("3.4", "Å"),
                                "applied_symmetry": {"helical_parameters": helix},
                            }
                        }
                    ],
                }
            ]
        },
    }


def _tomogram() -> dict[str, Json]:
    return {
        "emdb_id": "EMD-0112",
        "admin": {"title": "Rehearsal: a tomogram", "current_status": {"code": "REL"}},
        "structure_determination_list": {
            "structure_determination": [{"method": "tomography", "aggregation_state": "cell"}]
        },
    }
