"""What somebody typed into the search, as a question to the full-text table. Pure: any text becomes a valid question, or none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: Words of cryo-EM that mean the same: who asks for one finds the others. Each as people write it, in lower case.
SYNONYMS: Final[tuple[tuple[str, ...], ...]] = (
    ("cryo-et", "cryoet", "electron cryotomography", "tomography", "tomogram", "tilt series", "subtomogram"),
    ("spa", "single particle"),
    ("movies", "movie", "multi-frame", "multiframe"),
    ("gain reference", "gain", "gainref", "countref", "flat-field"),
    ("eer", "electron event representation", "electron-event"),
    ("picks", "picked particles", "particle coordinates"),
    ("microed", "micro-ed", "electron diffraction", "diffraction images"),
    ("fib-sem", "fibsem", "focused ion beam", "focussed ion beam"),
    ("sbf-sem", "sbfsem", "sbem", "serial block face"),
    ("clem", "correlative light"),
    ("sxt", "soft x-ray tomography"),
    ("helical", "helix", "filament", "fibril"),
    ("phase plate", "vpp", "volta"),
    ("trpv1", "vanilloid receptor 1", "transient receptor potential v1", "capsaicin receptor"),
    ("beta-galactosidase", "β-galactosidase", "b-galactosidase", "lacz"),
    ("apoferritin", "apo-ferritin"),
    ("sars-cov-2", "sars-cov2", "sarscov2", "covid-19", "2019-ncov"),
    ("hiv", "hiv-1", "human immunodeficiency virus"),
    ("gpcr", "g protein-coupled receptor", "g-protein coupled receptor"),
    ("tmv", "tobacco mosaic virus"),
    ("abeta", "aβ", "amyloid-beta", "amyloid β"),
)  # fmt: skip

#: A word of so many letters also finds what begins with it.
_PREFIX_FROM: Final = 3
_SYNONYM_PREFIX_FROM: Final = 5
#: So many words at most are looked for: each costs a look through the index.
MAX_WORDS: Final = 64
_PIECE: Final = re.compile(r'(-?)"([^"]*)"?|(\S+)')
_ACCESSIONS: Final = (
    ("EMPIAR", re.compile(r"(?:empiar[-_: ]?)?([0-9]{5,6})", re.IGNORECASE)),
    ("EMDB", re.compile(r"emd(?:b)?[-_: ]?([0-9]{4,6})", re.IGNORECASE)),
    ("PDB", re.compile(r"(?:pdb[-_: ]?(?:0000)?)?([0-9][a-z0-9]{3})", re.IGNORECASE)),
    ("DOI", re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.[0-9]{4,9}/\S+)", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True)
class Accession:
    """A word that names a record: `kind` as in the view cross_references, `number` as records have it."""

    kind: str
    number: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be looked for: a full-text expression, None if there is no word in it, and the accessions if all words are such."""

    match: str | None
    accessions: tuple[Accession, ...]


@dataclass(frozen=True, slots=True)
class _Term:
    text: str
    quoted: bool = False
    excluded: bool = False
    starred: bool = False


def question(text: str) -> Question:
    """What `text` asks for: all words, each also as the beginning of one and by its synonyms; "phrases" as they are; without -words."""
    terms = list(_terms(text))[:MAX_WORDS]
    wanted = [term for term in terms if not term.excluded]
    named = [accession(term.text) for term in wanted]
    accessions = tuple(found for found in named if found is not None)
    groups = list(_groups(wanted))
    excluded = [_phrase(term.text) for term in terms if term.excluded]
    if not groups:
        return Question(None, ())
    match = " AND ".join(groups)
    if excluded:
        match = f"({match}) NOT ({' OR '.join(excluded)})"
    return Question(match, accessions if len(accessions) == len(terms) else ())


def accession(word: str) -> Accession | None:
    """The record that `word` names: 10017, EMPIAR-10017, EMD-1234, a PDB code, a DOI; None if it looks like none."""
    for kind, pattern in _ACCESSIONS:
        found = pattern.fullmatch(word)
        if found:
            number = found[1]
            if kind == "EMDB":
                return Accession(kind, f"EMD-{number}")
            if kind == "PDB" and number.isdigit() and not word.lower().startswith("pdb"):
                return None  # a year, or a count: no PDB code is written so without saying PDB
            return Accession(kind, number.lower() if kind in ("PDB", "DOI") else number)
    return None


def _terms(text: str) -> Iterator[_Term]:
    text = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    for minus, phrase, word in _PIECE.findall(text):
        if word:
            bare = word.removeprefix("-")
            if _has_word(bare):
                yield _Term(bare.rstrip("*"), excluded=word != bare, starred=bare.endswith("*"))
        elif _has_word(phrase):
            yield _Term(phrase, quoted=True, excluded=bool(minus))


def _has_word(text: str) -> bool:
    """Whether SQLite's tokenizer finds a word in it; an empty phrase would find nothing at all."""
    return any(unicodedata.category(c)[0] in "LN" for c in text)


def _groups(terms: Sequence[_Term]) -> Iterator[str]:
    at = 0
    while at < len(terms):
        taken, meanings = _synonyms_at(terms, at)
        if meanings:
            yield f"({' OR '.join(meanings)})"
            at += taken
            continue
        term = terms[at]
        prefix = term.starred or (not term.quoted and sum(map(str.isalnum, term.text)) >= _PREFIX_FROM)
        yield _phrase(term.text) + ("*" if prefix and term.text[-1].isalnum() else "")
        at += 1


def _synonyms_at(terms: Sequence[_Term], at: int) -> tuple[int, list[str]]:
    """How many terms from `at` on are one of the known words, the most possible, and all that means the same."""
    for count in range(min(_LONGEST, len(terms) - at), 0, -1):
        taken = terms[at : at + count]
        if any(term.quoted or term.starred for term in taken):
            continue
        found = _BY_WORD.get(_squashed(" ".join(term.text for term in taken)))
        if found is not None:
            own = " ".join(term.text for term in taken)
            return count, list(dict.fromkeys(_beginning(word) for word in (own.casefold(), *found)))
    return 0, []


def _beginning(synonym: str) -> str:
    # Short ones are abbreviations: "spa" is not the beginning of "space".
    return _phrase(synonym) + ("*" if len(synonym.split()[-1]) >= _SYNONYM_PREFIX_FROM else "")


def _phrase(text: str) -> str:
    """Words that stand one after the other; within the quotes nothing has a meaning of its own."""
    return '"' + text.replace('"', '""') + '"'


def _squashed(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


_BY_WORD: Final = {_squashed(word): group for group in reversed(SYNONYMS) for word in group}
_LONGEST: Final = max(len(word.split()) for group in SYNONYMS for word in group)
