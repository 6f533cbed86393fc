"""The tag files of a BagIt bag, RFC 8493 (pure). The payload, ``data/``, is the layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents.placed import DEPOSITED, PlacedFile
from empiar_mirror.documents.subject import Subject
from empiar_schema.faults import HostileName
from empiar_schema.paths import RemotePath

DECLARATION: Final = "bagit.txt"
INFO: Final = "bag-info.txt"
MANIFEST: Final = "manifest-sha256.txt"
FETCH: Final = "fetch.txt"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"

#: RFC 8493, 2.1.1.
DECLARATION_TEXT: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def manifest(files: Iterable[PlacedFile], *, mapping_sha256: str) -> Iterator[bytes]:
    """Lines of ``manifest-sha256.txt``: the layout's own mapping, then every file. ``sha256sum -c`` reads them, too."""
    yield f"{mapping_sha256}  data/{MAPPING}\n".encode()
    for file in files:
        yield f"{file.sha256}  {bag_path(file)}\n".encode()


def fetch(files: Iterable[PlacedFile], *, empiar_id: int, https_url: str | None) -> Iterator[bytes]:
    """Lines of ``fetch.txt``: where the deposited files come from, so that the bag may travel without them."""
    if https_url is None:
        return
    for file in files:
        if file.origin != DEPOSITED:
            continue
        try:
            url = f"{https_url}/{RemotePath.parse(empiar_id, file.path).url_path}"
        except HostileName:
            continue  # somebody has changed the mapping; the bag is whole without this line
        yield f"{url} {'-' if file.bytes is None else file.bytes} {bag_path(file)}\n".encode()


def info(subject: Subject, *, files: int, payload_bytes: int) -> bytes:
    """``bag-info.txt``; no date of bagging, so that the same bag has the same bytes."""
    fields = {
        "Source-Organization": "EMPIAR, the Electron Microscopy Public Image Archive (EMBL-EBI)",
        "External-Description": subject.name,
        "External-Identifier": subject.doi_url or subject.accession,
        "Internal-Sender-Identifier": f"{subject.empiar_id}/{subject.view}",
        "Bag-Software-Agent": f"empiar-mirror {subject.tool_version}",
        "Payload-Oxum": f"{payload_bytes}.{files}",
    }
    return "".join(f"{label}: {value}\n" for label, value in fields.items()).encode()


def tag_manifest(digests: Mapping[str, str]) -> Iterator[bytes]:
    """Lines of ``tagmanifest-sha256.txt``: name of a tag file → its SHA-256, by name."""
    for name in sorted(digests):
        yield f"{digests[name]}  {name}\n".encode()


def bag_path(file: PlacedFile) -> str:
    """``data/micrographs/a.mrc``, with CR, LF and % percent-encoded, and nothing else (RFC 8493, 2.1.3).

    Raises:
        ValueError: the name is not UTF-8.
    """
    text = file.utf8
    if text is None:
        raise ValueError(f"{file.place} is not UTF-8")
    for sign, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(sign, code)
    return f"data/{text}"
