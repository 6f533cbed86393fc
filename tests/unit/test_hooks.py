"""External programs as makers: what works, and that whatever does not is contained and said in one sentence."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from empiar_mirror.makers.watch import landlock_version
from empiar_mirror.reports import MakeReport
from empiar_schema.events import Event, JobFailed, JobMade, JobStepTaken
from empiar_schema.faults import ConfigFault
from empiar_schema.image_facts import ImageFacts
from empiar_schema.jobs import JobState
from empiar_schema.states import Role
from entry_here import ID, everything_below, opened, put_here, rows

MOVIES = {
    "data/movies/a.tif": (Role.MOVIE, b"movie a " * 1000),
    "data/movies/b.tif": (Role.MOVIE, b"movie b " * 1000),
    "data/movies/gain.mrc": (Role.GAIN, b"gain"),
}
#: The stand-in program: reads its input, says something, writes what it is told.
AVERAGE = """
import sys
given, wanted, *rest = sys.argv[1:]
data = open(given, "rb").read()
print("averaging", given, *rest)
open(wanted, "wb").write(b"average of " + data[:7])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    put_here(folder, MOVIES, facts=ImageFacts("tiff", 4096, 4000, 40, "uint8", 0.75))
    return folder


def hook(root: Path, script: str, more: str = "", *, name: str = "average", arguments: str = "") -> str:
    """The configuration of a hook that runs `script`."""
    program = root.parent / f"{name}.py"
    program.write_text(script)
    return (
        f"[making]\nworkers = 2\n[hook.{name}]\n"
        f'command = ["{sys.executable}", "{program}", "{{input}}", "{{output}}"{arguments}]\n'
        f'outputs = [{{ path = "{{stem}}.mrc", kind = "micrograph" }}]\nretries = 0\n{more}'
    )


def make(
    root: Path, toml: str, events: list[Event] | None = None, *, retry: bool = False
) -> tuple[MakeReport, list[tuple[object, ...]]]:
    """What was made, and the jobs afterwards: file, state, error."""
    with opened(root, toml, events) as mirror:
        report = asyncio.run(mirror.make([ID], retry=retry))
        jobs = rows(mirror, "SELECT path, state, error, attempts FROM jobs ORDER BY path")
    assert not (root / "staging" / "jobs").exists() or not os.listdir(root / "staging" / "jobs")
    return report, jobs


def assert_archive_untouched(root: Path) -> None:
    found = everything_below(root / "archive" / str(ID))
    assert found == {path: data for path, (_, data) in MOVIES.items()}
    for path in MOVIES:
        assert stat.S_IMODE((root / "archive" / str(ID) / path).stat().st_mode) == 0o444


def test_a_hook_runs_on_each_file_of_its_role_and_what_it_makes_is_on_record(root: Path) -> None:
    events: list[Event] = []
    report, jobs = make(root, hook(root, AVERAGE), events)
    assert (report.made, report.products, report.failed) == (2, 2, ())
    assert [job[:3] for job in jobs] == [
        ("data/movies/a.tif", "made", None),
        ("data/movies/b.tif", "made", None),
    ]
    made = root / "derived" / str(ID) / "average" / "data" / "movies" / "a.mrc"
    assert made.read_bytes() == b"average of movie a"
    assert stat.S_IMODE(made.stat().st_mode) == 0o444
    assert sorted(e.path for e in events if isinstance(e, JobMade)) == [
        f"{ID}/data/movies/a.tif",
        f"{ID}/data/movies/b.tif",
    ]
    assert_archive_untouched(root)


def test_a_product_names_its_origin_command_version_and_log(root: Path) -> None:
    toml = hook(
        root, AVERAGE, 'version_command = ["echo", "average 1.2"]\n', arguments=', "{pixel_size}", ["{gain}"]'
    )
    with opened(root, toml) as mirror:
        asyncio.run(mirror.make([ID]))
        [product] = rows(
            mirror,
            "SELECT kind, stem, maker, parents, command, version, bytes, sha256, local_path, stale FROM derived"
            " WHERE path LIKE '%/a.mrc'",
        )
        [log] = rows(mirror, "SELECT log_path FROM jobs WHERE path LIKE '%/a.tif'")
    kind, stem, maker, parents, command, version, size, sha256, local_path, stale = product
    assert (kind, stem, maker, version, stale) == ("micrograph", "a", "average", "average 1.2", 0)
    assert json.loads(str(parents)) == [
        f"archive/{ID}/data/movies/a.tif",
        f"archive/{ID}/data/movies/gain.mrc",
    ]
    assert str(command).endswith("average.py input/a.tif a.mrc 0.75 gain/gain.mrc")
    assert size == Path(str(local_path)).stat().st_size
    assert len(str(sha256)) == 64
    assert Path(str(log[0])).read_text() == "averaging input/a.tif 0.75 gain/gain.mrc\n"


