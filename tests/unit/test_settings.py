"""The configuration: every key from file and environment, and errors that name the mistake."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_schema.configuration import (
    ANY_NAME,
    DEFAULT_FILE,
    PREFIX,
    environment_only,
    known_keys,
    listed_tables,
    load,
    nearest,
    variable_of,
)
from empiar_schema.faults import ConfigFault
from empiar_schema.layout_views import PRESETS
from empiar_schema.settings import Settings
from empiar_schema.settings_reference import commented_file, documented_keys
from empiar_schema.states import Channel, Role


def read(tmp_path: Path, toml: str = "", **environ: str) -> Settings:
    file = tmp_path / "given.toml"
    file.write_text(toml)
    return load(file, environ={PREFIX + name: value for name, value in environ.items()}, cwd=tmp_path)


def refusal(tmp_path: Path, toml: str = "", **environ: str) -> str:
    with pytest.raises(ConfigFault) as caught:
        read(tmp_path, toml, **environ)
    return str(caught.value)


def test_without_file_and_environment_everything_has_its_default(tmp_path: Path) -> None:
    settings = load(environ={}, cwd=tmp_path)
    assert settings == Settings(root=tmp_path / "empiar")


def test_the_file_of_the_current_folder_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / DEFAULT_FILE).write_text("[transfer]\nretries = 9\n")
    assert load(environ={}, cwd=tmp_path).transfer.retries == 9


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match=r"no configuration file nowhere\.toml"):
        load(Path("nowhere.toml"), environ={}, cwd=tmp_path)


def test_environment_beats_file_key_by_key(tmp_path: Path) -> None:
    settings = read(tmp_path, "[crawl]\nconnections = 2\ncontact = 'a@b.org'\n", CRAWL__CONNECTIONS="7")
    assert (settings.crawl.connections, settings.crawl.contact) == (7, "a@b.org")


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("CRAWL__INTERVAL", "7d", "crawl.interval", 604_800.0),
        ("TRANSFER__STALL_S", "90", "transfer.stall_s", 90.0),
        ("TRANSFER__SEGMENT_BYTES", "2MiB", "transfer.segment_bytes", 2**21),
        ("TRANSFER__CHANNELS", "ftp,https", "transfer.channels", (Channel.FTP, Channel.HTTPS)),
        ("TRANSFER__CHANNELS", '["ftp"]', "transfer.channels", (Channel.FTP,)),
        ("DISK__HIGH_WATERMARK", "98%", "disk.high_watermark", 0.98),
        ("DISK__QUOTA", "500TB", "disk.quota", 500 * 10**12),
        ("ARRANGE__VIEWS", "cryoppp,trial", "arrange.views", ("cryoppp", "trial")),
        ("SCRUB__HOURS", "22:00-06:00", "scrub.hours", "22:00-06:00"),
    ],
)
def test_variables_are_read_as_the_key_wants_them(
    tmp_path: Path, variable: str, text: str, key: str, value: object
) -> None:
    table, _, name = key.partition(".")
    assert getattr(getattr(read(tmp_path, **{variable: text}), table), name) == value


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('rooot = "x"', "unknown key rooot; did you mean root?"),
        ('contact = "x"', "unknown key contact; did you mean crawl.contact?"),
        ("[transfr]\nretries = 1", "unknown key transfr"),
        ("[transfer]\nconections = 1", "unknown key transfer.conections; did you mean transfer.connections?"),
        ("transfer = 3", "transfer is a table; write [transfer]"),
        ("[transfer]\nconnections = 65", "transfer.connections = 65: must be less than or equal to 64"),
        ("[transfer]\nconnections = true", "transfer.connections = true: must not be true or false"),
        ("[transfer]\nstall_s = inf", "transfer.stall_s = Infinity: must be a finite number"),
        ('[transfer]\nchannels = ["https", "https"]', "must name each at most once"),
        ('[transfer]\nchannels = ["gopher"]', "must be 'https', 'ftp' or 'globus'"),
        ("[transfer]\nchannels = []", "transfer.channels"),
        ('[transfer]\nsegment_bytes = "1 parsec"', "is not a size; write 500MB (decimal) or 2TiB (binary)"),
        ('[crawl]\ninterval = "6 parsecs"', "is not a duration; write 90s, 6h or 7d"),
        ('[crawl]\ncontact = "a\\nX-Evil: 1"', "must be printable ASCII text on one line"),
        ('[archive]\nftp_url = "https://a/b"', "must be an address such as ftp://host/path"),
        ('[archive]\nhttps_url = "https:///x"', "must be an address such as https://host/path"),
        ('[disk]\nhigh_watermark = "full"', "disk.high_watermark"),
        ('[disk]\nhigh_watermark = "x%"', "is not a share; write 0.95 or 95%"),
        ("[disk]\nhigh_watermark = 0.5", "[disk] low_watermark (0.9) must not be above high_watermark (0.5)"),
        ('[arrange]\nviews = ["../x"]', "because it names a folder"),
        ('[arrange]\nviews = ["trail"]', "there is no view 'trail'; did you mean trial?"),
        ('[arrange]\nviews = ["mien"]\n[view.mine]', "there is no view 'mien'; did you mean mine?"),
        (
            '[view.mine]\nmicrographs = "nohook"',
            'view.mine.micrographs = "nohook": nothing of this name makes images',
        ),
        ("[view.mine]\nimges = 3", "unknown key view.mine.imges; did you mean view.mine.images?"),
        ('[view.mine]\npreset = "labeled"', "view.mine.preset"),
        ("[view.mine]\nimages = 0", "view.mine.images = 0: must be greater than 0"),
        ("[view.mine]\nimages = true", "view.mine.images = true: must not be true or false"),
        ("[view.mine]\njpeg_quality = 101", "view.mine.jpeg_quality = 101"),
        ('[view."../x"]\nimages = 3', "because it names a folder"),
        ("[view]\nimages = 3", "view.images is a table; write [view.images]"),
        ("view = 3", "view"),
        ('[arrange]\nlink = "magic"', "must be 'auto', 'hardlink', 'reflink', 'symlink' or 'copy'"),
        ('[scrub]\nhours = "25:00-26:00"', "must be hours such as 22:00-06:00, or empty"),
    ],
)
def test_each_mistake_in_the_file_has_its_sentence(tmp_path: Path, toml: str, sentence: str) -> None:
    text = refusal(tmp_path, toml)
    assert sentence in text
    assert str(tmp_path / "given.toml") in text


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = refusal(tmp_path, "[transfer]\nretries = -1\nstall = 1\n", CRAWL__CONNECTIONS="many", CRAW="1")
    assert len(text.splitlines()) == 4


def test_a_wrong_value_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert f"{PREFIX}ARRANGE__LINK: arrange.link" in refusal(tmp_path, ARRANGE__LINK="magic")


def test_an_unknown_variable_is_an_error_that_hides_its_value(tmp_path: Path) -> None:
    text = refusal(tmp_path, TRANSFER__STAL_S="a secret")
    assert (
        text
        == f"{PREFIX}TRANSFER__STAL_S in the environment means nothing; did you mean {PREFIX}TRANSFER__STALL_S?"
    )


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = refusal(tmp_path, '[archive]\napi_url = "https://me:hunter2@host/api"')
    assert "must not hold a user name or a password" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a = [", "is not valid TOML"),
        (b"a = '\xff'", "is not UTF-8"),
        (b"#" * 2**20 + b"\n", "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / DEFAULT_FILE).write_bytes(content)
    with pytest.raises(ConfigFault, match=sentence):
        load(environ={}, cwd=tmp_path)


def test_a_relative_root_is_seen_from_the_file_and_from_the_environment_from_here(tmp_path: Path) -> None:
    folder, here = tmp_path / "etc", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "a.toml").write_text('root = "mirror"')
    assert load(folder / "a.toml", environ={}, cwd=here).root == folder / "mirror"
    assert load(folder / "a.toml", environ={PREFIX + "ROOT": "mirror"}, cwd=here).root == here / "mirror"
    (folder / "a.toml").write_text("")
    assert load(folder / "a.toml", environ={}, cwd=here).root == folder / "empiar"


def test_the_commented_file_changes_nothing_and_uncommented_it_says_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, commented_file()) == load(environ={}, cwd=tmp_path)
    uncommented = re.sub(r"^#(?=[a-z_]+ = )", "", commented_file(), flags=re.MULTILINE)
    values = tomllib.loads(uncommented)
    for key in documented_keys():
        if ANY_NAME in key.table or key.dotted in {*listed_tables(), *environment_only()}:
            continue  # these show examples; secrets are not offered
        table = values[key.table] if key.table else values
        if key.default is None:
            assert table.pop(key.name) is not None
    assert read(tmp_path, uncommented).disk.quota is not None  # the examples are valid, too
    assert Settings.model_validate(values) == Settings()


def test_every_key_has_a_sentence_and_a_variable() -> None:
    documented = {key.dotted: key for key in documented_keys()}
    assert list(documented) == list(known_keys())
    assert all(key.sentence.endswith((".", ";")) for key in documented.values())
    assert variable_of("archive.api_url") == "EMPIAR_MIRROR_ARCHIVE__API_URL"


def test_views_are_declared_in_tables_of_their_own_and_start_from_presets(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        [arrange]
        views = ["cryoppp", "squares", "trial", "small"]
        [view.squares]
        preset = "labelled"
        choose = "random"
        seed = 7
        stratify = true
        [view.trial]
        images = 15
        """,
    )
    assert settings.recipes == (
        PRESETS["cryoppp"],
        replace(PRESETS["labelled"], name="squares", choose="random", seed=7, stratify=True),
        replace(PRESETS["trial"], images=15),
        PRESETS["small"],
    )
    assert settings.recipe("lite") == PRESETS["lite"]
    with pytest.raises(ConfigFault, match="did you mean squares"):
        settings.recipe("square")


