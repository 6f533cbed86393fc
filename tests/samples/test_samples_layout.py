"""The names that CryoPPP published are laid out as they are."""

from __future__ import annotations

import csv
from pathlib import Path

from empiar_mirror.layout import LaidFile, Rule, plan_layout
from empiar_schema.states import Role


def test_no_published_cryoppp_name_changes(samples: Path) -> None:
    lists = sorted((samples / "cryoppp-files").glob("*.csv"))
    assert lists
    for sample in lists:
        with sample.open(newline="") as rows:
            names = [
                (Role.GAIN if row["role"] == "gain" else Role.MICROGRAPH, row["name"])
                for row in csv.DictReader(rows)
            ]
        plan = plan_layout([LaidFile.of(n, f"data/{name}", role) for n, (role, name) in enumerate(names)])
        assert len(plan.places) == len(names)
        assert {place.rule for place in plan.places} == {Rule.NAME}
        assert {place.name for place in plan.places} == {name for _role, name in names}
