-- title: Entries that are not complete, and why
-- description: One row an entry and reason; files that only wait have no reason but their turn.
WITH open AS (
    SELECT * FROM entry_progress WHERE state IN ('wanted', 'transferring', 'incomplete', 'unverified')
),
reasons AS (
    SELECT empiar_id, state AS copy_state, error, count(*) AS files, sum(bytes) AS bytes, min(path) AS such_as
    FROM copies
    WHERE unusual AND state IN ('parked', 'quarantined', 'damaged', 'unverified')
    GROUP BY empiar_id, copy_state, error
)
SELECT
    o.empiar_id,
    (SELECT title FROM entries e WHERE e.empiar_id = o.empiar_id) AS title,
    o.state,
    o.here_files,
    o.wanted_files,
    o.wanted_bytes - o.here_bytes AS missing_bytes,
    r.copy_state,
    r.error,
    r.files AS files_of_this_reason,
    r.such_as
FROM open o
LEFT JOIN reasons r USING (empiar_id)
ORDER BY missing_bytes DESC, o.empiar_id, r.files DESC, r.error
