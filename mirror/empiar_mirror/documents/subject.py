"""What the documents of one layout are about (pure): the entry's metadata in a form that they share."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from empiar_schema.entry import Author, Entry
from empiar_schema.paths import accession

#: All data in EMPIAR are in the public domain (EMPIAR's policies).
LICENSE: Final = "https://creativecommons.org/publicdomain/zero/1.0/"
LICENSE_NAME: Final = "CC0 1.0 Universal (public domain dedication)"
EMPIAR: Final = "https://www.ebi.ac.uk/empiar/"
#: The frame of ``particle_coordinates``, in a sentence for both kinds of document.
FRAME: Final = (
    "X-Coordinate is the column of a particle's centre, and Y-Coordinate counts rows from the other edge: in a micrograph"
    " of H rows as deposited (array A[row, column], row 0 first in the file) the centre is at row = H - Y; in a JPEG"
    " rendition, which is flipped upside down, at row = Y. Pixels are those of the full-size micrograph."
)

_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_ORCID = re.compile(r"[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X]")
_DOI = re.compile(r"10\.[0-9]{4,9}/\S+")
_PUBMED = re.compile(r"[1-9][0-9]{0,8}")
#: Longest text that is taken over into a document.
_LONGEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Subject:
    """An entry as one view lays it out. `entry` is None where its metadata is not known."""

    empiar_id: int
    view: str
    entry: Entry | None
    #: Day on which this mirror first heard of the entry.
    known_since: str | None
    tool_version: str

    @property
    def accession(self) -> str:
        """``EMPIAR-10017``."""
        return accession(self.empiar_id)

    @property
    def title(self) -> str:
        """The entry's title as one line of text; its accession where it has none."""
        return one_line(self.entry.title if self.entry else None) or self.accession

    @property
    def name(self) -> str:
        """``EMPIAR-10017 (cryoppp): Beta-galactosidase``."""
        title = self.title
        lead = f"{self.accession} ({self.view})"
        return lead if title == self.accession else f"{lead}: {title}"

    @property
    def page(self) -> str:
        """The entry's page on the web."""
        return f"{EMPIAR}{self.accession}/"

    @property
    def doi_url(self) -> str | None:
        """The entry's DOI as an address; None without one."""
        return doi_url(self.entry.doi if self.entry else None)

    @property
    def published(self) -> str | None:
        """Day of release; else the day on which this mirror first heard of the entry, which was public by then."""
        return day(self.entry.release_date if self.entry else None) or day(self.known_since)

    @property
    def changed(self) -> str | None:
        """Day of the entry's last change, as it states it; else of its release."""
        return (day(self.entry.update_date if self.entry else None)) or self.published

    @property
    def authors(self) -> tuple[Author, ...]:
        """The authors of whom a name or an ORCID is known."""
        authors = self.entry.authors if self.entry else ()
        return tuple(author for author in authors if one_line(author.name) or orcid_url(author.orcid))

    @property
    def reference(self) -> str:
        """How to cite the entry, as one line."""
        names = [one_line(author.name) or "" for author in self.authors]
        year = f" ({self.published[:4]})" if self.published else ""
        lead = f"{', '.join(filter(None, names)) or 'EMPIAR'}{year}."
        return f"{lead} {self.title}. EMPIAR, {self.accession}. {self.doi_url or self.page}"


def one_line(text: str | None) -> str | None:
    """`text` on one line: line ends, tabs and control characters are blanks, halves of characters are gone."""
    if text is None:
        return None
    whole = text[:_LONGEST].encode("utf-8", "replace").decode()
    plain = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in whole)
    return " ".join(plain.split()) or None


def day(text: str | None) -> str | None:
    """The day that a date begins with; None if it is none."""
    found = _DAY.match(text or "")
    return found.group() if found else None


def orcid_url(orcid: str | None) -> str | None:
    """``https://orcid.org/0000-…``; None if it is no ORCID."""
    found = _ORCID.search(orcid or "")
    return f"https://orcid.org/{found.group()}" if found else None


def doi_url(doi: str | None) -> str | None:
    """``https://doi.org/10.…``, percent-encoded; None if it is no DOI."""
    found = _DOI.search(one_line(doi) or "")
    return f"https://doi.org/{iri(found.group())}" if found else None


def pubmed_url(number: str | None) -> str | None:
    """``https://pubmed.ncbi.nlm.nih.gov/…/``; None if it is no PubMed number."""
    found = _PUBMED.fullmatch(number or "")
    return f"https://pubmed.ncbi.nlm.nih.gov/{found.group()}/" if found else None


def iri(path: str) -> str:
    """`path` as part of an IRI: letters and digits of all scripts as they are, what has a meaning or is unseen as %XX."""
    return "".join(
        sign
        if sign.isalnum() or sign in "-._~/!$&'()*+,;=:@"
        else "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "replace"))
        for sign in path
    )