def test_nothing_is_made_twice_and_what_changed_is_made_again(root: Path) -> None:
    assert make(root, hook(root, AVERAGE))[0].made == 2
    assert make(root, hook(root, AVERAGE))[0].made == 0
    assert make(root, hook(root, AVERAGE, 'environment = { MODE = "fine" }\n'))[0].made == 2
    with_version = hook(root, AVERAGE, 'version_command = ["echo", "2"]\n')
    assert make(root, with_version)[0].made == 2
    assert make(root, with_version + "threads = 2\n")[0].made == 0


def test_without_a_hook_nothing_runs_and_jobs_of_a_hook_that_is_gone_are_forgotten(root: Path) -> None:
    assert make(root, "") == (MakeReport(), [])
    failing = hook(root, "raise SystemExit(3)")
    assert len(make(root, failing)[1]) == 2
    assert make(root, failing + "enabled = false\n") == (MakeReport(), [])


def test_products_that_a_new_recipe_no_longer_makes_are_removed(root: Path) -> None:
    script = AVERAGE + 'open("extra.txt", "w").write("x")\n'
    two = hook(root, script).replace(
        'kind = "micrograph" }]',
        'kind = "micrograph" }, { path = "extra.txt", name = "{stem}.txt", kind = "log" }]',
    )
    assert make(root, two)[0].products == 4
    derived = root / "derived" / str(ID) / "average" / "data" / "movies"
    assert sorted(os.listdir(derived)) == ["a.mrc", "a.txt", "b.mrc", "b.txt"]
    assert make(root, hook(root, script))[0].products == 2
    assert sorted(os.listdir(derived)) == ["a.mrc", "b.mrc"]


def test_a_hook_can_work_on_what_another_made_with_the_facts_of_its_header(root: Path) -> None:
    first = hook(root, AVERAGE)
    second = hook(root, AVERAGE, 'source = "average"\n', name="ctf", arguments=', "{pixel_size}"').partition(
        "\n[hook"
    )[2]
    with opened(root, f"{first}[hook{second}") as mirror:
        report = asyncio.run(mirror.make([ID]))
        made = rows(mirror, "SELECT path, stem, parents FROM derived WHERE maker = 'ctf' ORDER BY path")
    assert (report.made, report.failed) == (4, ())
    assert [row[:2] for row in made] == [("ctf/data/movies/a.mrc", "a"), ("ctf/data/movies/b.mrc", "b")]
    assert json.loads(str(made[0][2])) == [f"derived/{ID}/average/data/movies/a.mrc"]


def test_a_hook_on_a_maker_that_there_is_not_is_a_fault_of_the_configuration(root: Path) -> None:
    with pytest.raises(ConfigFault, match="nobody, which is neither a hook nor a built-in maker"):
        make(root, hook(root, AVERAGE, 'source = "nobody"\n'))
    with (
        opened(root, hook(root, AVERAGE)) as mirror,
        pytest.raises(ConfigFault, match="there is no maker 'ctf'"),
    ):
        asyncio.run(mirror.make([ID], makers=["ctf"]))


def test_only_files_that_were_asked_for_and_have_what_is_needed(root: Path) -> None:
    assert make(root, hook(root, AVERAGE, "entries = [10028]\n"))[1] == []
    assert make(root, hook(root, AVERAGE, 'suffixes = [".eer"]\n'))[1] == []
    assert make(root, hook(root, AVERAGE, 'needs = ["defects"]\n'))[1] == []
    assert len(make(root, hook(root, AVERAGE, 'needs = ["gain", "pixel_size"]\n'))[1]) == 2


