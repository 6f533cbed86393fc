"""Step m004: subscriptions and what they matched."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # Stands for the name where a subscription has many rows.
    "ALTER TABLE subscription ADD COLUMN number INTEGER",
    # 1 where the configuration file declares it: then no command changes it.
    "ALTER TABLE subscription ADD COLUMN declared INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE subscription ADD COLUMN selects TEXT",  # entries or files, as its query was last found to return
    # Rows of the query when it last ran; NULL where the next result is compared with nothing.
    "ALTER TABLE subscription ADD COLUMN match_count INTEGER",
    "ALTER TABLE subscription ADD COLUMN evaluated_at INTEGER",
    "ALTER TABLE subscription ADD COLUMN new_since INTEGER",  # of new_only: what was there by then is not new
    "ALTER TABLE subscription ADD COLUMN held_at INTEGER",
    "ALTER TABLE subscription ADD COLUMN held_reason TEXT",
    "UPDATE subscription SET number = (SELECT count(*) FROM subscription s WHERE s.name <= subscription.name)",
    "CREATE UNIQUE INDEX subscription_by_number ON subscription (number)",
    # What queries returned; `file_id` is 0 where the whole entry is meant, or what a view takes of it.
    """
    CREATE TABLE subscription_match (
        number INTEGER NOT NULL, empiar_id INTEGER NOT NULL, file_id INTEGER NOT NULL,
        matched_at INTEGER NOT NULL, gone_at INTEGER,
        wanted_at INTEGER,        -- when its files were first made wanted; NULL before
        files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, -- of what was made wanted, or would be
        mark TEXT,                -- of what the choice of wanted files depended on: listing, roles, view
        left_out TEXT,            -- why it, or what was added to it since, is not wanted
        PRIMARY KEY (number, empiar_id, file_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX subscription_match_by_entry ON subscription_match (empiar_id)",
)
