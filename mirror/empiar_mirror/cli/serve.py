from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, as_json, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_schema.settings import Settings


@click.command("serve")
@click.option("--host", metavar="ADDRESS", help="Address to listen at  [default: serve.host, 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port; 0 means a free one  [default: serve.port, 8001]"
)
@standard_options
def command(invocation: Invocation, host: str | None, port: int | None) -> ExitCode:
    """Show the catalogue in a browser, until stopped: progress, search, entries, pictures, SQL, and labels by hand.

    It reads snapshots of its own and changes nothing but labels by hand, which it saves as files (docs/annotate.md); it works
    beside `run` and `sync`, and without internet. At any address but this machine's own it asks for a token, which it prints; saving
    needs one everywhere. Needs `pip install 'empiar-mirror[serve]'`; see docs/web.md.
    """
    from pydantic import ValidationError

    settings = invocation.settings()
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        # Checked as in the file.
        serve = type(settings.serve).model_validate(settings.serve.model_dump() | given)
    except ValidationError as error:
        raise ConfigFault(f"--host: {error.errors()[0]['msg']}") from None
    asyncio.run(_serve(settings.model_copy(update={"serve": serve}), as_document=invocation.as_json))
    return ExitCode.STOPPED


async def _serve(settings: Settings, *, as_document: bool) -> None:
    try:
        from empiar_mirror.web.serving import served, token_of, write_token_of
        from empiar_mirror.web.snapshots import FOLDER
    except ModuleNotFoundError as error:
        if error.name not in ("datasette", "jinja2", "uvicorn"):
            raise
        raise ConfigFault(
            f"the web page needs {error.name}, which is not installed",
            hint="pip install 'empiar-mirror[serve]'",
        ) from error
    from empiar_mirror.systemd import ServiceManager

    # What a sort cannot keep in memory goes beside the snapshots, not into a /tmp that may be memory itself.
    os.environ.setdefault("SQLITE_TMPDIR", str(settings.root / FOLDER))
    manager = ServiceManager.of(os.environ)
    token = token_of(settings)
    write_token = token or write_token_of(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    own = asyncio.current_task()
    assert own is not None
    begun = False

    def stop() -> None:
        # Before the page is there, its first snapshot is being made: that is given up.
        stopped.set() if begun else own.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        say(f"taking a snapshot of {settings.root / 'empiar.db'}")
        async with served(settings, token=token, write_token=write_token, say=say) as (host, port):
            begun = True
            manager.ready(f"the web page is at {host}, port {port}")
            name = f"[{host}]" if ":" in host else host
            address = f"http://{name}:{port}/"
            configured = settings.serve.token is not None
            if as_document:
                made = {"token": token, "write_token": write_token}
                click.echo(as_json({"address": address, **(dict.fromkeys(made) if configured else made)}))
            else:
                click.echo(address if token is None or configured else f"{address}-/login?token={token}")
            if token is None:
                say(
                    f"to save labels by hand, open this once in your browser: {address}-/login?token={write_token}"
                )
            else:
                say(
                    "visitors log in with the token"
                    + (" of EMPIAR_MIRROR_SERVE__TOKEN" if configured else ", which the address above holds")
                )
            await stopped.wait()
            manager.stopping()
    except asyncio.CancelledError:
        if begun:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
