"""Debian's vsftpd, Apache and nginx on loopback, configured as the archive's own servers are, and a tree of awkward names for them.

Each launcher is a context manager: the server is up and answering inside it, and its processes are gone after it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

_START_TRIES = 3
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class ServedTree:
    """A folder as one server shows it; `url` is the address of the folder itself, without a slash at its end."""

    #: ``vsftpd``, ``apache`` or ``nginx``.
    server: str
    url: str
    port: int
    tree: Path
    #: One line per request (Apache, nginx: address, status, bytes sent) or per command and reply (vsftpd).
    log: Path

    def requests(self) -> list[str]:
        """The log's lines so far."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []


class DidNotStartError(Exception):
    """A server did not come up; its last words are the message."""


def _program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise DidNotStartError(errors.read_text(errors="replace")[-2000:])


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)  # the group that this process alone began, its workers included
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            return


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    errors = folder / "stderr.txt"
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        _wait_until_up(process, port, errors)
        yield
    finally:
        _end(process)


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="empiar-mirror-server-"))
    folder.chmod(0o755)  # Apache's workers are not root
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _render(directives: dict[str, str | int]) -> str:
    return "".join(f"{key}={value}\n" for key, value in directives.items())


def _vsftpd_conf(port: int, tree: Path, folder: Path, options: dict[str, str | int]) -> str:
    directives: dict[str, str | int] = {
        "listen": "YES",
        "listen_ipv6": "NO",
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "background": "NO",
        "anonymous_enable": "YES",
        "local_enable": "NO",
        "write_enable": "NO",
        "no_anon_password": "YES",
        "anon_root": str(tree),
        "anon_world_readable_only": "NO",
        "connect_from_port_20": "NO",
        "pasv_address": "10.34.22.86",  # EBI's has answered a private address (October 2023)
        "use_localtime": "NO",
        "seccomp_sandbox": "NO",
        "isolate": "NO",
        "isolate_network": "NO",
        "log_ftp_protocol": "YES",
        "xferlog_enable": "YES",
        "xferlog_std_format": "NO",
        "vsftpd_log_file": str(folder / "log.txt"),
        "ftpd_banner": "Welcome to an archive on loopback",
    }
    if os.geteuid() == 0:
        directives |= {"ftp_username": "ftp", "secure_chroot_dir": str(folder / "empty")}
    else:
        directives["run_as_launching_user"] = "YES"
    return _render(directives | options)


@contextmanager
def vsftpd(tree: Path, **options: str | int) -> Iterator[ServedTree]:
    """vsftpd, anonymous and read-only, serving `tree`; `options` are its own (``max_clients=2``, ``anon_max_rate=1000000``).

    As root it locks itself into the tree as EBI's does; as a plain user it cannot, and the address holds the whole path.
    """
    program = _program("vsftpd", "vsftpd")
    tree = tree.resolve()
    if os.geteuid() == 0:
        tree.chmod(tree.stat().st_mode | 0o055)
    with _scratch() as folder:
        (folder / "empty").mkdir()
        for attempt in range(_START_TRIES):
            port = _free_port()
            conf = folder / "vsftpd.conf"
            conf.write_text(_vsftpd_conf(port, tree, folder, options))
            base = "" if os.geteuid() == 0 else quote(str(tree))
            try:
                with _running([program, str(conf)], port, folder):
                    yield ServedTree(
                        "vsftpd", f"ftp://127.0.0.1:{port}{base}", port, tree, folder / "log.txt"
                    )
                return
            except DidNotStartError:
                if attempt == _START_TRIES - 1:
                    raise


_APACHE_MODULES = ("mpm_event", "authz_core", "alias", "autoindex", "dir", "headers", "mime")

# The options give the very markup of ftp.ebi.ac.uk's pages: HTML 3.2, table, blanks around sizes.
_APACHE_CONF = """
ServerName 127.0.0.1
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
Mutex file:{folder}
Listen 127.0.0.1:{port}
{modules}
ErrorLog {folder}/error.txt
LogFormat "%m %U%q %>s %B %{{Range}}i" plain
CustomLog {folder}/log.txt plain
TypesConfig /etc/mime.types
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25
StartServers 1
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 30
DocumentRoot {tree}
<Directory {tree}>
    Options Indexes
    AllowOverride None
    Require all granted
    DirectoryIndex disabled
</Directory>
IndexOptions FancyIndexing VersionSort HTMLTable NameWidth=* DescriptionWidth=* Charset=UTF-8
IndexOrderDefault Ascending Name
AddIconByEncoding (CMP,/icons/compressed.gif) x-compress x-gzip
AddIconByType (TXT,/icons/text.gif) text/*
AddIconByType (IMG,/icons/image2.gif) image/*
AddIcon /icons/compressed.gif .Z .z .tgz .gz .zip
AddIcon /icons/text.gif .txt
AddIcon /icons/back.gif ..
AddIcon /icons/folder.gif ^^DIRECTORY^^
AddIcon /icons/blank.gif ^^BLANKICON^^
DefaultIcon /icons/unknown.gif
{extra}
"""


def _as_reader(command: list[str]) -> list[str]:
    """Apache refuses to work as root, and other users may not enter pytest's folders: an ordinary user who may read everything."""
    if os.geteuid() != 0:
        return command
    setpriv = _program("setpriv", "util-linux")
    return [
        setpriv,
        "--reuid=www-data",
        "--regid=www-data",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--",
        *command,
    ]