@pytest.mark.parametrize(
    ("toml", "fetched"),
    [
        ("[view.mine]", True),
        ('[view.mine]\npreset = "trial"', False),
        ("[view.mine]\nimages = 10", False),
        ('[view.mine]\nimages = 10\nstacks = "deposited"', True),
        ('[view.mine]\nstacks = "extracted"', False),
        ('[view.mine]\npreset = "relion"', True),
    ],
)
def test_particle_stacks_are_fetched_for_whole_views_and_where_it_is_said(
    tmp_path: Path, toml: str, fetched: bool
) -> None:
    assert read(tmp_path, toml).recipe("mine").fetch_stacks is fetched


def test_keys_of_views_can_be_given_in_the_environment(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "[view.my_own]\nimages = 3\nseed = 1\n",
        VIEW__MY_OWN__IMAGES="5",
        VIEW__A__B__STRATIFY="true",
        ARRANGE__VIEWS="my_own,a__b",
    )
    assert (settings.recipes[0].images, settings.recipes[0].seed) == (5, 1)
    assert settings.recipes[1].stratify
    assert refusal(tmp_path, VIEW__MINE__IMGES="5") == (
        f"{PREFIX}VIEW__MINE__IMGES in the environment means nothing; did you mean {PREFIX}VIEW__MINE__IMAGES?"
    )
    assert f"{PREFIX}VIEW__MINE__IMAGES: view.mine.images" in refusal(tmp_path, VIEW__MINE__IMAGES="few")
    assert f"{PREFIX}ARRANGE__VIEWS: arrange.views" in refusal(tmp_path, ARRANGE__VIEWS="trail")
    assert "means nothing" in refusal(tmp_path, VIEW__MINE="5")


