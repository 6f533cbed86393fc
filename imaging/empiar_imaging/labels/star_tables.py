"""STAR as syntax: blocks with loops and pairs. Large regular loops are read here, everything else by gemmi.

Source of the grammar: Hall, J. Chem. Inf. Comput. Sci. 31 (1991) 326; the habit of one row a line is RELION's. gemmi
takes any division into lines, so that two faulty rows may make up for each other; here each line is counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empiar_schema.faults import BadLabels
from empiar_schema.paths import bytes_from_text, text_from_bytes

#: Loops beyond so many are gemmi's: looking for the end of each one costs a look at the rest of the file.
_MOST_PLAIN_LOOPS: Final = 64
#: Bytes of a loop that are split at once.
_PIECE_BYTES: Final = 2 * 1024 * 1024
#: What gemmi refuses, and what would be taken for an escape.
_TO_ESCAPE: Final = re.compile(rb"[\x01-\x08\v\f\x0e-\x1f\x7f-\xff]|%(?=[0-9A-F]{2})")
_KEYWORDS: Final = frozenset({b"data_", b"loop_", b"save_", b"globa", b"stop_"})
_NO_ROW: Final = 1
_KEYWORD: Final = 2
#: What the first byte of a word says: no word of a row, or perhaps a keyword.
_FIRST_OF_WORD: Final = np.zeros(256, "uint8")
_FIRST_OF_WORD[list(b"_#;\"'")] = _NO_ROW
_FIRST_OF_WORD[list(b"dlsDLS")] = _KEYWORD
#: Bytes that put a value into quotes wherever they stand, and where they stand first (a line end: an empty value).
_QUOTED_INSIDE: Final = np.zeros(256, "bool")
_QUOTED_INSIDE[list(b" \t\r\v\f\0\"'")] = True
_QUOTED_FIRST: Final = np.zeros(256, "bool")
_QUOTED_FIRST[list(b"_#$;[]\ndlsgDLSG")] = True
_NEEDS_QUOTES: Final = re.compile(
    r"""[\s"'\0]|\A\Z|\A[_#$;\[\]]|\A(?:data_|loop_|save_|stop_|global_)""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class StarTable:
    """One loop of a block (or its single values, as a table of one row). Texts are stored texts, without quotes."""

    block: str
    columns: Mapping[str, list[str]]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows: their text, and where each word begins and ends."""

    text: str
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


class StarColumns(Mapping[str, list[str]]):
    """The columns of a large loop, made into texts when they are asked for: most callers need four of thirty."""

    def __init__(self, places: Mapping[str, int], width: int, pieces: Sequence[_Piece]) -> None:
        self._places = places
        self._width = width
        self._pieces = pieces
        self._made: dict[str, list[str]] = {}

    def __getitem__(self, tag: str) -> list[str]:
        if tag not in self._made:
            self._made[tag] = self._texts(self._places[tag])
        return self._made[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, tag: object) -> bool:
        return tag in self._places

    def without(self, tags: Collection[str]) -> StarColumns:
        """The other columns."""
        places = {tag: place for tag, place in self._places.items() if tag not in tags}
        return StarColumns(places, self._width, self._pieces)

    def _texts(self, place: int) -> list[str]:
        found: list[str] = []
        for piece in self._pieces:
            text = piece.text
            spans = zip(
                piece.starts[place :: self._width].tolist(),
                piece.ends[place :: self._width].tolist(),
                strict=True,
            )
            found += [text[start:end] for start, end in spans]
        return found


def without(columns: Mapping[str, list[str]], tags: Collection[str]) -> Mapping[str, list[str]]:
    """The columns but for `tags`, none of them made into texts for that."""
    if isinstance(columns, StarColumns):
        return columns.without(tags)
    return {tag: column for tag, column in columns.items() if tag not in tags}


class _NotPlain(Exception):
    """The text needs the whole grammar."""


def star_tables(raw: bytes, *, what: str) -> list[StarTable]:
    """All tables of a STAR file in their order; `what` is its name in errors.

    Raises:
        BadLabels: the text is no STAR, or a row has more or fewer values than its table has columns.
    """
    if b"\0" in raw[:4096]:
        raise BadLabels(
            f"{what} holds NUL bytes: it is binary, or text in UTF-16", hint="save it as plain text"
        )
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    plain = raw.isascii() and b"%" not in raw
    if not plain:
        # gemmi takes printable ASCII only: other bytes go through it as the escapes that stored texts have.
        raw = _escaped(raw)
    try:
        tables = list(_plain_tables(raw, what))
    except _NotPlain:
        if plain:
            raw = _escaped(raw)
            plain = b"%" not in raw
        tables = list(_gemmi_tables(raw, what))
    if plain:
        return tables
    return [StarTable(t.block, {name: _stored(c) for name, c in t.columns.items()}) for t in tables]


def _escaped(raw: bytes) -> bytes:
    return _TO_ESCAPE.sub(lambda found: b"%%%02X" % found.group()[0], raw)


def _stored(values: list[str]) -> list[str]:
    stored = {value: text_from_bytes(bytes_from_text(value)) for value in set(values)}
    return [stored[value] for value in values]


# --- plain files --------------------------------------------------------------------------------------------


def _plain_tables(raw: bytes, what: str) -> Iterator[StarTable]:
    """The tables of a file whose values have neither quotes nor line ends in them."""
    block, at, loops = "", 0, 0
    single: dict[str, list[str]] = {}
    while at < len(raw):
        line, following = _line(raw, at)
        words = line.split(None, 2)
        if not words or words[0].startswith(b"#"):
            at = following
        elif words[0][:5].lower() == b"data_" and len(words) == 1:
            if single:
                yield StarTable(block, single)
            block, single, at = words[0][5:].decode("ascii"), {}, following
        elif words[0].lower() == b"loop_" and len(words) == 1:
            loops += 1
            if loops > _MOST_PLAIN_LOOPS:
                raise _NotPlain
            tags, at = _tags(raw, following)
            columns, at = _body(raw, at, tags, what)
            yield StarTable(block, columns)
        elif words[0].startswith(b"_") and _is_pair(words):
            single[words[0].decode("ascii")] = [words[1].decode("ascii")]
            at = following
        else:
            raise _NotPlain
    if single:
        yield StarTable(block, single)


def _line(raw: bytes, at: int) -> tuple[bytes, int]:
    end = raw.find(b"\n", at)
    end = len(raw) if end < 0 else end
    return raw[at:end], end + 1


def _is_pair(words: Sequence[bytes]) -> bool:
    comment = len(words) == 3 and not words[2].startswith(b"#")
    return len(words) >= 2 and not comment and words[1][:1] not in (b'"', b"'", b"#", b"_", b";")


def _tags(raw: bytes, at: int) -> tuple[list[str], int]:
    """The names after ``loop_``, with RELION's ``#1`` behind them or without, and where the rows begin."""
    tags: list[str] = []
    while at < len(raw):
        line, following = _line(raw, at)
        words = line.split(None, 1)
        if not words or words[0].startswith(b"#"):
            at = following
        elif words[0].startswith(b"_") and (len(words) == 1 or words[1].startswith(b"#")):
            tags.append(words[0].decode("ascii"))
            at = following
        else:
            break
    if not tags or len(set(tags)) != len(tags):
        raise _NotPlain
    return tags, at


def _body(raw: bytes, start: int, tags: list[str], what: str) -> tuple[StarColumns, int]:
    pieces: list[_Piece] = []
    at, width, ended = start, len(tags), False
    while at < len(raw) and not ended:
        stop = raw.rfind(b"\n", at, at + _PIECE_BYTES) + 1 or len(raw)
        stop = stop if len(raw) - at > _PIECE_BYTES else len(raw)
        piece = raw[at:stop]
        starts, ends = _words(piece)
        if (end := _end_of_rows(piece, starts)) is not None:
            piece, ended = piece[:end], True
            starts, ends = starts[starts < end], ends[starts < end]
        if not _regular(piece, starts, width):
            raise _ragged(raw, at, piece, width=width, what=what)
        pieces.append(_Piece(piece.decode("ascii"), starts.astype("int32"), ends.astype("int32")))
        at += len(piece)
    return StarColumns({tag: place for place, tag in enumerate(tags)}, width, pieces), at


def _words(piece: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each word begins, and where it ends."""
    data = np.frombuffer(piece, "uint8")
    white = sum(int(np.count_nonzero(data == end)) for end in b"\t\n\r")
    if len(piece) >= 2**31 or np.count_nonzero(data < 32) != white or b"\x7f" in piece:
        raise _NotPlain  # a control character
    edges = np.flatnonzero((data[:-1] <= 32) != (data[1:] <= 32)) + 1
    # Blanks and words take turns: the first word begins at the first edge, or before it.
    if len(data) and data[0] > 32:
        edges = np.concatenate(([0], edges))
    if len(edges) % 2:
        edges = np.append(edges, len(data))
    return edges[::2], edges[1::2]


def _end_of_rows(piece: bytes, starts: NDArray[np.intp]) -> int | None:
    """Where a line begins that is no row; None if there is none."""
    data = np.frombuffer(piece, "uint8")
    first = _FIRST_OF_WORD[data[starts]]
    if not first.any():
        return None
    # "data_", "loop_" and "save_" have their underscore at one place; a "." at other places says nothing.
    fifth = data[np.minimum(starts + 4, len(data) - 1)]
    found = np.flatnonzero((first == _NO_ROW) | ((first == _KEYWORD) & (fifth == ord("_"))))
    for place in starts[found].tolist():
        word = piece[place : place + 5].lower()
        if word[:1] in b"dlsg" and word not in _KEYWORDS:
            continue
        line = piece.rfind(b"\n", 0, place) + 1
        if piece[line:place].strip() or word[:1] in (b'"', b"'", b";"):
            raise _NotPlain
        return line
    return None


def _regular(piece: bytes, starts: NDArray[np.intp], width: int) -> bool:
    """Whether every line has no word or `width` words."""
    ends = np.flatnonzero(np.frombuffer(piece, "uint8") == ord("\n"))
    before = np.searchsorted(starts, ends)
    found = np.diff(before, prepend=0, append=len(starts))
    return bool(((found == 0) | (found == width)).all())


def _ragged(raw: bytes, at: int, piece: bytes, *, width: int, what: str) -> BadLabels:
    counts = ((line, len(words.split())) for line, words in enumerate(piece.split(b"\n")))
    line, found = next((line, found) for line, found in counts if found not in (0, width))
    number = raw.count(b"\n", 0, at) + line + 1
    if number == raw.count(b"\n") + 1:
        return BadLabels(
            f"{what} is cut: its last line, {number}, has {found} of {width} values",
            hint="fetch or export it again",
        )
    return BadLabels(
        f"{what}: line {number} has {found} values, but the table has {width} columns",
        hint="names with spaces must stand in quotes; if the row is damaged, take it out",
    )


# --- the whole grammar --------------------------------------------------------------------------------------


def _gemmi_tables(raw: bytes, what: str) -> Iterator[StarTable]:
    from gemmi import cif

    try:
        document = cif.read_string(raw)
    except (ValueError, RuntimeError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadLabels(
            f"{what} is no sound STAR file: {reason}",
            hint="it may be cut, or hold a name with spaces without quotes",
        ) from error
    for block in document:
        single = {}
        for item in block:
            if isinstance(item.pair, tuple | list):
                single[item.pair[0]] = [cif.as_string(item.pair[1])]
            elif item.loop is not None:
                width = item.loop.width()
                values = _unquoted(item.loop.values)
                yield StarTable(
                    block.name.strip(),
                    {tag: values[place::width] for place, tag in enumerate(item.loop.tags)},
                )
        if single:
            yield StarTable(block.name.strip(), single)


def _unquoted(values: list[str]) -> list[str]:
    from gemmi import cif

    plain = ("'", '"', ";")
    return [cif.as_string(value) if value.startswith(plain) else value for value in values]


# --- writing ------------------------------------------------------------------------------------------------


def star_text(
    blocks: Iterable[tuple[str, Mapping[str, Sequence[str]]]], *, comments: Sequence[str] = ()
) -> bytes:
    """STAR with one loop a block, as RELION lays it out; names with blanks in quotes, an empty text as ``""``.

    Raises:
        BadLabels: a value holds a line end, or both kinds of quotes, which RELION could not read.
    """
    lines = ["", *(f"# {comment}" for comment in comments)]
    for block, columns in blocks:
        lines += ["", f"data_{block}", "", "loop_"]
        lines += [f"{tag} #{place}" for place, tag in enumerate(columns, 1)]
        lines += map(" ".join, zip(*(_written(values) for values in columns.values()), strict=True))
        lines.append("")
    return "\n".join(lines).encode("latin-1") + b"\n"


def _written(values: Sequence[str]) -> Sequence[str]:
    """The values as they stand in the file, as Latin-1 for bytes. Nearly all columns need no change, which is quickly seen."""
    joined = "\n".join(values) + "\n"
    if joined.isascii() and "%" not in joined:
        data = np.frombuffer(joined.encode("ascii"), "uint8")
        ends = np.flatnonzero(data == ord("\n"))
        firsts = data[np.concatenate(([0], ends[:-1] + 1))]
        if len(ends) == len(values) and not (_QUOTED_INSIDE[data].any() or _QUOTED_FIRST[firsts].any()):
            return values
    written = {value: _quoted(bytes_from_text(value).decode("latin-1")) for value in set(values)}
    return [written[value] for value in values]


def _quoted(value: str) -> str:
    if any(end in value for end in "\n\r\0"):
        raise BadLabels(f"STAR cannot hold a line end within a name: {value[:80]!r}", hint="rename that file")
    if value and _NEEDS_QUOTES.search(value) is None:
        return value
    for quote in ('"', "'"):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise BadLabels(
        f"STAR cannot hold both kinds of quotes in a name: {value[:80]!r}", hint="rename that file"
    )
