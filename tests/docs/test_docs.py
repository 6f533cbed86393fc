"""The documentation is true: generated parts are current, examples run, links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from empiar_imaging.formats.evidence import MEANING
from empiar_mirror.arrange import COLUMNS
from empiar_mirror.cli import COMMANDS, cli, main
from empiar_mirror.layout import Rule
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE, PREFIX, known_keys, load
from empiar_schema.faults import ExitCode
from empiar_schema.hook_settings import PLACEHOLDERS
from empiar_schema.layout_views import PRESETS
from rehearsal_in_thread import rehearsal_in_thread

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def files_of_the_project() -> list[Path]:
    """What git has, or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


PAGES = sorted(path for path in files_of_the_project() if path.suffix == ".md")
IDS = [str(path.relative_to(ROOT)) for path in PAGES]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "commands.md", "operations.md", "roles.md"])
def test_generated_tables_are_what_the_program_says(name: str) -> None:
    """Commands, options, keys, exit codes, states and events; `make docs` renews them."""
    text = (ROOT / "docs" / name).read_text()
    assert generator().page(name, text) == text, "run `make docs`"


def test_every_key_command_exit_code_and_event_is_documented() -> None:
    configuration = (ROOT / "docs" / "configuration.md").read_text()
    commands = (ROOT / "docs" / "commands.md").read_text()
    for key in known_keys():
        assert f"`{PREFIX}{key.replace('.', '__').upper()}`" in configuration
    for name in COMMANDS:
        assert f"### {name}\n" in commands
    for code in ExitCode:
        assert f"| `{int(code)}` |" in commands
    for event in generator().all_events():
        assert f"| `{event.name}` |" in commands or event.name == "bytes.moved"


def test_every_finding_code_is_documented_with_its_meaning() -> None:
    text = (ROOT / "docs" / "headers.md").read_text()
    for code, meaning in MEANING.items():
        assert re.search(
            rf"^\| `{re.escape(code)}`(?: \*)? \| {re.escape(meaning)} \|$", text, re.MULTILINE
        ), code


def test_all_exit_codes_stand_in_the_help_too() -> None:
    text = " ".join((cli.help or "").split())
    assert all(f"{int(code)} " in text for code in ExitCode)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of every `empiar-mirror …` line in the page's code blocks."""
    for kind, block in FENCE.findall(page.read_text()):
        if kind in ("sh", "console"):
            for line in block.splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if "empiar-mirror" in words:
                    yield words[words.index("empiar-mirror") + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_line_that_is_shown_parses(page: Path) -> None:
    for words in command_lines(page):
        if not words or words[0] == ".":  # `docker build --tag empiar-mirror .`
            continue
        # As a child of the whole program's context: commands remember the first names of their help option.
        program = click.Context(cli, **cli.context_settings)
        command = cli.get_command(program, words[0])
        assert command is not None, words
        command.make_context(words[0], words[1:], parent=program)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_make_target_that_is_shown_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert shown <= targets


@pytest.fixture(scope="module")
def archive() -> Iterator[Rehearsal]:
    """A rehearsal archive that has the entry of the examples."""
    entry = big_entry(10017, {"a.mrc": 1_049_600, "b.mrc": 1_049_600})
    with rehearsal_in_thread(Rehearsal([entry])) as served:
        yield served


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/commands.md",
        "docs/emdb.md",
        "docs/export.md",
        "docs/history.md",
        "docs/layouts.md",
        "docs/query.md",
    ],
)
def test_examples_run(
    name: str,
    archive: Rehearsal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [variable for variable in os.environ if variable.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    (tmp_path / DEFAULT_FILE).write_text(archive.settings_toml("empiar"))
    assert main(["init", "--config", "other.toml"]) == 0
    assert main(["sync", "10017"]) == 0
    ran = 0
    for kind, block in FENCE.findall((ROOT / name).read_text()):
        if kind == "console":
            for line in block.splitlines():
                words = shlex.split(line)
                assert words[:2] == ["$", "empiar-mirror"], line
                capsys.readouterr()
                assert main(words[2:]) == 0, f"{line}\n{capsys.readouterr().err}"
                assert capsys.readouterr().out or "-o" in words, line
                ran += 1
    assert ran >= 4


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_configuration_that_is_shown_is_valid(page: Path, tmp_path: Path) -> None:
    for kind, block in FENCE.findall(page.read_text()):
        if kind == "toml":
            (tmp_path / DEFAULT_FILE).write_text(block)
            settings = load(environ={}, cwd=tmp_path)
            assert [settings.recipe(name).name for name in settings.view] == list(settings.view)


def test_every_preset_and_column_of_the_mapping_is_documented() -> None:
    text = (ROOT / "docs" / "layouts.md").read_text()
    for name, recipe in PRESETS.items():
        [row] = re.findall(rf"^\| `{name}` \| ([^|]*) \| ([^|]*) \|", text, re.MULTILINE)
        assert str(recipe.images or "all") in row[0]
        assert str(recipe.gains or "all") in row[1] or not recipe.shows_gains
    for column in COLUMNS:
        assert f"| `{column}` |" in text
    for rule in Rule:
        assert f"`{rule}`" in text


def test_the_tree_speaks_of_the_product_alone() -> None:
    """No path of the machine on which it was written, and none of its tools."""
    words = ["/" + "work/", "." + "library", "farm" + "-", "sub" + "agent"]
    for path in files_of_the_project():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for word in words:
            assert word not in text, f"{path.relative_to(ROOT)}: {word}"


def test_files_that_a_clone_needs_are_there() -> None:
    for name in (
        "LICENSE",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "Makefile",
        "constraints.txt",
        ".ci/run",
    ):
        assert (ROOT / name).stat().st_size > 0
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_constraints_hold_exact_versions_of_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    project = (ROOT / "pyproject.toml").read_text()
    wanted = set(re.findall(r'^    "([a-z0-9_-]+)(?:[>=]=[0-9.]+)?",$', project, re.MULTILINE))
    assert wanted
    assert {name.replace("_", "-") for name in wanted} <= pinned


def test_every_placeholder_of_hooks_is_explained() -> None:
    page = (ROOT / "docs" / "hooks.md").read_text()
    assert all(f"`{{{name}}}`" in page for name in PLACEHOLDERS)