@given(st.sampled_from(list(known_keys())), st.data())
def test_a_key_with_one_letter_lost_is_recognised(key: str, data: st.DataObject) -> None:
    table, dot, name = key.rpartition(".")
    at = data.draw(st.integers(0, len(name) - 1))
    assert nearest(f"{table}{dot}{name[:at]}{name[at + 1 :]}", list(known_keys())) is not None


# --- tables in lists ----------------------------------------------------------------------------------------

TWO_ROLES = """
[[role]]
entry = 10028
path = "data/x/*.mrc"
role = "gain"
[[role]]
entry = "EMPIAR-10029"
path = "data/**"
role = "movie"
"""


def test_roles_are_stated_in_a_list_of_tables_or_as_json_in_the_environment(tmp_path: Path) -> None:
    first, second = read(tmp_path, TWO_ROLES).role
    assert (first.entry, first.path, first.role) == (10028, "data/x/*.mrc", Role.GAIN)
    assert (second.entry, second.path, second.role) == (10029, "data/**", Role.MOVIE)
    only = '[{"entry": 1, "path": "a", "role": "other"}]'
    assert [role.entry for role in read(tmp_path, TWO_ROLES, ROLE=only).role] == [1]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"gain"', '"gian"', '[[role]] number 1: role = "gian": is no role; did you mean gain?'),
        ('"gain"', '"Tilt series"', "did you mean tilt_series?"),
        ('"gain"', '"zzz"', "is no role: micrograph, movie, "),
        ('"gain"', "3", "[[role]] number 1: role = 3: must be"),
        ("10028", "0", "[[role]] number 1: entry = 0: must be greater than 0"),
        ("10028", "true", "[[role]] number 1: entry = true: must not be true or false"),
        ('"EMPIAR-10029"', '"EMD-10029"', "[[role]] number 2: entry = "),
        ('"data/**"', '"/data/a"', "[[role]] number 2: path = "),
        ('"data/**"', '"data/../a"', "must be a path below the entry"),
        ('"data/**"', '"data/**.mrc"', "** stands for whole folders, alone between slashes"),
        ('path = "data/**"', 'pat = "data/**"', "[[role]] number 2: unknown key pat; did you mean path?"),
        ('path = "data/**"', "", "[[role]] number 2 lacks path; it needs entry, path, role"),
    ],
)
def test_each_mistake_in_a_stated_role_has_its_sentence(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert sentence in refusal(tmp_path, TWO_ROLES.replace(old, new))


@pytest.mark.parametrize("toml", ["role = 3", 'role = "gain"', "[role]\nentry = 10028"])
def test_a_list_of_tables_that_is_none_is_told_how_to_be_one(tmp_path: Path, toml: str) -> None:
    assert "role is a list of tables; write [[role]]" in refusal(tmp_path, toml)
    assert "number 1 is no table" in refusal(tmp_path, "role = [3]")
    assert f"{PREFIX}ROLE: [[role]] number 1 is no table" in refusal(tmp_path, ROLE="gain")


def test_the_examples_of_tables_in_the_commented_file_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"^# (\[\[?(?:role|hook|view).*(?:\n# .*)*)", commented_file(), flags=re.MULTILINE)
    settings = read(tmp_path, "\n".join(examples).replace("\n# ", "\n"))
    assert settings.role[0].role is Role.GAIN
    assert (list(settings.hook), list(settings.view)) == (["motioncorr"], ["sample"])


