"""`status --live` as people see it: on a real terminal, beside the process that works."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from small_mirror import make_small_mirror

COMMAND = (sys.executable, "-m", "empiar_mirror", "status", "--live", "--every", "0.2s")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_small_mirror(tmp_path / "mirror")
    (tmp_path / "empiar-mirror.toml").write_text('root = "mirror"\n[daemon]\nlisten = ""\n')
    return tmp_path


class Terminal:
    """A pseudo-terminal with a program on it."""

    def __init__(self, folder: Path, *, lines: int = 30, columns: int = 160) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(lines, columns)
        self.shown = ""
        environ = {**os.environ, "TERM": "xterm"}
        for name in ("COLUMNS", "LINES"):
            environ.pop(name, None)
        self.process = subprocess.Popen(
            COMMAND, cwd=folder, env=environ, stdin=self._slave, stdout=self._slave, stderr=self._slave,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, text: str, limit_s: float = 60) -> None:
        """Reads until the text is shown, after what was waited for before."""
        ends = time.monotonic() + limit_s
        while text not in self.shown:
            assert time.monotonic() < ends, self.shown
            if select.select([self.master], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
        self.shown = self.shown.partition(text)[2]

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def ended(self, limit_s: float = 60) -> int:
        """The exit code; what is written meanwhile is read, so that nothing blocks."""
        ends = time.monotonic() + limit_s
        while self.process.poll() is None:
            assert time.monotonic() < ends
            if select.select([self.master], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
        return self.process.returncode

    def mode(self) -> list[object]:
        return termios.tcgetattr(self._slave)


@contextlib.contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    shown = Terminal(folder)
    try:
        yield shown
    finally:
        if shown.process.poll() is None:
            shown.process.kill()
        shown.process.wait()
        os.close(shown.master)
        os.close(shown._slave)


def test_the_view_is_drawn_again_follows_the_size_and_ends_with_q(folder: Path) -> None:
    with terminal(folder) as shown:
        before = shown.mode()
        shown.until("to come")
        shown.until("q ends")
        shown.resize(20, 60)
        shown.until("q ends")
        assert max(len(line) for line in shown.shown.replace("\r", "").split("\n")) < 400
        shown.press(b"x")
        shown.press(b"q")
        assert shown.ended() == 0
        assert shown.mode() == before, "the terminal is as it was"


def test_ctrl_c_ends_it_with_0(folder: Path) -> None:
    with terminal(folder) as shown:
        shown.until("q ends")
        shown.press(b"\x03")
        assert shown.ended() == 0


def test_a_catalogue_that_goes_away_is_waited_for(folder: Path) -> None:
    with terminal(folder) as shown:
        shown.until("q ends")
        (folder / "mirror").rename(folder / "away")
        shown.until("there is no catalogue")
        (folder / "away").rename(folder / "mirror")
        shown.until("q ends")
        shown.press(b"q")
        assert shown.ended() == 0


def test_without_a_terminal_a_line_of_json_comes_each_time(folder: Path) -> None:
    process = subprocess.Popen([*COMMAND, "--json"], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        documents = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert all(document["files_left"] >= 0 and "lag_s" in document["crawl"] for document in documents)
        assert documents[1]["at"] > documents[0]["at"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--live"], "terminal"),
        (["--live", "--healthy"], "--healthy"),
        (["--every", "1s"], "--live"),
        (["--live", "--every", "1ms"], "--every"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    word: str,
) -> None:
    monkeypatch.chdir(folder)
    assert main(["status", *options]) == 2
    assert word in capsys.readouterr().err