def test_a_value_that_is_not_known_parks_the_file_unless_it_may_be_left_out(root: Path) -> None:
    report, jobs = make(root, hook(root, AVERAGE, arguments=', "{defects}"'))
    assert (report.made, len(report.failed)) == (0, 2)
    assert jobs[0][1:3] == ("parked", "it cannot be begun: no defect file of this entry is here")
    report, _ = make(root, hook(root, AVERAGE, arguments=', ["--defects", "{defects}"]'))
    assert report.made == 2


def test_two_gains_that_fit_equally_well_have_to_be_told_apart_by_a_person(root: Path) -> None:
    put_here(root, {**MOVIES, "data/movies/gain2.mrc": (Role.GAIN, b"2")}, empiar_id=10028)
    toml = hook(root, AVERAGE, arguments=', "{gain}"')
    with opened(root, toml) as mirror:
        report = asyncio.run(mirror.make([10028]))
    assert len(report.failed) == 2
    assert "2 fit equally well: data/movies/gain.mrc, data/movies/gain2.mrc" in report.failed[0].error
    assert "gains = { 10028 =" in report.failed[0].error
    with opened(root, toml + 'gains = { 10028 = "data/movies/gain2.mrc" }\n') as mirror:
        assert asyncio.run(mirror.make([10028])).made == 2
        assert "gain2.mrc" in str(rows(mirror, "SELECT command FROM jobs LIMIT 1")[0][0])


def test_answers_are_given_on_standard_input_and_nothing_else_is(root: Path) -> None:
    script = 'import sys; open(sys.argv[2], "w").write(repr(sys.stdin.read()))'
    make(root, hook(root, script, 'answers = ["{input}", "0.07", ""]\n'))
    made = root / "derived" / str(ID) / "average" / "data" / "movies" / "a.mrc"
    assert made.read_text() == repr("input/a.tif\n0.07\n\n")
    make(root, hook(root, script))
    assert made.read_text() == repr("")


def test_a_program_sees_few_variables_and_none_of_the_mirrors_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPIAR_MIRROR_GLOBUS__CLIENT_ID", "secret")
    monkeypatch.setenv("API_TOKEN", "secret")
    script = 'import os, sys, json; json.dump(dict(os.environ), open(sys.argv[2], "w"))'
    make(root, hook(root, script, 'environment = { MODE = "fine" }\n'))
    made = root / "derived" / str(ID) / "average" / "data" / "movies" / "a.mrc"
    seen = json.loads(made.read_text())
    assert set(seen) <= {
        "PATH", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "HOME", "TMPDIR", "OMP_NUM_THREADS", "MODE",
    }  # fmt: skip
    assert seen["MODE"] == "fine"
    assert seen["HOME"].startswith(str(root / "staging" / "jobs"))


# --- what goes wrong ----------------------------------------------------------------------------------------

