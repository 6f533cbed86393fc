"""`python -m empiar_schema` writes the description of the catalogue's views (docs/sql.md) to standard output."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from empiar_schema.catalogue import Catalogue
from empiar_schema.views import describe_markdown

if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        Catalogue.open(Path(folder) / "empiar.db", create=True) as catalogue,
        catalogue.reader() as reader,
    ):
        sys.stdout.write(describe_markdown(reader))
