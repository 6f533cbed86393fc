"""Run by the validators' own Python: loads a Croissant, and prints the records of a record set, one JSON object a line."""

from __future__ import annotations

import json
import sys

import mlcroissant  # type: ignore[import-not-found,unused-ignore]


def plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def main(document: str, record_set: str) -> None:
    for record in mlcroissant.Dataset(document).records(record_set):
        print(json.dumps({name: plain(value) for name, value in record.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