NOT_A = 'import sys\nif "a.tif" not in sys.argv[1]:\n    open(sys.argv[2], "w").write("b")\n    sys.exit(0)\n'
HANG = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('hanging', flush=True)\ntime.sleep(600)\n"
ORPHAN = (
    "import os, subprocess, sys\nopen(sys.argv[2], 'w').write('x')\n"
    "subprocess.Popen([sys.executable, '-c', 'import os, time; os.setsid(); time.sleep(600)'])\n"
)
#: What a program does to the file a.tif, and what is said of it.
WAYS_TO_FAIL = {
    "exit code": ("print('no beam'); sys.exit(3)", "ended with exit code 3; it said last: no beam"),
    "hangs and ignores TERM": (HANG, "was ended after 1 s, the timeout of the hook; it said last: hanging"),
    "leaves a process": (ORPHAN, "ended, but 1 process that it had started went on and had to be ended"),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9 (often for want of memory)"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", "was killed by signal 11 (a crash in the program)"),
    "writes nothing": ("pass", "it did not write its output a.mrc"),
    "writes an empty file": ("open(sys.argv[2], 'w')", "its output a.mrc is empty"),
    "writes a folder": ("import os; os.mkdir(sys.argv[2])", "its output a.mrc is no regular file"),
    "writes a pipe": ("import os; os.mkfifo(sys.argv[2])", "its output a.mrc is no regular file"),
    "links to its input": (
        "import os; os.symlink(os.path.realpath(sys.argv[1]), sys.argv[2])",
        "its output a.mrc is a symbolic link, or lies behind one",
    ),
    "links outside": ("import os; os.symlink('/etc/passwd', sys.argv[2])", "its output a.mrc is a symbolic link"),
    "writes too much": (
        "open(sys.argv[2], 'wb').write(bytes(200_000))",
        "its output a.mrc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS_TO_FAIL)
def test_a_program_that_fails_is_contained_and_said_in_one_sentence_and_others_go_on(
    root: Path, way: str
) -> None:
    script, sentence = WAYS_TO_FAIL[way]
    events: list[Event] = []
    before = everything_below(root.parent)
    toml = hook(root, NOT_A + script, 'timeout = 1\nlargest_output = "100kB"\n')
    report, jobs = make(root, toml, events)
    assert report.made == 1
    assert jobs[1][1] == "made"
    if way == "writes too much":  # the kernel stops it at the limit, where Python gets an error
        sentence = "ended with exit code 1; it said last: OSError: [Errno 27] File too large"
    assert jobs[0][1] == "parked"
    assert sentence in str(jobs[0][2])
    assert [(f.path, f.maker, f.state) for f in report.failed] == [
        (f"{ID}/data/movies/a.tif", "average", JobState.PARKED)
    ]
    assert [e.reason for e in events if isinstance(e, JobFailed)] == [jobs[0][2]]
    assert_archive_untouched(root)
    after = everything_below(root.parent)
    ours = (
        "mirror/derived/",
        "mirror/manifests/",
        "mirror/empiar.db",
        "mirror/.lock",
        "mirror/empiar-mirror.toml",
        "average.py",
    )
    assert {path for path in after.keys() - before.keys() if not path.startswith(ours)} == set()
    assert not [path for path in after if path.endswith("/a.mrc")]


def test_a_gigabyte_of_words_is_kept_to_a_megabyte_with_its_beginning_and_end(root: Path) -> None:
    script = (
        "import sys\nprint('first')\n"
        "for _ in range(1000):\n    sys.stdout.write('x' * 1_000_000 + chr(10))\n"
        "print('last', flush=True)\nsys.exit(1)\n"
    )
    _, jobs = make(root, hook(root, NOT_A + script))
    assert jobs[0][2] == f"{sys.executable} ended with exit code 1; it said last: last"
    [log] = (root / "derived" / str(ID) / ".logs" / "average").iterdir()
    words = log.read_bytes()
    assert words.startswith(b"first\n")
    assert words.endswith(b"last\n")
    assert b"bytes are left out" in words
    assert len(words) < 1_100_000


def test_what_a_program_says_cannot_steer_a_terminal_or_fill_a_screen(root: Path) -> None:
    _, jobs = make(
        root, hook(root, NOT_A + "print(chr(27) + '[31mred' + 'x' * 5000 + chr(0x202e)); sys.exit(1)")
    )
    assert all(c.isprintable() for c in str(jobs[0][2]))
    assert len(str(jobs[0][2])) < 400


@pytest.mark.parametrize("key", ["command", "version_command"])
def test_a_missing_program_parks_the_jobs_until_it_is_there(root: Path, key: str) -> None:
    program = root.parent / "program"
    toml = hook(root, AVERAGE)
    if key == "command":
        toml = toml.replace(f'"{sys.executable}"', f'"{program}"')
    else:
        toml += f'version_command = ["{program}", "--version"]\n'
    report, jobs = make(root, toml)
    assert len(report.failed) == 2
    assert jobs[0][1] == "parked"
    assert f"hook average: there is no program {program}; install it" in str(jobs[0][2])
    program.symlink_to(sys.executable)
    assert make(root, toml)[0].made == 2
    program.unlink()
    report, jobs = make(root, toml)
    assert (report.failed, [job[1] for job in jobs]) == ((), ["made", "made"])


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ('["false"]', "its version is not known: false ended with exit code 1"),
        ('["true"]', "its version is not known: true said nothing"),
        ('["sh", "-c", "kill -9 $$"]', "its version is not known: sh was killed by signal 9"),
    ],
)
def test_a_program_that_does_not_say_its_version_is_not_run(root: Path, command: str, sentence: str) -> None:
    report, jobs = make(root, hook(root, AVERAGE, f"version_command = {command}\n"))
    assert report.made == 0
    assert sentence in str(jobs[0][2])