@contextmanager
def apache(tree: Path, *, extra: str = "") -> Iterator[ServedTree]:
    """Apache with the index pages of ftp.ebi.ac.uk, serving `tree`; `extra` is put into its configuration (``MaxRanges none``)."""
    program = _program("apache2", "apache2")
    tree = tree.resolve()
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _APACHE_MODULES
    )
    with _scratch() as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "www-data", "www-data")
        for attempt in range(_START_TRIES):
            port = _free_port()
            conf = folder / "apache.conf"
            conf.write_text(
                _APACHE_CONF.format(folder=folder, port=port, tree=tree, modules=modules, extra=extra)
            )
            command = _as_reader([program, "-f", str(conf), "-DFOREGROUND"])
            try:
                with _running(command, port, folder):
                    yield ServedTree("apache", f"http://127.0.0.1:{port}", port, tree, folder / "log.txt")
                return
            except DidNotStartError:
                if attempt == _START_TRIES - 1:
                    raise


_NGINX_CONF = """
{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.txt;
events {{ worker_connections 256; }}
http {{
    log_format plain '$request_method $request_uri $status $body_bytes_sent $http_range';
    access_log {folder}/log.txt plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    {http}
    server {{
        listen 127.0.0.1:{port};
        root "{tree}";
        autoindex on;
        autoindex_exact_size on;
        {extra}
    }}
}}
"""


@contextmanager
def nginx(tree: Path, *, extra: str = "", http: str = "") -> Iterator[ServedTree]:
    """nginx with its own index pages (exact sizes), serving `tree`; `extra` goes into its server block (``max_ranges 0;``, ``limit_rate 1m;``), `http` above it."""
    program = _program("nginx", "nginx")
    tree = tree.resolve()
    user = "user root;" if os.geteuid() == 0 else ""
    with _scratch() as folder:
        for attempt in range(_START_TRIES):
            port = _free_port()
            conf = folder / "nginx.conf"
            conf.write_text(
                _NGINX_CONF.format(folder=folder, port=port, tree=tree, user=user, extra=extra, http=http)
            )
            command = [program, "-c", str(conf), "-p", str(folder), "-e", str(folder / "error.txt")]
            try:
                with _running(command, port, folder):
                    yield ServedTree("nginx", f"http://127.0.0.1:{port}", port, tree, folder / "log.txt")
                return
            except DidNotStartError:
                if attempt == _START_TRIES - 1:
                    raise


#: Names that tools stumble over, by what they stumble over.
AWKWARD_NAMES: dict[str, bytes] = {
    "blanks": b"SEM Image - SliceImage - 001.tif",
    "leading blank": b" leading.mrc",
    "trailing blank": b"trailing.mrc ",
    "two blanks": b"a  b.mrc",
    "pattern": b"movie[1].eer",
    "pattern twin": b"movie1.eer",
    "percent": b"%41.mrc",
    "percent twin": b"A.mrc",
    "percent alone": b"50% done.txt",
    "hash": b"a#b.mrc",
    "question": b"a?b.mrc",
    "ampersand": b"a&amp;b.mrc",
    "angle": b"<a href=x>.mrc",
    "apostrophe": b"Alzheimer's, n=2.tif",
    "quote": b'a"b.mrc',
    "equals": b"slice_00288_z=1.4263um.tif",
    "plus": b"a+b.mrc",
    "semicolon": b"a;b=c.mrc",
    "colon": b"a:b.mrc",
    "star": b"*.mrc",
    "backslash": b"a\\b.mrc",
    "tilde": b"~x.mrc",
    "arrow": b"a -> b.mrc",
    "leading minus": b"-R.mrc",
    "minus in stem": b"TS_026_003_-2.0.tif",
    "dot file": b".hidden",
    "three dots": b"...",
    "UTF-8": "à µ Å.mrc".encode(),
    "Latin-1": b"\xe0.mrc",
    "no-break space in Latin-1": b"a\xa0",
    "NFC": "caf\u00e9.mrc".encode(),
    "NFD": "cafe\u0301.mrc".encode(),
    "255 bytes": b"n" * 251 + b".mrc",
    "upper case": b"GAIN.MRC",
    "lower case": b"gain.mrc",
    "double suffix": b"x.mrc.tif",
    "date": b"Nov 22 20:29 2025",
}


def awkward_tree(root: Path) -> dict[bytes, int]:
    """Entry 10001 of awkward names stands below `root` (``10001/10001.xml``, ``10001/data/…``); returns its files: path below the entry, size."""
    files = {b"10001.xml": b"<entry/>\n", b"data/empty.mrc": b"", b"data/data/nested.mrc": b"nested"}
    for number, name in enumerate(AWKWARD_NAMES.values()):
        content = name * (1 + 37 * number)
        files[b"data/" + name] = content
        files[b"data/dir " + name[:200] + b"/inner.mrc"] = content[:1000]
    files[b"data/TS_001.mrc/frame.mrc"] = b"in a directory that looks like a file"
    files[b"data/TS_001.mrc/TS_001.mrc"] = b"twin"
    entry = root / "10001"
    for path, content in files.items():
        full = entry / os.fsdecode(path)
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(content)
        os.utime(full, (1_600_000_000, 1_600_000_000 + len(content)))
    (entry / "data" / "empty directory").mkdir()
    return {path: len(content) for path, content in files.items()}
