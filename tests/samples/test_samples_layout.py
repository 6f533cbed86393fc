"""The names that CryoPPP published are laid out as they are."""

from __future__ import annotations

import csv
from pathlib import Path

from empiar_mirror.layout import LaidFile, Rule, plan_layout
from empiar_mirror.selection import choose, stratum_of
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


def test_the_published_sets_spread_over_more_squares_than_their_beginning(samples: Path) -> None:
    with (samples / "cryoppp-files" / "10240.csv").open(newline="") as rows:
        names = [row["name"] for row in csv.DictReader(rows)]
    images = [LaidFile.of(n, f"data/{name}", Role.MICROGRAPH) for n, name in enumerate(names)]
    spread = choose(images, 20, how="spread", stratify=True)
    first = choose(images, 20, how="first")
    squares = {stratum_of(file.path) for file in spread}
    assert len(squares) == min(20, len({stratum_of(file.path) for file in images}))
    assert len(squares) >= len({stratum_of(file.path) for file in first})
