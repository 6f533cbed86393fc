"""Checks what a mirror needs of its machine, and says what to do about each finding."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from empiar_mirror.doctor_disk import examine_disk_policy
from empiar_mirror.findings import Finding, Verdict, fail, ok, warn
from empiar_mirror.makers.watch import landlock_version
from empiar_mirror.pacing import pause_of, streams_of
from empiar_mirror.reading import CATALOGUE_NAME, reading
from empiar_mirror.space import disk_use
from empiar_schema.faults import EmpiarMirrorError, ExitCode
from empiar_schema.settings import ArchiveSettings, Settings
from empiar_schema.sizes import format_bytes
from empiar_schema.states import Channel

#: File systems without shared memory between machines: SQLite's WAL breaks on them if two nodes open one file.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "fuse.glusterfs",
        "fuse.sshfs",
        "afs",
        "9p",
        "pvfs2",
    }
)
#: Each address gets so long to answer.
ANSWER_S: Final = 10.0
#: A clock that is further off than this makes "changed since" unreliable.
CLOCK_S: Final = 120.0
#: Connections, part files and SQLite together stay below this.
OPEN_FILES: Final = 512
FICLONE: Final = 0x40049409


def exit_code(findings: list[Finding]) -> ExitCode:
    """0 without failures, 3 if the archive's being out of reach is the only one, else 1."""
    failed = {finding.check for finding in findings if finding.verdict is Verdict.FAIL}
    if not failed:
        return ExitCode.OK
    return (
        ExitCode.UNREACHABLE
        if all(name.startswith("network") for name in failed)
        else ExitCode.SOME_FILES_FAILED
    )


async def examine(settings: Settings, *, mounts: Path = Path("/proc/mounts")) -> list[Finding]:
    """All findings, in the order in which they matter. Nothing but short-lived probe files is written."""
    findings = await asyncio.to_thread(_examine_machine, settings, mounts)
    findings += await _examine_network(settings)
    if concerns_globus(settings):
        from empiar_mirror.doctor_globus import examine_globus  # the SDK takes 130 ms to import

        findings += await examine_globus(settings)
    if settings.cluster.scheduler:
        from empiar_mirror.doctor_cluster import examine_cluster

        findings += await examine_cluster(settings)
    return findings


def concerns_globus(settings: Settings) -> bool:
    """Whether the mirror is meant to use Globus."""
    return bool(
        Channel.GLOBUS in settings.transfer.channels
        or "globus" in settings.crawl.listing
        or settings.globus.collection
    )


def _examine_machine(settings: Settings, mounts: Path) -> list[Finding]:
    findings = [_contact(settings)]
    findings += _root(settings)
    if findings[-1].verdict is not Verdict.FAIL:
        findings += _file_system(settings.root, settings.arrange.link)
        findings.append(_network_mount(settings.root, mounts))
    catalogue = _catalogue(settings.root / CATALOGUE_NAME)
    findings += catalogue
    if all(finding.verdict is not Verdict.FAIL for finding in catalogue):
        with reading(settings.root) as connection:
            findings += examine_disk_policy(connection, settings)
    findings += _limits(settings)
    findings += _hooks(settings)
    return findings


def _hooks(settings: Settings) -> Iterator[Finding]:
    """Whether the programs of hooks are there, and can be kept from writing elsewhere; nothing without hooks."""
    hooks = {name: hook for name, hook in settings.hook.items() if hook.enabled}
    for name, hook in hooks.items():
        path = hook.environment.get("PATH", os.environ.get("PATH", os.defpath))
        programs = [str(command[0]) for command in (hook.command, hook.version_command) if command]
        missing = [program for program in programs if shutil.which(program, path=path) is None]
        if missing:
            remedy = "install it, or give its whole path; until then the hook's jobs are parked"
            yield warn(f"hook {name}", f"there is no program {missing[0]}", remedy)
        else:
            yield ok(f"hook {name}", f"{shutil.which(programs[0], path=path)} is there")
    if hooks and landlock_version() < 1:
        remedy = (
            "use Linux 5.13 or later with Landlock; until then a write elsewhere is found out, not prevented"
        )
        yield warn("fence", "this kernel cannot keep a program from writing outside its folder", remedy)


# --- configuration, disk ------------------------------------------------------------------------------------


def _contact(settings: Settings) -> Finding:
    if settings.crawl.contact:
        return ok(
            "config", f"the configuration is valid; requests carry the contact {settings.crawl.contact}"
        )
    return warn(
        "config",
        "the configuration is valid, but names no contact",
        "set crawl.contact to an e-mail address or web page, so that the archive can write before it blocks",
    )


