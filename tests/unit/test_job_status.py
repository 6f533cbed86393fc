"""What `status`, `why` and the exit codes say of derived files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_schema.states import Role
from entry_here import ID, put_here

Call = Callable[..., tuple[int, str]]
PROGRAM = "import sys\nif 'a.tif' in sys.argv[1]:\n    print('no beam')\n    sys.exit(3)\nopen(sys.argv[2], 'w').write('x')\n"


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command against a mirror with a hook that fails on a.tif; returns exit code and output."""
    root = tmp_path / "mirror"
    root.mkdir()
    put_here(root, {f"data/{name}.tif": (Role.MOVIE, name.encode()) for name in "ab"})
    (tmp_path / "program.py").write_text(PROGRAM)
    config = tmp_path / "empiar-mirror.toml"
    config.write_text(
        f'root = "{root}"\n[hook.average]\nretries = 0\nversion_command = ["echo", "1.2"]\n'
        f'command = ["{sys.executable}", "{tmp_path}/program.py", "{{input}}", "{{output}}"]\n'
        'outputs = [{ path = "{stem}.mrc", kind = "micrograph" }]\n'
    )

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*words, "--config", str(config)])
        return code, capsys.readouterr().out

    return run


def test_make_names_what_failed_and_exits_with_1(call: Call) -> None:
    code, text = call("make", str(ID))
    assert code == 1
    assert "1 derived file made of 1 file\n1 derived file could not be made:\n" in text
    assert (
        f"{ID}/data/a.tif by average  parked: {sys.executable} ended with exit code 3; it said last: no beam"
        in text
    )
    code, text = call("make", "--maker", "average", "--json")
    report = json.loads(text)
    assert (code, report["made"], report["failed"][0]["state"]) == (1, 0, "parked")
    assert call("make", "--maker", "nobody")[0] == 2


def test_sync_and_repair_make_too_and_fail_for_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = call("repair", str(ID))
    assert code == 1
    assert "could not be made" in text


def test_status_counts_jobs_and_names_those_that_failed(call: Call) -> None:
    call("make")
    code, text = call("status")
    assert code == 0
    assert f"EMPIAR-{ID}  average: 1 of 2 files made, 1 parked" in text
    assert f"{ID}/data/a.tif by average  parked after 1 attempt: " in text
    assert f"/derived/{ID}/.logs/average/" in text
    code, text = call("status", "--healthy", "--json")
    document = json.loads(text)
    assert code == 1
    assert "1 derived file could not be made" in document["ailments"][0]
    assert document["makers"][0]["made"] == 1
    assert document["stuck_jobs"][0]["path"] == "data/a.tif"


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (
            "data/a.tif",
            ["it is here", "what average makes of it is parked", "no beam", "--maker average --retry`"],
        ),
        (
            "derived/average/data/a.mrc",
            ["it is not made yet", "is parked", "no beam", "what the program said is in"],
        ),
        (f"derived/{ID}/average/data/a.mrc", ["it is not made yet"]),
        (
            "derived/average/data/b.mrc",
            ["it is here, made by average (version 1.2) of data/b.tif at ", "/derived/"],
        ),
        ("derived/average/data/x.mrc", [f"EMPIAR-{ID} has no file derived/average/data/x.mrc"]),
        (
            "",
            [f"EMPIAR-{ID} is here", "average has not made what it makes of 1 of 2 files, 1 of them failed"],
        ),
    ],
)
def test_why_says_it_in_a_sentence(call: Call, target: str, parts: list[str]) -> None:
    call("make")
    code, text = call("why", f"{ID}/{target}")
    assert code == 0
    for part in parts:
        assert part in text


def test_why_says_nothing_of_makers_when_all_is_made(call: Call) -> None:
    call("make")
    _, text = call("why", f"{ID}/data/b.tif")
    assert "average" not in text
    assert len(text.splitlines()) == 1