def test_a_script_without_its_interpreter_cannot_be_started(root: Path) -> None:
    program = root.parent / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    _, jobs = make(
        root,
        hook(root, AVERAGE, "retries = 5\n".replace("retries", "threads")).replace(
            f'"{sys.executable}"', f'"{program}"'
        ),
    )
    assert jobs[0][1:3] == ("parked", f"{program} cannot be started: there is no such program")


# --- writing elsewhere --------------------------------------------------------------------------------------

WRITE_TO_INPUT = (
    "import os\nopen(sys.argv[2], 'w').write('x')\ntarget = os.path.realpath(sys.argv[1])\n"
    "os.chmod(target, 0o644)\nopen(target, 'r+b').write(b'EVIL')\n"
)
fenced_only = pytest.mark.skipif(landlock_version() < 1, reason="this kernel has no Landlock")


@fenced_only
@pytest.mark.parametrize(
    "target",
    ["../../x", "{root}/archive/10017/data/movies/a.tif.log", "{root}/empiar.db", "{root}/../elsewhere"],
)
def test_the_kernel_keeps_a_program_from_writing_outside_its_folder(root: Path, target: str) -> None:
    path = target.format(root=root)
    before = everything_below(root.parent)
    _, jobs = make(root, hook(root, NOT_A + f"open({path!r}, 'w').write('x')"))
    assert jobs[0][1] == "parked"
    assert "PermissionError: [Errno 13] Permission denied" in str(jobs[0][2])
    new = everything_below(root.parent).keys() - before.keys()
    assert not [name for name in new if not name.startswith(("mirror/", "average"))]
    assert_archive_untouched(root)


@fenced_only
def test_a_program_that_opens_up_its_input_cannot_write_to_it_but_is_found_out(root: Path) -> None:
    _, jobs = make(root, hook(root, NOT_A + WRITE_TO_INPUT))
    assert "must leave its input alone, but of " in str(jobs[0][2])
    assert "the mode was changed; its bytes are as they were" in str(jobs[0][2])
    assert_archive_untouched(root)


@fenced_only
def test_a_program_may_write_where_the_configuration_says(root: Path) -> None:
    cache = root.parent / "cache"
    cache.mkdir()
    script = AVERAGE + f"open('{cache}/' + sys.argv[2], 'w').write('kept')\n"
    assert make(root, hook(root, script, f'writable = ["{cache}"]\n'))[0].made == 2
    assert sorted(os.listdir(cache)) == ["a.mrc", "b.mrc"]
    report, _ = make(root, hook(root, script, 'writable = ["/no/such/folder"]\n', name="other"))
    assert "/no/such/folder, where it may write, is no folder" in report.failed[0].error


def test_without_the_fence_a_changed_input_is_found_out_and_its_copy_is_damaged(root: Path) -> None:
    toml = hook(root, NOT_A + WRITE_TO_INPUT, "fence = false\n")
    with opened(root, toml) as mirror:
        report = asyncio.run(mirror.make([ID]))
        [job] = rows(mirror, "SELECT state, error FROM jobs WHERE path LIKE '%/a.tif'")
        [copy] = rows(mirror, "SELECT state, error FROM copies WHERE path LIKE '%/a.tif'")
    assert report.damaged == 1
    assert job[0] == "parked"
    assert "the bytes were written to, or the time was changed; its bytes are damaged now" in str(job[1])
    assert copy == ("damaged", "average changed it, though it is not allowed to")
    manifest = root / "manifests" / str(ID) / "manifest-sha256.txt"
    assert "a.tif" not in manifest.read_text()