def _root(settings: Settings) -> list[Finding]:
    root = settings.root
    if not root.is_dir():
        return [fail("root", f"{root} is no folder", "run `empiar-mirror init`, or set root")]
    folders = [root, *(root / name for name in ("archive", "datasets", "manifests", "staging", "quarantine"))]
    findings = [
        fail("root", f"{folder} cannot be written", "give this user the right to write it")
        for folder in folders
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK)
    ]
    use = disk_use(root)
    share = 1 - use.free / use.total if use.total else 1.0
    sentence = f"{format_bytes(use.free)} of {format_bytes(use.total)} are free in {root}"
    if share > settings.disk.high_watermark:
        findings.append(
            fail(
                "space",
                f"{sentence}: above disk.high_watermark, nothing new starts",
                "free space, or raise the watermark",
            )
        )
    elif share > settings.disk.low_watermark:
        findings.append(warn("space", f"{sentence}: above disk.low_watermark", "free space soon"))
    else:
        findings.append(ok("space", sentence))
    return findings


@contextmanager
def _probe_folder(root: Path) -> Iterator[Path]:
    folder = root / f".doctor-{secrets.token_hex(6)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        raw = os.fsencode(folder)
        for name in os.listdir(raw):  # noqa: PTH208 - bytes: one of the names is not UTF-8
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(raw, name))  # noqa: PTH108, PTH118 - bytes
        folder.rmdir()


def _file_system(root: Path, link: str) -> list[Finding]:
    try:
        with _probe_folder(root) as folder:
            first = folder / "first"
            first.write_bytes(b"x" * 4096)
            return [_durable(first), *_links(folder, first, link), *_names(folder), *_one_file_system(root)]
    except OSError as error:
        sentence = f"a file could not be written in {root}: {error.strerror}"
        return [fail("root", sentence, "make the folder writable for this user")]