# --- tables that users name ---------------------------------------------------------------------------------

HOOK = """
[hook.average]
command = ["average", "-i", "{input}", ["--gain", "{gain}"], "-o", "{output}"]
outputs = [{ path = "{stem}.mrc", kind = "micrograph" }]
"""


def test_a_hook_is_read_with_its_lists_in_lists(tmp_path: Path) -> None:
    hook = read(tmp_path, HOOK).hook["average"]
    assert hook.command == ("average", "-i", "{input}", ("--gain", "{gain}"), "-o", "{output}")
    assert (hook.outputs[0].path, hook.outputs[0].kind) == ("{stem}.mrc", "micrograph")
    assert (hook.source, hook.threads, hook.enabled) == ("deposited", 1, True)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('commands = ["x"]', "unknown key hook.average.commands; did you mean hook.average.command?"),
        ('roles = ["film"]', "hook.average.roles = "),
        ('needs = ["luck"]', "hook.average.needs = "),
        ("timeout = 0", "hook.average.timeout = 0: must be greater than 0"),
        ('answers = ["{inptu}"]', "{inptu} means nothing"),
        ('answers = ["{input"]', "hook.average.answers"),
        ('answers = ["{input.__class__}"]', "means nothing"),
        ('environment = { EMPIAR_MIRROR_ROOT = "x" }', "is the mirror's own and is never given to a program"),
        ('environment = { "A B" = "x" }', "is no name of a variable"),
        ('writable = ["cache"]', "must be an absolute path"),
        ('gains = { x = "data/gain.mrc" }', "gains must name entries by number"),
        ('source = "average"', "hook.average.source leads back to average"),
        ('offer = "hardlink"', "must be 'symlink' or 'copy'"),
    ],
)
def test_each_mistake_in_a_hook_has_its_sentence(tmp_path: Path, more: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, HOOK + more)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ('[{ path = "../x", kind = "micrograph" }]', "must be a path of a file in the folder"),
        ('[{ path = "/x", kind = "micrograph" }]', "must be a path of a file in the folder"),
        ('[{ path = "input/x", kind = "micrograph" }]', "must not lie in input/"),
        ('[{ path = "{output}", kind = "micrograph" }]', "must not hold {output}"),
        ('[{ path = "x", kind = "a b" }]', "must be a word such as micrograph"),
        ('[{ path = "x", kind = "y", name = "a/b" }]', "must be a name without folders"),
        ('[{ path = "x", kid = "y" }]', "unknown key hook.h.outputs.kid; did you mean hook.h.outputs.kind?"),
        ("[]", "hook.h.outputs = []"),
    ],
)
def test_each_mistake_in_an_output_has_its_sentence(tmp_path: Path, outputs: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, f'[hook.h]\ncommand = ["x"]\noutputs = {outputs}\n')


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("[]", "hook.h.command = []"),
        ('["{input}"]', "the first text of command must be the program itself"),
        ('[["x"]]', "the first text of command must be the program itself"),
        ('["x", [3]]', "a list in a list must hold texts only"),
        ('["x", 3]', "must be texts, or lists of texts"),
        ('"x {input}"', "hook.h.command"),
    ],
)
def test_each_mistake_in_a_command_has_its_sentence(tmp_path: Path, command: str, sentence: str) -> None:
    hook = f'[hook.h]\ncommand = {command}\noutputs = [{{ path = "x", kind = "y" }}]\n'
    assert sentence in refusal(tmp_path, hook)


