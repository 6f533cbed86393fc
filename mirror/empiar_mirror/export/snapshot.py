"""What makes an export a publication: its name, a README, and the schema for programs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from empiar_mirror.export.cryoppp import NAME as CRYOPPP
from empiar_mirror.export.cryoppp import TABLE
from empiar_mirror.export.tables import Table
from empiar_mirror.export.writers import Format
from empiar_schema.faults import ConfigFault

MANIFEST: Final = "manifest-sha256.txt"
CRYOPPP_FILE: Final = "cryoppp-catalogue.csv"
_LATEST: Final = "SELECT substr(max(max(ifnull(crawled_at, ''), ifnull(listed_at, ''))), 1, 10) FROM entries"


def snapshot_name(connection: sqlite3.Connection) -> str:
    """``empiar-catalogue-YYYY-MM-DD``, by the day on which the archive was last asked, so that the same catalogue has the same name.

    Raises:
        ConfigFault: it never was.
    """
    (day,) = connection.execute(_LATEST).fetchone()
    if not day:
        raise ConfigFault(
            "the catalogue knows no entry yet", hint="`empiar-mirror crawl` asks the archive for all of them"
        )
    return f"empiar-catalogue-{day}"


def schema_document(tables: Sequence[Table]) -> str:
    """Tables and columns with kinds and sentences, as JSON."""
    document = {
        table.name: {
            "description": table.description,
            "columns": [
                {"name": column.name, "type": column.kind, "description": column.description}
                for column in table.columns
            ],
        }
        for table in (*tables, TABLE)
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def readme(name: str, tables: Sequence[Table], rows: Mapping[str, int], form: Format) -> str:
    """The page that comes with a snapshot."""
    shown = "\n".join(
        f"| `{_file_of(table, form)}` | {rows[table.name]:,} | {table.description} |" for table in tables
    )
    return _README.format(
        name=name,
        day=name[-10:],
        tables=shown,
        cryoppp=f"| `{CRYOPPP_FILE}` | {rows[CRYOPPP]:,} | {TABLE.description} |",
        use=_USE if form == "parquet" else "",
    )


def _file_of(table: Table, form: Format) -> str:
    return f"{table.name}/" if table.by_entry and form == "parquet" else f"{table.name}.{form}"


_USE: Final = """
## In DuckDB and pandas

```sql
SELECT role, count(*), sum(bytes) FROM read_parquet('files/*.parquet') GROUP BY role;
```

```python
import pandas
files = pandas.read_parquet("files")          # all parts
entries = pandas.read_parquet("entries.parquet")
```
"""

_README: Final = """# {name}

What EMPIAR, the archive of raw cryo-EM images at EMBL-EBI, offered on {day} as a mirror saw it: entries, image sets, all
files with sizes and addresses, and SHA-256 checksums of those files that the mirror has fetched and verified.

| file | rows | holds |
| --- | --- | --- |
{tables}
{cryoppp}

`schema.json` says what each column means. Times are UTC, ISO 8601; sizes are bytes; paths are stored texts: bytes that are not
UTF-8, control characters, and a `%` before two upper-case hexadecimal digits are written `%XX`. `role` is the mirror's judgement.
`sha256sum --check {manifest}` proves the files.
{{use}}
## Licence

EMPIAR's data and metadata are in the public domain (CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/), and so is
this compilation. Cite the entries that you use, and EMPIAR: Iudin et al., Nucleic Acids Research 51, D1503 (2023),
https://doi.org/10.1093/nar/gkac1062.
""".replace("{manifest}", MANIFEST).replace("{{use}}", "{use}")
