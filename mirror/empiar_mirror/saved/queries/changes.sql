-- title: What changed in the archive lately, by entry
-- description: As this mirror noticed it; what changed first is the earliest in the time asked for.
-- parameter days days = 7d: how far back
SELECT
    c.empiar_id,
    (SELECT title FROM entries e WHERE e.empiar_id = c.empiar_id) AS title,
    c.kind,
    CASE WHEN c.path IS NULL AND c.field IS NOT NULL THEN c.field ELSE ifnull('files: ' || c.field, 'files') END AS what,
    count(*) AS times,
    min(c.changed_at) AS first_at,
    max(c.changed_at) AS last_at,
    max(c.old) AS old,
    max(c.new) AS new
FROM changes c
WHERE c.changed_s >= unixepoch('now') - :days * 86400
GROUP BY c.empiar_id, c.kind, 4
ORDER BY last_at DESC, c.empiar_id, c.kind, what