def test_a_hook_without_what_it_must_have_is_told_what_it_lacks(tmp_path: Path) -> None:
    assert "[hook.h] lacks outputs" in refusal(tmp_path, '[hook.h]\ncommand = ["x"]\n')
    assert "hook.h.command = []: must not be empty" in refusal(
        tmp_path, "[hook.h]\ncommand = []\noutputs = []\n"
    )


def test_a_hook_needs_a_name_that_can_be_a_folder_and_hooks_no_circle(tmp_path: Path) -> None:
    assert "names a folder" in refusal(tmp_path, HOOK.replace("hook.average", 'hook."../x"'))
    assert "choose another" in refusal(tmp_path, HOOK.replace("hook.average", "hook.deposited"))
    circle = HOOK + 'source = "other"\n' + HOOK.replace("average]", "other]") + 'source = "average"\n'
    assert "it would wait for its own products" in refusal(tmp_path, circle)
    assert f"{PREFIX}HOOK in the environment means nothing" in refusal(tmp_path, HOOK="x")


def test_a_secret_comes_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    settings = read(tmp_path, GLOBUS__CLIENT_SECRET="hush-hush")
    assert settings.globus.client_secret is not None
    assert settings.globus.client_secret.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert read(tmp_path, GLOBUS__CLIENT_SECRET=" ").globus.client_secret is None


