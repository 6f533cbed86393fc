"""The live view's judgement: rates between looks, and what the service beside tells."""

from __future__ import annotations

import io
import socket
import sqlite3
import time
from pathlib import Path

import pytest
from rich.console import Console

from empiar_mirror.live_facts import WINDOW_S, Rates, read_live
from empiar_mirror.live_screen import screen
from empiar_mirror.metrics.client import channel_bytes
from empiar_mirror.metrics.instruments import Instruments
from empiar_mirror.metrics.monitor import Monitor
from empiar_mirror.metrics.server import served
from empiar_mirror.reading import reading
from empiar_schema.events import AttemptBegan, BytesMoved
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from small_mirror import make_small_mirror


def test_a_rate_is_that_of_the_last_minute_of_looks() -> None:
    rates = Rates()
    assert rates.total() is None
    for second in range(0, 200, 10):
        rates.look(second, {1: 1000 * min(second, 100), 2: 7})
        if second == 90:
            assert rates.of(1) == pytest.approx(1000)
            assert rates.total() == pytest.approx(1000)
    assert rates.of(1) == 0.0, f"nothing came in the last {WINDOW_S} s"
    assert rates.of(3) is None
    rates.look(200, {1: 5})
    assert rates.of(1) == 0.0, "what is counted went back: a partial was given up"


@pytest.mark.parametrize("height", [8, 24, 60])
@pytest.mark.parametrize("width", [40, 160])
def test_the_view_fits_into_any_terminal_and_shows_names_as_they_are(
    tmp_path: Path, height: int, width: int
) -> None:
    make_small_mirror(tmp_path)
    with sqlite3.connect(tmp_path / "empiar.db") as conn:
        conn.execute("UPDATE entry SET title = '[red]no markup[/red]'")
    conn.close()
    settings = Settings(root=tmp_path)
    with reading(tmp_path) as connection:
        facts = read_live(connection, settings, None, now=time.time(), worker="1 (empiar-mirror run)")
    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(screen(facts, Rates(), {"https": 2048.0}, settings, height=height))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[-1].startswith("q ends")
    if width == 160:
        assert "https 2 KiB/s" in out.getvalue()


async def test_bytes_by_channel_come_from_the_service_if_it_answers(tmp_path: Path) -> None:
    import asyncio

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ("127.0.0.1", free.getsockname()[1])
    assert channel_bytes(None) is None
    assert await asyncio.to_thread(channel_bytes, address) is None
    instruments = Instruments()
    instruments(AttemptBegan(1, "10017/a", Channel.FTP, 9000, 0))
    instruments(BytesMoved(1, 4711))
    async with served(address, instruments.registry, Monitor(Settings(root=tmp_path), instruments)):
        told = await asyncio.to_thread(channel_bytes, address)
    assert told is not None
    assert (told["ftp"], told["https"]) == (4711, 0)
