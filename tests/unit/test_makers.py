"""Makers whose work is a function, the pairing of gains, templates, and the removal of folders."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import maker_functions
from empiar_mirror.makers.folder import remove_tree
from empiar_mirror.makers.function import FunctionMaker, each_file, each_product
from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.maker import EntryFiles, Facts, Source, Task
from empiar_mirror.makers.pairing import Ambiguous, nearest
from empiar_mirror.makers.registry import BuiltIn, configured
from empiar_mirror.makers.runner import in_order
from empiar_mirror.makers.templates import Unfilled, fill, on_disk, values_of
from empiar_mirror.makers.worker import Function
from empiar_mirror.makers.workers import Processes, Workers
from empiar_schema.faults import ConfigFault
from empiar_schema.hook_settings import HookSettings
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.paths import checked_name
from empiar_schema.settings import Settings
from empiar_schema.states import Role
from empiar_schema.stems import stem_of
from entry_here import ID, opened, put_here, rows

MOVIES = {f"data/{name}.tif": (Role.MOVIE, f"movie {name}".encode()) for name in "abc"}
GAIN = {"data/gain.mrc": (Role.GAIN, b"gain")}


def maker(
    function: Function = maker_functions.shout,
    *,
    program: str = "1",
    gain: bool = False,
    **parameters: object,
) -> BuiltIn:
    def build(settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers) -> Iterable[Maker]:
        choose = each_file(Role.MOVIE, gain=gain)
        yield FunctionMaker("shout", function, choose, program, workers, parameters, timeout_s=3.0)

    return build


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put_here(tmp_path, {**MOVIES, **GAIN})
    return tmp_path


def test_a_function_runs_in_workers_and_its_details_are_on_record(root: Path) -> None:
    with opened(root, "[making]\nworkers = 2\n", built_in=[maker(gain=True, loud=3)]) as mirror:
        report = asyncio.run(mirror.make(None))
        found = rows(
            mirror,
            "SELECT path, kind, stem, version, command, details, local_path FROM derived ORDER BY path",
        )
    assert (report.made, report.failed) == (3, ())
    path, kind, stem, version, command, details, local_path = found[0]
    assert (path, kind, stem, version, command) == ("shout/data/a.txt", "shout", "a", "1", None)
    assert json.loads(str(details)) == {"length": 7, "gain": ["gain.mrc"]}
    assert Path(str(local_path)).read_bytes() == b"MOVIE A!!!"


def test_version_and_parameters_and_parents_decide_whether_it_is_made_again(root: Path) -> None:
    def made(built_in: BuiltIn) -> int:
        with opened(root, "", built_in=[built_in]) as mirror:
            return asyncio.run(mirror.make([ID])).made

    assert [made(maker()), made(maker())] == [3, 0]
    assert [made(maker(loud=2)), made(maker(loud=2))] == [3, 0]
    assert [made(maker(loud=2, program="2")), made(maker(loud=2, program="2"))] == [3, 0]
    assert made(maker(loud=2, program="2", gain=True)) == 3


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("raise", "ValueError: row 7 is ragged"),
        ("fault", "there is nothing to average"),
        ("die", "the process that worked on it died (exit code -9), often for want of memory"),
        ("hang", "it was ended after 3 s, the time that it may take"),
        ("memory", "there was not enough memory for it"),
        ("outside", "its output ../../x lies outside its folder"),
        ("absolute", "its output /etc/passwd lies outside its folder"),
        ("hostile name", "no file can have the name '../../x'"),
        ("one name twice", "two of its outputs would be called 'x'"),
        ("nothing", "it made nothing"),
    ],
)
def test_a_function_that_goes_wrong_costs_no_other_file(root: Path, way: str, sentence: str) -> None:
    built_in = maker(maker_functions.go_wrong, way=way)
    with opened(root, "[making]\nworkers = 1\n", built_in=[built_in]) as mirror:
        report = asyncio.run(mirror.make([ID]))
        assert rows(mirror, "SELECT path, state FROM jobs ORDER BY path") == [
            ("data/a.tif", "parked"), ("data/b.tif", "made"), ("data/c.tif", "made"),
        ]  # fmt: skip
    assert report.failed[0].error.startswith(sentence)
    assert not (root.parent / "x").exists()


def test_a_job_on_a_whole_entry_and_one_on_what_another_made(root: Path) -> None:
    def all_of(files: EntryFiles) -> Iterable[Task]:
        yield Task(None, files.of_role(Role.MOVIE))

    def build(settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers) -> Iterable[Maker]:
        yield FunctionMaker(
            "louder", maker_functions.shout, each_product("shout", "shout"), "1", workers, source="shout"
        )
        yield FunctionMaker("list", maker_functions.whole_entry, all_of, "1", workers)

    with opened(root, "", built_in=[build, maker()]) as mirror:
        report = asyncio.run(mirror.make([ID]))
        found = rows(mirror, "SELECT path, stem, parents FROM derived WHERE maker <> 'shout' ORDER BY path")
        [job] = rows(mirror, "SELECT path, file_id, state FROM jobs WHERE maker = 'list'")
    assert (report.made, report.failed) == (7, ())
    assert [row[0] for row in found] == [
        "list/ground_truth/all.txt", "louder/data/a.txt", "louder/data/b.txt", "louder/data/c.txt",
    ]  # fmt: skip
    assert (found[0][1], found[1][1]) == (None, "a")
    assert json.loads(str(found[0][2])) == [f"archive/{ID}/data/{name}.tif" for name in "abc"]
    assert json.loads(str(found[1][2])) == [f"derived/{ID}/shout/data/a.txt"]
    assert job == (None, None, "made")


def test_makers_follow_their_sources_and_names_are_taken_once() -> None:
    hook = {"command": ["x"], "outputs": [{"path": "x", "kind": "y"}]}
    settings = Settings.model_validate(
        {
            "hook": {
                "b": {**hook, "source": "c"},
                "c": hook,
                "a": {**hook, "source": "b"},
                "d": {**hook, "enabled": False},
            }
        }
    )
    makers = configured(settings, Processes(), built_in=[])
    assert [one.name for one in in_order(makers)] == ["c", "b", "a"]
    clash = Settings.model_validate({"hook": {"shout": hook}})
    with pytest.raises(ConfigFault, match="shout is the name of a built-in maker"):
        in_order(configured(clash, Processes(), built_in=[maker()]))


# --- pairing ------------------------------------------------------------------------------------------------


def source(path: str, *, sides: tuple[int, int] | None = None, role: str = "gain") -> Source:
    facts = Facts(*sides) if sides else Facts()
    return Source(1, path, role, Path("/x") / path, 1, "00", facts)


@pytest.mark.parametrize(
    ("gains", "movie", "expected"),
    [
        ([], "data/a.tif", None),
        (["data/gain.mrc"], "data/a.tif", "data/gain.mrc"),
        (["data/one/gain.mrc", "data/two/gain.mrc"], "data/two/a.tif", "data/two/gain.mrc"),
        (["data/gain/gain.mrc", "data/two/gain.mrc"], "data/two/movies/a.tif", "data/two/gain.mrc"),
        (["gain.mrc", "other/gain.mrc"], "data/two/a.tif", "gain.mrc"),
    ],
)
def test_the_nearest_gain_belongs_to_a_movie(gains: list[str], movie: str, expected: str | None) -> None:
    found = nearest([source(path) for path in gains], source(movie, role="movie"))
    assert (found.path if found else None) == expected


def test_a_gain_of_the_same_sides_comes_before_a_nearer_one_also_when_it_is_turned() -> None:
    movie = source("data/a.tif", sides=(5760, 4092), role="movie")
    gains = [source("data/gain.mrc", sides=(11520, 8184)), source("other/gain.mrc", sides=(4092, 5760))]
    found = nearest(gains, movie)
    assert found is not None
    assert found.path == "other/gain.mrc"


def test_equally_near_gains_are_not_guessed_between() -> None:
    gains = [source("data/gain1.mrc"), source("data/gain2.mrc")]
    with pytest.raises(Ambiguous, match=r"2 fit equally well: data/gain1\.mrc, data/gain2\.mrc"):
        nearest(gains, source("data/a.tif"))
    found = nearest(gains, source("data/a.tif"), named="data/gain2.mrc")
    assert found is gains[1]
    assert nearest(gains, source("data/a.tif"), named="data/gain3.mrc") is None


# --- templates ----------------------------------------------------------------------------------------------


def hook(**keys: object) -> HookSettings:
    given = {"command": ["x"], "outputs": [{"path": "{stem}.mrc", "kind": "micrograph"}], **keys}
    return HookSettings.model_validate(given)


def values(path: str = "data/a.b.tif", **facts: object) -> dict[str, str | None]:
    one = Source(1, path, "movie", Path("/x"), 1, "00", Facts(**facts))  # type: ignore[arg-type]
    return values_of(one, empiar_id=10017, threads="4", gain=source("data/gain.mrc"), defects=None)


def test_every_placeholder_has_its_value() -> None:
    command = [
        "x",
        "{input} {name} {stem} {flat_stem} {suffix} {output} {gain} {id} {pixel_size} {frames} {width} {height} {threads} {{}}",
    ]
    filled = fill(
        hook(command=command), values(width=5760, height=4092, frames=40, pixel_size_angstrom=0.6485)
    )
    assert filled.argv[1] == (
        "input/a.b.tif a.b.tif a.b a_b .tif a.b.mrc gain/gain.mrc 10017 0.6485 40 5760 4092 4 {}"
    )


def test_a_list_with_an_unknown_value_is_left_out_and_other_unknown_values_are_told() -> None:
    assert fill(hook(command=["x", ["-d", "{defects}"], ["-g", "{gain}"]]), values()).argv == (
        "x",
        "-g",
        "gain/gain.mrc",
    )
    with pytest.raises(Unfilled, match="its pixel size is not known"):
        fill(hook(command=["x", "{pixel_size}"]), values())


def test_names_that_would_mean_something_else_are_refused() -> None:
    with pytest.raises(Unfilled, match="begins with a hyphen"):
        fill(hook(command=["x", "{stem}"]), values("data/-rf.tif"))
    assert fill(hook(command=["x", "--out={stem}"]), values("data/-rf.tif")).argv[1] == "--out=-rf"
    with pytest.raises(Unfilled, match="control character"):
        fill(hook(answers=["{input}"]), values("data/a%0Ab.tif"))
    with pytest.raises(Unfilled, match="no file can have the name"):
        fill(hook(outputs=[{"path": "{stem}" * 3 + ".mrc", "kind": "x"}]), values(f"data/{'a' * 100}.tif"))


@given(
    st.binary(min_size=1, max_size=40).filter(
        lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")
    )
)
def test_a_stored_name_goes_to_the_program_byte_for_byte(raw: bytes) -> None:
    name = checked_name(raw)
    filled = fill(hook(command=["x", "{input}"]), values(f"data/{name}"))
    assert os.fsencode(filled.argv[1]) == b"input/" + raw
    assert on_disk(name) == os.fsdecode(raw)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.tif", "a"), ("a.b.mrc", "a.b"), ("a.tiff.bz2", "a"), ("a", "a"), (".mrc", ".mrc"), ("a.", "a.")],
)
def test_a_stem_is_the_name_without_its_suffix_and_compression(name: str, stem: str) -> None:
    assert stem_of(name) == stem


# --- folders ------------------------------------------------------------------------------------------------


def test_removing_a_folder_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(precious)
    (folder / "a" / "b" / "file").write_text("x")
    (folder / "a" / "b").chmod(0)
    remove_tree(folder)
    remove_tree(folder)
    assert not folder.exists()
    folder.symlink_to(precious)
    remove_tree(folder)
    assert not os.path.lexists(folder)
    assert (precious / "file").read_text() == "mine"
