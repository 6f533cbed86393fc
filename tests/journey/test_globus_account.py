"""A person and a service use the Globus account from the command line, as programs of their own; no secret shows anywhere."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    CLIENT_ID,
    CLIENT_SECRET,
    DESTINATION_COLLECTION,
    NATIVE_CLIENT_ID,
    GlobusConfig,
    GlobusFault,
    GlobusFaultKind,
    GlobusStandIn,
)
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import PREFIX
from empiar_wire.globus_transport import READ_S
from rehearsal_in_thread import rehearsal_in_thread

PROGRAM = [
    sys.executable,
    "-W",
    "always::ResourceWarning",
    "-c",
    "from empiar_mirror.cli import main; raise SystemExit(main())",
]
SECRET = f"{PREFIX}GLOBUS__CLIENT_SECRET"


@dataclass(slots=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(slots=True)
class Somebody:
    """Somebody at a terminal, in front of a mirror whose Globus is the stand-in."""

    stand_in: GlobusStandIn
    folder: Path
    environ: dict[str, str]
    #: Everything that commands have said.
    said: list[str] = field(default_factory=list)
    #: Codes that were pasted.
    codes: list[str] = field(default_factory=list)

    @property
    def tokens(self) -> Path:
        return self.folder / "globus-tokens.json"

    def run(self, *words: str, stdin: str | None = None) -> Ran:
        done = subprocess.run(
            [*PROGRAM, "globus", *words], cwd=self.folder, env=self.environ, input=stdin or "", capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        self.said += [done.stdout, done.stderr]
        assert "--debug" in words or "Traceback" not in done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def log_in(self, *words: str, wrong: bool = False) -> Ran:
        """Runs the command, opens each address that it shows, agrees, and pastes the code."""
        process = subprocess.Popen(
            [*PROGRAM, "globus", "login", *words], cwd=self.folder, env=self.environ, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        seen: list[str] = []
        with process:
            try:
                for line in process.stderr:
                    seen.append(line)
                    address = re.fullmatch(r"\s+(http://\S+)\n", line)
                    if address:
                        self.codes.append("mistyped" if wrong else self.stand_in.authorize(address[1]))
                        process.stdin.write(self.codes[-1] + "\n")
                        process.stdin.flush()
                out, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        self.said += [out, *seen]
        assert "Traceback" not in "".join(seen)
        return Ran(process.returncode, out, "".join(seen))

    def secrets(self) -> list[str]:
        """Everything that nobody may see."""
        found = [CLIENT_SECRET, *self.codes, *self.stand_in.accounts.access, *self.stand_in.accounts.refresh]
        return [secret for secret in found if secret != "mistyped"]


@pytest.fixture
def somebody(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Somebody]:
    config = getattr(request, "param", {})
    folder = tmp_path / "mirror"
    (folder / "staging").mkdir(parents=True)
    with rehearsal_in_thread(Rehearsal(globus=GlobusConfig(folder=folder, **config))) as served:
        toml = served.settings_toml(folder).replace(CLIENT_ID, NATIVE_CLIENT_ID)
        (folder / "empiar-mirror.toml").write_text(toml)
        environ = {
            name: text for name, text in os.environ.items() if not name.startswith(("EMPIAR_", "GLOBUS_"))
        }
        one = Somebody(served.globus, folder, environ)
        yield one
        said = "".join(one.said)
        for secret in one.secrets():
            assert secret not in said
    assert "ResourceWarning" not in said


def test_a_person_logs_in_looks_around_and_logs_out(somebody: Somebody) -> None:
    before = somebody.run("whoami")
    assert before.code == 2
    assert "not logged in to Globus" in before.err
    assert "→ run `empiar-mirror globus login`" in before.err

    done = somebody.log_in("--json")
    assert done.code == 0, done.err
    assert done.document["username"] == "rehearsal@example.org"
    assert [one["reachable"] for one in done.document["collections"]] == [True, True]  # type: ignore[attr-defined] # a list
    assert somebody.tokens.stat().st_mode & 0o777 == 0o600
    assert "/v2/oauth2/authorize" not in done.out

    who = somebody.run("whoami", "--json").document
    assert (who["username"], who["client_id"]) == ("rehearsal@example.org", NATIVE_CLIENT_ID)
    assert who["token_file"] == str(somebody.tokens)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(who["access_expires_at"]))

    (somebody.folder / "a\nb").write_bytes(b"123")
    own = somebody.run("ls", "--json")
    rows = {row["name"]: row for row in json.loads(own.out)}
    assert (rows["a%0Ab"]["kind"], rows["a%0Ab"]["bytes"]) == ("file", 3)
    assert rows["staging"]["kind"] == "dir"
    archive = somebody.run("ls", "--archive", "10101")
    assert archive.code == 0
    assert re.search(r"\d{4}-\d\d-\d\dT\S+Z  data/$", archive.out, re.MULTILINE)
    named = somebody.run("ls", f"{ARCHIVE_COLLECTION}:/gridftp/empiar/world_availability/10101")
    assert named.out == archive.out

    assert len(somebody.stand_in.accounts.refresh) == 2
    assert somebody.run("logout").code == 0
    assert not somebody.tokens.exists()
    assert not somebody.stand_in.accounts.refresh
    assert somebody.run("ls").code == 2
    again = somebody.run("logout")
    assert (again.code, again.out) == (0, "there was no login\n")


@pytest.mark.parametrize("somebody", [{"needs_data_access": True}], indirect=True)
def test_a_consent_that_lacks_is_asked_for_by_a_second_address(somebody: Somebody) -> None:
    done = somebody.log_in()
    assert done.code == 0, done.err
    assert done.err.count("/v2/oauth2/authorize?") == 2
    assert f"{DESTINATION_COLLECTION}%2Fdata_access" in done.err
    assert f"the mirror's collection {DESTINATION_COLLECTION} can be listed at /" in done.out
    assert somebody.run("ls").code == 0


def test_a_consent_that_is_demanded_for_ever_ends_as_a_sentence(somebody: Somebody) -> None:
    somebody.stand_in.book.add(GlobusFault(kind=GlobusFaultKind.CONSENT_REQUIRED, match="*/ls", times=None))
    done = somebody.log_in()
    assert done.code == 2
    assert "the login still lacks something" in done.err
    listing = somebody.run("ls")
    assert listing.code == 2
    assert "lacks the consent to use the data for collection" in listing.err
    assert "→ run `empiar-mirror globus login`" in listing.err


def test_a_wrong_code_and_no_code_leave_no_login(somebody: Somebody) -> None:
    wrong = somebody.log_in(wrong=True)
    assert wrong.code == 2
    assert "log in again" in wrong.err
    none = somebody.run("login")
    assert none.code == 2
    assert "no code came on standard input" in none.err
    assert somebody.run("whoami").code == 2


def test_a_collection_that_refuses_is_told_with_whom_to_ask(somebody: Somebody) -> None:
    refused = GlobusFault(
        kind=GlobusFaultKind.ERROR,
        match=f"*{DESTINATION_COLLECTION}/ls",
        times=None,
        value="403 PermissionDenied no",
    )
    somebody.stand_in.book.add(refused)
    done = somebody.log_in()
    assert done.code == 2
    assert "cannot be used yet: this Globus account may not list /" in done.out
    assert f"→ ask whoever runs collection {DESTINATION_COLLECTION}" in done.out


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_revoked_login_and_a_dead_network_are_told_without_secrets(
    somebody: Somebody, debug: list[str]
) -> None:
    assert somebody.log_in().code == 0
    secrets = somebody.secrets()
    somebody.stand_in.accounts.expire_tokens()
    somebody.stand_in.accounts.revoke_logins()
    ended = somebody.run("ls", *debug)
    assert ended.code == 2
    assert "the Globus login has ended, or was revoked" in ended.err
    assert bool(debug) == ("Traceback" in ended.err)
    somebody.stand_in.book.add(GlobusFault(kind=GlobusFaultKind.DROP_REQUEST, times=None))
    dead = somebody.run("whoami", *debug)
    assert dead.code == 1
    assert "cannot be reached" in dead.err
    assert not [secret for secret in secrets if secret in ended.err + dead.err + ended.out + dead.out]


def test_a_service_needs_no_login(somebody: Somebody) -> None:
    toml = somebody.folder / "empiar-mirror.toml"
    toml.write_text(toml.read_text().replace(NATIVE_CLIENT_ID, CLIENT_ID))
    somebody.environ[SECRET] = CLIENT_SECRET
    done = somebody.run("login")
    assert done.code == 0
    assert "no login is needed" in done.err
    assert "@clients.auth.globus.org" in done.out
    who = somebody.run("whoami", "--json", "--debug").document
    assert who["token_file"] is None
    assert somebody.run("ls").code == 0
    assert somebody.run("logout").code == 0
    assert not somebody.tokens.exists()

    somebody.environ[SECRET] = "mistyped"
    wrong = somebody.run("login", "--debug")
    assert wrong.code == 2
    assert "does not accept this application" in wrong.err
    assert SECRET in wrong.err


def test_a_secret_in_the_file_is_refused_and_not_shown(somebody: Somebody) -> None:
    toml = somebody.folder / "empiar-mirror.toml"
    toml.write_text(toml.read_text().replace("[globus]", f'[globus]\nclient_secret = "{CLIENT_SECRET}"'))
    refused = somebody.run("whoami", "--debug")
    assert refused.code == 2
    assert f"set {SECRET} instead" in refused.err


def test_tokens_of_another_identity_are_not_replaced(somebody: Somebody) -> None:
    assert somebody.log_in().code == 0
    kept = somebody.tokens.read_text()
    other = json.loads(kept)
    for tokens in other["data"][NATIVE_CLIENT_ID].values():
        tokens["identity_id"] = "00000000-0000-4000-8000-00000000beef"
    somebody.tokens.write_text(json.dumps(other))
    done = somebody.log_in()
    assert done.code == 2
    assert "→ run `empiar-mirror globus logout` first" in done.err


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format_version": "9"}', '{"data": 3, "format_version": "2.0"}']
)
def test_a_spoilt_token_file_says_what_to_do(somebody: Somebody, content: str) -> None:
    somebody.tokens.write_text(content)
    told = somebody.run("whoami")
    assert told.code == 2
    assert f"→ remove {somebody.tokens}, then run `empiar-mirror globus login`" in told.err


def test_what_is_not_set_is_named(somebody: Somebody) -> None:
    toml = somebody.folder / "empiar-mirror.toml"
    whole = toml.read_text()
    toml.write_text(re.sub("client_id = .*", "", whole))
    assert "globus.client_id is not set" in somebody.run("login").err
    toml.write_text(re.sub("\ncollection = .*", "", whole))
    refused = somebody.run("ls")
    assert (refused.code, "globus.collection is not set" in refused.err) == (2, True)
    done = somebody.log_in()
    assert done.code == 0
    assert "globus.collection is not set: nothing can be transferred before it is" in done.out


def test_a_command_that_hangs_ends_at_once_when_it_is_stopped(somebody: Somebody) -> None:
    """A read of the network waits for a minute: whoever presses Ctrl-C does not."""
    assert somebody.log_in().code == 0
    somebody.stand_in.book.add(GlobusFault(kind=GlobusFaultKind.HANG, match="*/ls", times=None))
    before = somebody.stand_in.requests.total()
    process = subprocess.Popen(
        [*PROGRAM, "globus", "ls"], cwd=somebody.folder, env=somebody.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    with process:
        try:
            while somebody.stand_in.requests.total() == before:
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=READ_S / 2)
        finally:
            process.kill()
    somebody.said += [out, err]
    assert process.returncode == 130
    assert err.strip() == "stopped"