@pytest.mark.parametrize(
    ("deed", "what"),
    [
        ("os.remove(target)", "nothing is left"),
        (
            "open(target + '2', 'wb').write(b'x'); os.replace(target + '2', target)",
            "the place was given to another file",
        ),
        (
            "open(target + '.log', 'w').write('x')",
            "the folder was changed while it ran; its bytes are as they were",
        ),
    ],
)
def test_without_the_fence_deeds_in_the_archive_are_found_out(root: Path, deed: str, what: str) -> None:
    script = f"import os\nopen(sys.argv[2], 'w').write('x')\ntarget = os.path.realpath(sys.argv[1])\n{deed}\n"
    alone = 'suffixes = [".tif"]\nthreads = 2\n'
    _, jobs = make(root, hook(root, NOT_A + script, f"fence = false\n{alone}"))
    assert jobs[0][1] == "parked"
    assert what in str(jobs[0][2])


def test_a_program_with_a_copy_of_its_own_may_change_it(root: Path) -> None:
    script = "import os, sys\nos.chmod(sys.argv[1], 0o644)\nopen(sys.argv[1], 'ab').write(b'!')\nos.rename(sys.argv[1], sys.argv[2])\n"
    report, _ = make(root, hook(root, script, 'offer = "copy"\n'))
    assert report.made == 2
    made = root / "derived" / str(ID) / "average" / "data" / "movies" / "a.mrc"
    assert made.read_bytes() == MOVIES["data/movies/a.tif"][1] + b"!"
    assert_archive_untouched(root)


def test_a_second_name_of_an_archive_file_is_no_output(root: Path) -> None:
    script = "import os\nos.link(os.path.realpath(sys.argv[1]), sys.argv[2])\n"
    _, jobs = make(root, hook(root, NOT_A + script, "fence = false\n"))
    assert "is a second name of another file (a hard link)" in str(jobs[0][2])
    assert_archive_untouched(root)


