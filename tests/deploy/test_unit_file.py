"""The unit file is what systemd understands, and keeps the daemon in its place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from empiar_mirror.status import SILENT_S
from empiar_schema.faults import ExitCode
from empiar_schema.sizes import parse_duration

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = UNITS / "empiar-mirror.service"
WEB = UNITS / "empiar-mirror-web.service"
OPERATIONS = UNIT.parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd is not installed")
    return found


def keys(path: Path = UNIT) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("path", [UNIT, WEB], ids=lambda path: path.stem)
def test_systemd_understands_every_line(analyze: str, tmp_path: Path, path: Path) -> None:
    """Only the program is replaced by one that is there."""
    unit = tmp_path / path.name
    unit.write_text(path.read_text().replace("/opt/empiar-mirror/bin/empiar-mirror", sys.executable))
    checked = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("path", [UNIT, WEB], ids=lambda path: path.stem)
def test_the_exposure_is_what_the_documentation_says(analyze: str, path: Path) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True)
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+) ", checked.stdout)
    assert checked.returncode == 0, checked.stdout  # 2.0 at most
    [stated] = re.findall(r"exposure level of ([\d.]+)", OPERATIONS.read_text())
    # Versions of systemd differ in what they count.
    assert abs(float(level) - float(stated)) <= 0.3


def test_the_daemon_writes_below_root_alone_and_stops_gently() -> None:
    unit = keys()
    root = unit["WorkingDirectory"]
    assert unit["ReadWritePaths"] == root == unit["RequiresMountsFor"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["KillSignal"] == ["SIGTERM"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["Type"] == ["notify"]
    # The judgement of half an hour, not systemd, decides about silence.
    watchdog_s = parse_duration(unit["WatchdogSec"][0].removesuffix("in"))
    assert isinstance(watchdog_s, float)
    assert 120 < watchdog_s < SILENT_S


def test_the_page_is_served_like_the_daemon_and_cannot_touch_what_was_mirrored() -> None:
    daemon, web = keys(), keys(WEB)
    same = ("User", "Group", "WorkingDirectory", "EnvironmentFile", "ReadWritePaths", "RequiresMountsFor", "Restart", "Type", "KillSignal")  # fmt: skip
    assert {key: web[key] for key in same} == {key: daemon[key] for key in same}
    assert web["ExecStart"] == [daemon["ExecStart"][0].replace(" run ", " serve ").partition(" --log")[0]]
    root = web["WorkingDirectory"][0]
    out_of_reach = {path.removeprefix(f"-{root}/") for path in web["ReadOnlyPaths"][0].split()}
    assert out_of_reach == {"archive", "datasets", "derived", "manifests", "staging", "quarantine"}
    # It stops with 130, which is no failure.
    assert web["SuccessExitStatus"] == [str(int(ExitCode.STOPPED))]