@pytest.mark.parametrize("value", ['"hush-hush"', '["hush-hush"]', '{ hush-hush = "hush-hush" }', "4711"])
def test_a_secret_in_a_file_is_refused_without_being_shown(tmp_path: Path, value: str) -> None:
    text = refusal(tmp_path, f"[globus]\nclient_secret = {value}\npoll = 0")
    assert "globus.client_secret is a secret and must not stand in a file" in text
    assert "set EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET instead" in text
    assert "globus.poll" in text  # other mistakes are told as well
    assert "hush" not in text
    assert "4711" not in text


def test_the_commented_file_does_not_offer_a_secret_as_a_key() -> None:
    assert environment_only() == {
        "globus.client_secret",
        "notify.NAME.password",
        "notify.NAME.url",
        "serve.token",
    }
    assert not re.search(r"^#?\s*client_secret\s*=", commented_file(), re.MULTILINE)
    assert "EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET in the environment" in commented_file()


@pytest.mark.parametrize(
    "value", ["9170", "host", "[::1]", "a b:1", "127.0.0.1:99999", "http://a:1", ":9170"]
)
def test_an_address_that_nothing_can_listen_on_is_refused(tmp_path: Path, value: str) -> None:
    assert "must be an address and a port" in refusal(tmp_path, f'[daemon]\nlisten = "{value}"\n')


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", None),
        ("[::]:9170", ("::", 9170)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("mirror-1.lab:1", ("mirror-1.lab", 1)),
    ],
)
def test_the_daemon_listens_where_it_is_told(
    tmp_path: Path, value: str, address: tuple[str, int] | None
) -> None:
    assert read(tmp_path, DAEMON__LISTEN=value).daemon.address == address


NOTIFY = '[notify.ops]\nkind = "email"\nhost = "mail"\nsender = "m@x.org"\nrecipients = ["a@x.org"]\n'


def test_a_webhooks_address_and_a_password_are_secrets(tmp_path: Path) -> None:
    hook = '[notify.ops]\nkind = "webhook"\n'
    settings = read(tmp_path, hook, NOTIFY__OPS__URL="https://chat.example.org/hush")
    assert settings.notify["ops"].url is not None
    assert settings.notify["ops"].url.get_secret_value() == "https://chat.example.org/hush"
    assert "hush" not in repr(settings) + settings.model_dump_json()
    assert read(tmp_path, hook, NOTIFY__OPS__URL=" ").notify["ops"].url is None
    in_file = refusal(
        tmp_path, f'{NOTIFY}password = "hush"\n{hook.replace("ops", "chat")}url = "https://hush"\n'
    )
    assert "notify.ops.password is a secret and must not stand in a file" in in_file
    assert "notify.chat.url is a secret" in in_file
    assert "set EMPIAR_MIRROR_NOTIFY__OPS__PASSWORD instead" in in_file
    wrong = refusal(tmp_path, hook, NOTIFY__OPS__URL="ftp://hush")
    assert "NOTIFY__OPS__URL: notify.ops.url = ***: must be an address such as https://host/path" in wrong
    assert "hush" not in in_file + wrong


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[notify.ops]\nkind = "command"\n', "[notify.ops] lacks command"),
        ('[notify.ops]\nkind = "email"\nhost = "mail"\n', "lacks sender, recipients"),
        ('[notify.ops]\nkind = "pager"\n', "notify.ops.kind"),
        ("[notify.ops]\n", "[notify.ops] lacks kind"),
        (NOTIFY + 'events = ["complet"]\n', "notify.ops.events"),
        (NOTIFY + 'security = "none"\nuser = "me"\n', "never sent in clear"),
        (NOTIFY.replace("a@x.org", "a@x.org\\nBcc: b@x.org"), "must be a plain e-mail address"),
        (NOTIFY + "recipient = []\n", "did you mean notify.ops.recipients?"),
        ('[daemon]\nsummary_at = "7"\n', "must be a time of day such as 07:00"),
    ],
)
def test_a_notification_that_cannot_work_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, text)
