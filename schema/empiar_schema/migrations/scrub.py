"""Step m005: proofs in the order of their age."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # Scrubbing goes along this index, oldest proof first; the entry keeps files that came together together.
    # The condition appears word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX copy_by_proof ON copy (verified_at, empiar_id) WHERE state IN (3, 4)",
)
