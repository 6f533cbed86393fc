"""Alert rules and dashboard speak of metrics and labels that exist, and every alert is explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from empiar_mirror.metrics.instruments import FAILURE_KINDS, PREFIX, Instruments
from empiar_schema.globus_states import BundleState
from empiar_schema.jobs import JobState
from empiar_schema.states import Channel, CopyState

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0][
    "rules"
]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "empiar-mirror.json").read_text())
METRIC = re.compile(r"\b((?:empiar_mirror|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)(=~|=)\"([^\"]*)\"")
#: Words that a label may have.
WORDS = {
    "channel": {*map(str, Channel)},
    "kind": {*FAILURE_KINDS},
    "end": {"complete", "short"},
    "state": {*map(str, CopyState), *map(str, JobState), *map(str, BundleState)},
}


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield DASHBOARD["templating"]["list"][0]["query"]


def labels_of_samples() -> dict[str, set[str]]:
    """Every name that a scrape can hold, with its labels."""
    instruments = Instruments()
    found = {
        sample.name: set(sample.labels)
        for family in instruments.registry.collect()
        for sample in family.samples
    }
    for metric in instruments.described():
        found[f"{metric.name}_total" if metric.kind == "counter" else metric.name] = set(metric.labels)
    return found


KNOWN = labels_of_samples()


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_metric_and_label_exists(expression: str) -> None:
    used = METRIC.findall(expression)
    assert used or expression.startswith("up{")
    for name, matchers in used:
        assert name in KNOWN, name
        for label, relation, value in MATCHER.findall(matchers):
            assert label in {*KNOWN[name], "instance", "job"}, (name, label)
            if label in WORDS:
                assert set(value.split("|") if relation == "=~" else [value]) <= WORDS[label]
    for label in re.findall(r"(?:by|without) \(([^)]*)\)", expression):
        assert set(label.split(", ")) <= {*WORDS}


def test_the_scrape_finds_the_daemon_of_the_compose_file() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert COMPOSE["services"][name]["expose"] == [port]
    assert [(DEPLOY / "prometheus" / file).is_file() for file in config["rule_files"]] == [True]
    assert any(f'job="{job["job_name"]}"' in rule["expr"] for rule in RULES)


def test_every_alert_is_explained_where_it_says_and_nothing_else_is() -> None:
    headings = re.findall(r"^### (EmpiarMirror\w+)$", OPERATIONS, re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert re.fullmatch(r"\d+[mhd]", rule["for"])


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "empiar-mirror.yml").read_text())["providers"]
    volumes = COMPOSE["services"]["grafana"]["volumes"]
    assert f"../deploy/grafana/dashboards:{provider['options']['path']}:ro" in volumes
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}


def test_panels_have_a_place_of_their_own_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_what_matters_most_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    for name in (
        "standstill",
        "bytes_total",
        "queue_files",
        "disk_free_bytes",
        "scrub_lag_seconds",
        "sweep_lag_seconds",
        "connections_allowed",
        "globus_tasks",
    ):
        assert f"{PREFIX}{name}" in shown
