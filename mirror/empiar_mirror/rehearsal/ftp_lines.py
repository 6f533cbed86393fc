"""The lines of a folder's listing over FTP: as vsftpd's LIST, and as MLSD."""

from __future__ import annotations

import time
from collections.abc import Iterator

from empiar_mirror.rehearsal.archive import Node
from empiar_mirror.rehearsal.listing import FOLDER_MTIME

_HALF_A_YEAR_S = 182 * 86400


def list_options(argument: bytes) -> tuple[bytes, bytes]:
    """Options and path of a LIST: like vsftpd, whatever begins with a dash is taken for options."""
    if not argument.startswith(b"-"):
        return b"", argument
    options, _, path = argument.partition(b" ")
    return options, path


def ls_lines(rows: Iterator[tuple[bytes, Node]], *, everything: bool) -> Iterator[bytes]:
    """``ls -l`` as vsftpd prints it: minutes for the last half year, the year before that."""
    now = time.time()
    if everything:
        yield from (_ls_line(name, None, now) for name in (b".", b".."))
    for name, node in rows:
        if everything or not name.startswith(b"."):
            yield _ls_line(name, node, now)


def _ls_line(name: bytes, node: Node, now: float) -> bytes:
    size, mtime = (4096, FOLDER_MTIME) if node is None else (node.size, node.mtime)
    form = "%b %d %H:%M" if now - _HALF_A_YEAR_S < mtime <= now else "%b %d  %Y"
    mode, links = (b"drwxr-xr-x", 2) if node is None else (b"-rw-r--r--", 1)
    when = time.strftime(form, time.gmtime(mtime)).encode()
    return b"%s %4d %-8s %-8s %8d %s %s\r\n" % (mode, links, b"ftp", b"ftp", size, when, name)


def mlsd_lines(rows: Iterator[tuple[bytes, Node]]) -> Iterator[bytes]:
    """The facts of RFC 3659 that clients ask for."""
    for name, node in rows:
        moment = time.strftime("%Y%m%d%H%M%S", time.gmtime(FOLDER_MTIME if node is None else node.mtime))
        size = b"" if node is None else b"size=%d;" % node.size
        yield b"type=%s;%smodify=%s; %s\r\n" % (
            b"dir" if node is None else b"file",
            size,
            moment.encode(),
            name,
        )
