"""Whether EMDB says that a sample is a membrane protein: nobody states it in a field of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: Terms of the Gene Ontology: membrane, and its former children integral component of membrane, of plasma membrane.
GO_TERMS: Final = frozenset({"GO:0016020", "GO:0016021", "GO:0005887"})
#: Words that nobody uses of anything else. A peripheral membrane protein lies on a membrane, and a non-membrane protein nowhere near.
WORDS: Final = re.compile(
    r"(?<!peripheral )(?<!non-)(?<!non )\bmembrane proteins?\b|\btransmembrane\b|\bion channels?\b"
    r"|\bG[- ]protein[- ]coupled receptors?\b|\bGPCRs?\b",
    re.IGNORECASE,
)


def membrane_source(go_terms: Iterable[str], keywords: str | None, names: Iterable[str]) -> str | None:
    """What says that the sample is a membrane protein: a GO term, or these words in the keywords or in a name. None: nothing does."""
    for term in go_terms:
        # Written with or without its prefix.
        if f"GO:{term.upper().removeprefix('GO:').strip()}" in GO_TERMS:
            return f"GO: GO:{term.upper().removeprefix('GO:').strip()}"
    if keywords is not None and (found := WORDS.search(keywords)):
        return f"keywords: {found[0].lower()}"
    for name in names:
        if found := WORDS.search(name):
            return f"name: {found[0].lower()}"
    return None
