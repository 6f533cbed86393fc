"""The web page as a service: ready when it can be asked, fresh by itself, ended by a signal, with nothing left behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.faults import ExitCode
from small_mirror import NOW
from web_site import get, make_web_mirror, snapshot_files

#: A while of work, whatever the machine: long enough for a snapshot to be replaced meanwhile.
LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)"
    " SELECT count(*) AS numbers, (SELECT count(*) FROM entry) AS entries FROM n"
)
ENTRIES = 4


@contextmanager
def serving(root: Path, *, more: str = "") -> Iterator[tuple[subprocess.Popen[str], str, socket.socket]]:
    """The command, as systemd starts it: its process, its address, and what it tells the service manager."""
    config = root.parent / "mirror.toml"
    config.write_text(f'root = "{root}"\n[serve]\nport = 0\nrefresh = "1s"\nsql_time = "60s"\n{more}')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(root.parent / "notify"))
        ear.settimeout(120)
        process = subprocess.Popen(
            [sys.executable, "-m", "empiar_mirror", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(root.parent / "notify")},
        )
        try:
            assert process.stdout is not None
            assert "READY=1" in ear.recv(4096).decode()
            yield process, process.stdout.readline().strip().rstrip("/"), ear
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def until(moment: Callable[[], bool]) -> None:
    ends = time.monotonic() + 120
    while not moment():
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_web_mirror(tmp_path / "empiar")
    return tmp_path / "empiar"


def test_new_data_appear_while_a_reader_goes_on_and_a_signal_ends_it(root: Path) -> None:
    with serving(root) as (process, address, ear), ThreadPoolExecutor(1) as threads:
        asked = "/catalogue.json?" + urllib.parse.urlencode({"sql": LONG, "_shape": "array"})
        reader = threads.submit(get, address, asked)
        assert get(address, "/entry/20001").status == 404
        with Catalogue.open(root / "empiar.db") as catalogue:
            new = Entry(empiar_id=20001, title="new", status="REL")
            catalogue.write_now(lambda conn: record_entry(conn, new, source="api", now=NOW))
        until(lambda: get(address, "/entry/20001").status == 200)
        answer = reader.result(timeout=120)
        assert answer.text in (
            f'[{{"numbers": 3000000, "entries": {entries}}}]' for entries in (ENTRIES, ENTRIES + 1)
        )
        # Whoever left last has removed the snapshot before.
        until(lambda: len(snapshot_files(root)) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == ExitCode.STOPPED
        assert ear.recv(4096).decode() == "STOPPING=1"
        with pytest.raises(ConnectionRefusedError):
            get(address, "/")
    assert snapshot_files(root) == []


def test_a_saved_query_that_cannot_be_read_is_told_before_anything_is_copied(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = root.parent / "mirror.toml"
    # The command sets it for its whole process.
    monkeypatch.setenv("SQLITE_TMPDIR", str(root.parent))
    config.write_text(f'root = "{root}"\n[query.odd]\nsql = """-- parameter x colour: y\nSELECT :x"""\n')
    assert main(["serve", "--port", "0", "--config", str(config)]) == ExitCode.USAGE
    assert "the query odd has a parameter that cannot be read" in capsys.readouterr().err
    assert not (root / "snapshot").exists()