def _durable(first: Path) -> Finding:
    began = time.monotonic()
    try:
        for path in (first, first.parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        return fail(
            "fsync", f"fsync is refused: {error.strerror}", "without it no file can be promised to be durable"
        )
    took = time.monotonic() - began
    if took > 1.0:
        return warn("fsync", f"fsync takes {took:.1f} s", "a busy or remote disk; small files will be slow")
    return ok("fsync", f"fsync of file and folder works ({took * 1000:.0f} ms)")


def _links(folder: Path, first: Path, link: str) -> Iterator[Finding]:
    can = {
        "hardlink": _works(lambda: os.link(first, folder / "hard")),
        "reflink": _works(lambda: _reflink(first, folder / "clone")),
        "symlink": _works(lambda: (folder / "soft").symlink_to("first")),
    }
    able = ", ".join(name for name, works in can.items() if works) or "no links at all"
    if not can["hardlink"]:
        remedy = "files still arrive, by another way; layouts are made of symlinks or copies"
        yield warn("links", f"the file system has no hard links, only {able}", remedy)
    else:
        yield ok("links", f"the file system can do {able}")
    if link in can and not can[link]:
        yield fail("links", f"arrange.link = {link!r} does not work here", 'set arrange.link = "auto"')


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _reflink(source: Path, target: Path) -> None:
    import fcntl

    with source.open("rb") as from_file, target.open("wb") as to_file:
        fcntl.ioctl(to_file.fileno(), FICLONE, from_file.fileno())


def _names(folder: Path) -> Iterator[Finding]:
    (folder / "Case").touch()
    if (folder / "case").exists():
        remedy = "names that differ only by case would clash: choose another file system"
        yield fail("names", "the file system does not tell upper from lower case", remedy)
    if not _works(lambda: os.close(os.open(os.fsencode(folder) + b"/\xe0", os.O_CREAT | os.O_WRONLY))):
        remedy = "such files are parked; a Linux file system such as ext4 or XFS takes every name"
        yield warn("names", "the file system refuses names that are not UTF-8", remedy)
    else:
        yield ok("names", "the file system takes every name, byte for byte")


def _one_file_system(root: Path) -> Iterator[Finding]:
    devices = {(root / n).stat().st_dev for n in ("archive", "staging", "datasets") if (root / n).is_dir()}
    if len(devices | {root.stat().st_dev}) > 1:
        yield fail(
            "staging",
            "staging, archive and datasets lie on different file systems",
            "mount one file system at root, so that a file arrives by a link and not by a copy",
        )


def _network_mount(root: Path, mounts: Path) -> Finding:
    kind = file_system_of(root, mounts)
    if kind is None:
        return warn(
            "mount", f"{mounts} does not tell the file system of root", "make sure that it is a local one"
        )
    if kind in NETWORK_FILE_SYSTEMS:
        return warn(
            "mount",
            f"root is on {kind}, a network file system",
            "use the catalogue from one machine only: SQLite's WAL needs shared memory, which nodes do not share",
        )
    return ok("mount", f"root is on {kind}")


def file_system_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds `path`, by the longest mount point above it."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    resolved = path.resolve()
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        # Blanks and tabs in mount points are written as octal escapes.
        point = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


# --- catalogue ----------------------------------------------------------------------------------------------


def _catalogue(path: Path) -> list[Finding]:
    try:
        with reading(path.parent) as connection:
            answers = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            entries = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    except EmpiarMirrorError as error:
        return [fail("catalogue", str(error), error.hint)]
    except sqlite3.Error as error:
        return [fail("catalogue", f"{path} cannot be read: {error}", "restore it from a copy")]
    if answers != ["ok"]:
        remedy = "stop the mirror, keep the file, and restore the newest copy"
        return [fail("catalogue", f"{path} is damaged: {'; '.join(answers)}", remedy)]
    findings = [
        ok("catalogue", f"{path} is sound and knows {entries:,} entries (SQLite {sqlite3.sqlite_version})")
    ]
    if mode != "wal":
        remedy = "the next command that writes switches it on, if the file system can"
        findings.append(warn("catalogue", f"its journal mode is {mode}, not wal", remedy))
    wal = path.with_name(path.name + "-wal")
    if wal.is_file() and wal.stat().st_size > 2**30:
        remedy = "end long-running readers; it shrinks at the next checkpoint"
        findings.append(warn("catalogue", f"its WAL has grown to {format_bytes(wal.stat().st_size)}", remedy))
    return findings


def _limits(settings: Settings) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = OPEN_FILES + 4 * settings.transfer.connections
    if soft != resource.RLIM_INFINITY and soft < need:
        yield warn("limits", f"only {soft} files may be open (up to {hard})", f"ulimit -n {need}")
    else:
        yield ok("limits", f"{soft} files may be open")
    yield from _pace(settings)


def _pace(settings: Settings) -> Iterator[Finding]:
    """Whether the limits let anything come; nothing where there are none."""
    transfer, now = settings.transfer, time.time()
    if transfer.bandwidth is None and not transfer.limit:
        return
    if (rest := pause_of(settings, now)) is None:
        yield ok("pace", "the limits let transfers go on now")
    elif rest.until is None:
        remedy = "raise transfer.bandwidth, or the bytes_per_s of a transfer.limit"
        yield fail("pace", f"{rest.key} lets nothing come over HTTPS and FTP at any time", remedy)
    else:
        yield ok(
            "pace", f"over HTTPS and FTP nothing comes now: {rest.sentence(now)} (time zone {time.tzname[0]})"
        )
    known = set(streams_of(settings).values())
    for number, one in enumerate(transfer.limit, 1):
        if one.host is not None and one.host.lower() not in known:
            remedy = f"the archive's hosts are {', '.join(sorted(known)) or 'not asked by HTTPS or FTP'}"
            yield warn("pace", f"limit number {number} is for {one.host}, of which nothing comes", remedy)


# --- network ------------------------------------------------------------------------------------------------


async def _examine_network(settings: Settings) -> list[Finding]:
    archive = settings.archive
    agent = f"empiar-mirror doctor ({settings.crawl.contact or 'no contact given'})"
    answers = await asyncio.gather(
        *(_http_answers(name, url, agent) for name, url in _http_addresses(archive)),
        _ftp_answers(archive.ftp_url),
    )
    return [finding for answer in answers for finding in answer]


def _http_addresses(archive: ArchiveSettings) -> Iterator[tuple[str, str]]:
    yield "archive.api_url", archive.api_url
    yield "archive.search_url", archive.search_url
    yield "archive.https_url", archive.https_url + "/"


async def _http_answers(name: str, url: str, agent: str) -> list[Finding]:
    import aiohttp

    check = f"network {name}"
    host = urlsplit(url).netloc
    remedy = f"check {name}, the network, the proxy and the firewall towards {host}"
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": agent}) as session,
            session.head(url, allow_redirects=False) as answer,
        ):
            status, date = answer.status, answer.headers.get("Date")
    except TimeoutError:
        return [fail(check, f"{host} has not answered within {ANSWER_S:.0f} s", remedy)]
    except (aiohttp.ClientError, OSError) as error:
        return [fail(check, f"{host} cannot be reached: {error}", remedy)]
    if status >= 500:
        return [
            fail(check, f"{host} answers HTTP {status}", "try again later; the archive may be in maintenance")
        ]
    return [ok(check, f"{host} answers (HTTP {status})"), *_clock(check, date, time.time())]


def _clock(check: str, date: str | None, now: float) -> Iterator[Finding]:
    try:
        off = now - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return
    if abs(off) > CLOCK_S:
        sentence = (
            f"this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the archive's"
        )
        yield warn(f"clock by {check}", sentence, "set the clock (NTP): changes are asked for by date")


async def _ftp_answers(url: str) -> list[Finding]:
    check = "network archive.ftp_url"
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 21
    remedy = 'many networks block FTP; transfer.channels = ["https"] does without'
    writer = None
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, limit=4096)
            greeting = (await reader.readline()).decode("latin-1").strip()
            writer.write(b"QUIT\r\n")
            await writer.drain()
    except TimeoutError:
        return [warn(check, f"{host} has not answered FTP within {ANSWER_S:.0f} s", remedy)]
    except (OSError, ValueError) as error:
        return [warn(check, f"{host} cannot be reached by FTP: {error}", remedy)]
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    if not greeting.startswith("220"):
        return [
            warn(
                check, f"{host} greets with {greeting[:80]!r}", "the FTP server is full or closed: try later"
            )
        ]
    return [ok(check, f"{host} answers FTP")]
