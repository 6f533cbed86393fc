"""``manifests/<id>``: checksums that ``sha256sum -c`` takes, and where each file came from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final

from empiar_mirror.documents.writing import write_document
from empiar_schema.paths import accession, bytes_from_text
from empiar_schema.provenance_store import ArrivedFile, MadeFile, arrived_files, made_files

CHECKSUMS: Final = "manifest-sha256.txt"
PROVENANCE: Final = "provenance.json"

_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


def write_entry_manifests(conn: sqlite3.Connection, root: Path, empiar_id: int) -> None:
    """Both files of ``manifests/<id>`` say what the catalogue says is here.

    Raises:
        StorageFault: the disk refused.
    """
    write_manifest(root, empiar_id, ((file.path, file.sha256) for file in arrived_files(conn, empiar_id)))
    write_provenance(root, empiar_id, arrived_files(conn, empiar_id), made_files(conn, empiar_id))


def write_manifest(root: Path, empiar_id: int, rows: Iterable[tuple[str, str]]) -> bool:
    """``manifest-sha256.txt`` lists `rows` (stored path, sha256 in hex) in their order; whether it changed.

    ``sha256sum -c`` run in ``archive/<id>`` accepts it. Without rows there is no such file, because an
    empty one is an error to ``sha256sum``.

    Raises:
        StorageFault: the disk refused.
    """
    lines = (checksum_line(bytes_from_text(path), sha) for path, sha in rows)
    return write_document(_folder(root, empiar_id) / CHECKSUMS, lines, root=root).changed


def write_provenance(
    root: Path, empiar_id: int, files: Iterable[ArrivedFile], derived: Iterable[MadeFile] = ()
) -> bool:
    """``provenance.json`` lists the entry's files and what was made of them, in their order; whether it changed.

    Without files there is no such document. It holds no date of its own, so that the same facts give the same bytes.

    Raises:
        StorageFault: the disk refused.
    """
    pieces = _provenance_document(empiar_id, files, derived)
    return write_document(_folder(root, empiar_id) / PROVENANCE, pieces, root=root).changed


def checksum_line(path: bytes, sha256_hex: str) -> bytes:
    r"""One line of GNU ``sha256sum``: a path with a backslash or line end is escaped, and the line begins with ``\``."""
    mark = b""
    if any(special in path for special in _ESCAPES):
        mark = b"\\"
        for special, escape in _ESCAPES.items():
            path = path.replace(special, escape)
    return mark + sha256_hex.encode() + b"  " + path + b"\n"


def _folder(root: Path, empiar_id: int) -> Path:
    return root / "manifests" / str(empiar_id)


def _provenance_document(
    empiar_id: int, files: Iterable[ArrivedFile], derived: Iterable[MadeFile]
) -> Iterator[bytes]:
    """One JSON document, one line a file, in pieces: an entry can have a million files."""
    before = b""
    for file in files:
        if not before:
            head = {"entry": accession(empiar_id), "tool": f"empiar-mirror {version('empiar-mirror')}"}
            yield _json(head)[:-1] + b', "files": ['
        yield before + b"\n" + _json(_arrived(file))
        before = b","
    if not before:
        return
    yield b"\n]"
    before = b', "derived": ['
    for product in derived:
        yield before + b"\n" + _json(_made(product))
        before = b","
    yield b"\n]}\n" if before == b"," else b"}\n"


def _arrived(file: ArrivedFile) -> dict[str, object]:
    """The facts on one file that are on record, under the names of the catalogue's views."""
    validators = {
        "bytes": file.validator_bytes,
        "modified_at": file.validator_modified_at,
        "etag": file.validator_etag,
    }
    return _known(
        {
            "path": file.path,
            "source_url": file.source_url,
            "channel": file.channel,
            "bytes": file.bytes,
            "modified_at": file.modified_at,
            "sha256": file.sha256,
            "first_seen_at": file.first_seen_at,
            "arrived_at": file.arrived_at,
            "gone_at": file.gone_at,
            "validators": _known(validators) or None,
            "role": file.role,
            "role_confidence": file.role_confidence,
            "role_reason": file.role_reason,
        }
    )


def _made(product: MadeFile) -> dict[str, object]:
    return _known(
        {
            "path": product.path,
            "kind": product.kind,
            "stem": product.stem,
            "parent": product.parent,
            "bytes": product.bytes,
            "sha256": product.sha256,
            "made_at": product.made_at,
            "maker": product.maker,
            "recipe": product.recipe,
            "command": product.command,
            "version": product.version,
            "log_path": product.log_path,
            "input_count": product.input_count or None,
            "inputs": [_known(asdict(input_)) for input_ in product.inputs] or None,
        }
    )


def _known(facts: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value is not None}


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
