"""The tag files of a BagIt bag, RFC 8493 (pure). The payload, ``data/``, is the layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents.placed import PlacedFile, source_url
from empiar_mirror.documents.subject import Subject

DECLARATION: Final = "bagit.txt"
INFO: Final = "bag-info.txt"
MANIFEST: Final = "manifest-sha256.txt"
FETCH: Final = "fetch.txt"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"

_ENCODED: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
#: RFC 8493, 2.1.1.
DECLARATION_TEXT: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def manifest(files: Iterable[PlacedFile], *, mapping_sha256: str) -> Iterator[bytes]:
    """Lines of ``manifest-sha256.txt``: the layout's own mapping, then every file. ``sha256sum -c`` reads them, too."""
    yield f"{mapping_sha256}  data/{MAPPING}\n".encode()
    for file in files:
        yield f"{file.sha256}  {bag_path(file)}\n".encode()


def fetch(files: Iterable[PlacedFile], *, empiar_id: int, https_url: str | None) -> Iterator[bytes]:
    """Lines of ``fetch.txt``: where the deposited files come from, so that the bag may travel without them."""
    for file in files:
        url = source_url(file, empiar_id, https_url)
        if url is not None:
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
    return "data/" + text.translate(_ENCODED)
