"""Step m006: queues, from which is decided what comes next."""

# ruff: noqa: S608
# SQL is put together from this module's own constants.

from __future__ import annotations

from typing import Final

#: What comes first within a queue, see `empiar_schema.queue_store`: 0 tells what images are (labels, gains, metadata),
#: 1 is small and no image, 2 is all that is large. Within one, listing order fills folder after folder.
_RANK: Final = (
    "CASE WHEN role IN (3, 4, 6, 9) THEN 0"
    " WHEN ifnull(role, 11) IN (7, 8, 10, 11) AND ifnull(bytes, 0) <= 16777216 THEN 1 ELSE 2 END"
)
#: The highest priority of those who want the files of a queue and are not paused; 0 where nobody is left.
_QUEUE_PRIORITY: Final = (
    "ifnull(nullif(max(ifnull(own_priority, -1000000), ifnull((SELECT max(s.priority) FROM json_each(queue.wanters) j"
    " JOIN subscription s ON s.number = CAST(j.key AS INTEGER) WHERE s.paused = 0), -1000000)), -1000000), 0)"
)

STEP: Final = (
    "ALTER TABLE subscription ADD COLUMN quota_bytes INTEGER",
    "ALTER TABLE subscription ADD COLUMN share REAL NOT NULL DEFAULT 1",
    "ALTER TABLE subscription ADD COLUMN deadline_s INTEGER",
    # A queue is the files of one entry that the same subscriptions want, and that were asked for by name with the same priority.
    """
    CREATE TABLE queue (
        queue_id INTEGER PRIMARY KEY,
        empiar_id INTEGER NOT NULL,
        own_priority INTEGER,              -- of who asked by name; NULL where nobody did
        wanters TEXT NOT NULL DEFAULT '{}', -- JSON: number of a subscription -> when the files became wanted for it
        priority INTEGER NOT NULL DEFAULT 0, -- the highest of all who want it; kept up by triggers
        wanted_at INTEGER NOT NULL,        -- since when something of it waits
        served_at INTEGER                  -- when something of it was last claimed
    ) STRICT
    """,
    "CREATE INDEX queue_by_entry ON queue (empiar_id)",
    """
    CREATE TABLE queue_progress (
        queue_id INTEGER NOT NULL, state INTEGER NOT NULL,
        files INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (queue_id, state)
    ) STRICT, WITHOUT ROWID
    """,
    # Bytes brought for a subscription (0: for those who asked by name), decayed since `at`: the measure of fair shares.
    "CREATE TABLE order_account (account INTEGER PRIMARY KEY, spent REAL NOT NULL, at INTEGER NOT NULL) STRICT",
    # Grows with whatever may change which queue is next, by whatever process.
    "CREATE TABLE order_revision (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL) STRICT",
    "INSERT INTO order_revision VALUES (1, 0)",
    "DROP TRIGGER copy_moved",
    "DROP INDEX copy_claimable",
    "DROP INDEX copy_waiting",
    # `priority` of a copy is written no more: it is that of its queue.
    "ALTER TABLE copy ADD COLUMN queue_id INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy ADD COLUMN rank INTEGER NOT NULL DEFAULT 2",
    (
        "INSERT INTO queue (empiar_id, own_priority, priority, wanted_at)"
        " SELECT empiar_id, priority, priority, min(wanted_at) FROM copy GROUP BY empiar_id, priority ORDER BY 1, 2"
    ),
    (
        f"UPDATE copy SET queue_id = (SELECT q.queue_id FROM queue q WHERE q.empiar_id = copy.empiar_id"
        f" AND q.own_priority = copy.priority), rank = (SELECT {_RANK} FROM file f WHERE f.file_id = copy.file_id)"
    ),
    # What subscriptions to whole entries want is known; those to files are asked again when they are next evaluated.
    (
        "UPDATE queue SET wanters = ifnull((SELECT json_group_object(CAST(m.number AS TEXT), m.wanted_at) FROM subscription_match m"
        " WHERE m.empiar_id = queue.empiar_id AND m.file_id = 0 AND m.wanted_at IS NOT NULL), '{}')"
    ),
    (
        "UPDATE queue SET own_priority = NULL WHERE wanters <> '{}'"
        " AND EXISTS (SELECT 1 FROM wish w WHERE w.empiar_id = queue.empiar_id)"
        " AND NOT EXISTS (SELECT 1 FROM wish w WHERE w.empiar_id = queue.empiar_id AND w.view <> '*')"
    ),
    "UPDATE subscription_match SET mark = NULL WHERE file_id > 0",
    f"UPDATE queue SET priority = {_QUEUE_PRIORITY}",
    "INSERT INTO queue_progress SELECT queue_id, state, count(*), sum(ifnull(bytes, 0)) FROM copy GROUP BY 1, 2",
    # Conditions below appear word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX copy_claimable ON copy (queue_id, rank, file_id, not_before) WHERE state <= 1",
    "CREATE INDEX copy_waiting ON copy (empiar_id, queue_id, not_before) WHERE state <= 1",
    """
    CREATE TRIGGER copy_moved AFTER UPDATE OF state, bytes, queue_id ON copy
    WHEN old.state <> new.state OR old.bytes IS NOT new.bytes OR old.queue_id <> new.queue_id BEGIN
        UPDATE copy_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE empiar_id = old.empiar_id AND state = old.state;
        INSERT INTO copy_progress VALUES (new.empiar_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
        UPDATE queue_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE queue_id = old.queue_id AND state = old.state;
        INSERT INTO queue_progress VALUES (new.queue_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER copy_queued AFTER INSERT ON copy BEGIN
        INSERT INTO queue_progress VALUES (new.queue_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER copy_left_queue AFTER DELETE ON copy BEGIN
        UPDATE queue_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE queue_id = old.queue_id AND state = old.state;
    END
    """,
    f"""
    CREATE TRIGGER file_judged AFTER UPDATE OF role ON file WHEN old.role IS NOT new.role BEGIN
        UPDATE copy SET rank = (SELECT {_RANK} FROM file f WHERE f.file_id = new.file_id)
            WHERE file_id = new.file_id AND state <= 2;
    END
    """,
    f"""
    CREATE TRIGGER queue_made AFTER INSERT ON queue BEGIN
        UPDATE queue SET priority = {_QUEUE_PRIORITY} WHERE queue_id = new.queue_id;
        UPDATE order_revision SET revision = revision + 1;
    END
    """,
    f"""
    CREATE TRIGGER queue_changed AFTER UPDATE OF own_priority, wanters, wanted_at ON queue BEGIN
        UPDATE queue SET priority = {_QUEUE_PRIORITY} WHERE queue_id = new.queue_id;
        UPDATE order_revision SET revision = revision + 1;
    END
    """,
    f"""
    CREATE TRIGGER subscription_set AFTER UPDATE OF priority, paused, quota_bytes, share, deadline_s, channel ON subscription
    WHEN old.priority <> new.priority OR old.paused <> new.paused OR old.quota_bytes IS NOT new.quota_bytes
        OR old.share <> new.share OR old.deadline_s IS NOT new.deadline_s OR old.channel IS NOT new.channel BEGIN
        UPDATE queue SET priority = {_QUEUE_PRIORITY} WHERE wanters LIKE '%"' || new.number || '":%';
        UPDATE order_revision SET revision = revision + 1;
    END
    """,
)