def test_an_output_behind_a_linked_folder_is_refused(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a.mrc").write_text("mine")
    toml = hook(root, f"import os\nos.symlink('{outside}', 'out')\n")
    _, jobs = make(root, toml.replace('path = "{stem}.mrc"', 'path = "out/{stem}.mrc"'))
    assert "is a symbolic link, or lies behind one" in str(jobs[0][2])
    assert (outside / "a.mrc").read_text() == "mine"


def test_whatever_a_program_leaves_in_its_folder_is_removed(root: Path) -> None:
    script = (
        "import os\nopen(sys.argv[2], 'w').write('x')\nos.makedirs('closed/inner')\n"
        "open('closed/inner/file', 'w').write('x')\nos.chmod('closed/inner', 0)\nos.chmod('closed', 0o500)\n"
        "os.symlink('/etc', 'etc')\nos.mkdir(b'\\xff\\n')\n"
        "for _ in range(1100):\n    os.mkdir('d')\n    os.chdir('d')\n"
    )
    assert make(root, hook(root, "import sys\n" + script))[0].made == 2  # `make` looks into staging
    assert os.path.isdir("/etc")


# --- retries, stops, names ----------------------------------------------------------------------------------

FLAKY = """
import os, sys
mark = os.environ["MARKS"] + "/" + os.path.basename(sys.argv[1])
tries = len(open(mark).read()) if os.path.exists(mark) else 0
open(mark, "a").write("x")
if tries < 2:
    sys.exit(75)
open(sys.argv[2], "w").write("at last")
"""


def flaky(root: Path, retries: int, wait: str = "0s") -> str:
    marks = root.parent / "marks"
    marks.mkdir(exist_ok=True)
    more = f'retry_wait = "{wait}"\nwritable = ["{marks}"]\nenvironment = {{ MARKS = "{marks}" }}\n'
    return hook(root, FLAKY, more).replace("retries = 0", f"retries = {retries}")


def test_a_program_that_fails_now_and_then_is_tried_again(root: Path) -> None:
    events: list[Event] = []
    report, jobs = make(root, flaky(root, 2), events)
    assert (report.made, report.failed) == (2, ())
    assert [job[3] for job in jobs] == [2, 2]
    assert [e.next_state for e in events if isinstance(e, JobFailed)] == [JobState.FAILED] * 4
    # A failed job may be begun again at once, in the same folder: nothing may be about to remove that.
    for job in {e.job_id for e in events if isinstance(e, JobFailed)}:
        ends = [e for e in events if isinstance(e, JobFailed | JobStepTaken) and e.job_id == job]
        shown = [e.step if isinstance(e, JobStepTaken) else "failed" for e in ends]
        assert [step for step in shown if step in ("claimed", "tidied", "failed")] == [
            "claimed", "tidied", "failed", "claimed", "tidied", "failed", "claimed", "tidied",
        ]  # fmt: skip


def test_when_the_retries_are_used_up_only_asking_again_helps(root: Path) -> None:
    toml = flaky(root, 0)
    assert len(make(root, toml)[0].failed) == 2
    report, jobs = make(root, toml)
    assert (report.made, len(report.failed), jobs[0][3]) == (0, 2, 1)
    assert len(make(root, toml, retry=True)[0].failed) == 2
    assert make(root, toml, retry=True)[0].made == 2


def stopped_when(
    root: Path, toml: str, condition: Callable[[], bool]
) -> tuple[MakeReport, float, list[tuple[object, ...]]]:
    """The report of a run that was stopped as soon as `condition` held, how long stopping took, and the jobs."""

    async def run() -> tuple[MakeReport, float]:
        work = asyncio.create_task(mirror.make([ID]))
        while not condition():
            await asyncio.sleep(0.02)
        began = time.monotonic()
        mirror.stop()
        return await work, time.monotonic() - began

    with opened(root, toml) as mirror:
        report, took = asyncio.run(run())
        jobs = rows(mirror, "SELECT path, state, error, attempts FROM jobs ORDER BY path")
    return report, took, jobs


def test_a_stop_ends_programs_soon_and_costs_them_nothing(root: Path) -> None:
    logs = root / "derived" / str(ID) / ".logs" / "average"

    def hanging() -> bool:
        return logs.is_dir() and sum(log.stat().st_size > 0 for log in logs.iterdir()) == 2

    report, took, jobs = stopped_when(root, hook(root, HANG), hanging)
    assert report.stopped
    assert took < 60
    assert [job[1:] for job in jobs] == [("wanted", None, 0), ("wanted", None, 0)]
    program = str(root.parent / "average.py")
    assert not [command for command in running_programs() if program in command]
    assert not os.listdir(root / "staging" / "jobs")


def test_a_stop_does_not_wait_for_the_next_try(root: Path) -> None:
    toml = flaky(root, 5, "1h")
    marks = root.parent / "marks"
    report, took, jobs = stopped_when(root, toml, lambda: len(os.listdir(marks)) == 2)
    assert report.stopped
    assert took < 60
    assert {job[1] for job in jobs} <= {"failed", "wanted"}


def running_programs() -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                found.append(Path(f"/proc/{entry}/cmdline").read_text(errors="replace"))
            except OSError:
                continue
    return found


def test_two_files_whose_products_would_have_one_name_do_not_overwrite_each_other(root: Path) -> None:
    put_here(
        root,
        {"data/a.tif": (Role.MOVIE, b"the one"), "data/a.mrc": (Role.MOVIE, b"the other")},
        empiar_id=10028,
    )
    with opened(root, hook(root, AVERAGE)) as mirror:
        report = asyncio.run(mirror.make([10028]))
        [product] = rows(mirror, "SELECT path, sha256, local_path FROM derived")
    assert report.made == 1
    assert (
        "the product of another file is called derived/10028/average/data/a.mrc already"
        in report.failed[0].error
    )
    import hashlib

    assert hashlib.sha256(Path(str(product[2])).read_bytes()).hexdigest() == product[1]


@pytest.mark.parametrize(
    "name", ["with space.tif", "-rf.tif", "ünïcode.tif", "a'b\"c$(touch x).tif", "{input}.tif", "a.b.c.tif"]
)
def test_any_name_reaches_the_program_as_it_is(root: Path, name: str) -> None:
    put_here(root, {f"data/{name}": (Role.MOVIE, b"content")}, empiar_id=10028)
    with opened(root, hook(root, AVERAGE)) as mirror:
        report = asyncio.run(mirror.make([10028]))
        if name.startswith("-"):
            assert "its name begins with a hyphen" in report.failed[0].error
            return
        assert report.failed == ()
        [(path,)] = rows(mirror, "SELECT path FROM derived")
    assert path == f"average/data/{name.removesuffix('.tif')}.mrc"
    assert (root / "derived" / "10028" / str(path)).read_bytes() == b"average of content"
