-- title: The biggest folders, of one entry or of the entries with most bytes
-- description: Without id, the folders of the `entries` entries with most bytes listed; smaller entries have none that matter.
-- parameter id id = all: one entry; all means the biggest ones
-- parameter entries int = 20: so many of the biggest entries
-- parameter limit int = 50: so many folders
WITH chosen AS (
    SELECT empiar_id
    FROM (
        SELECT empiar_id FROM entries
        WHERE :id = 0 ORDER BY file_bytes DESC, empiar_id LIMIT :entries
    )
    UNION ALL
    SELECT :id WHERE :id > 0
)
SELECT
    f.empiar_id,
    f.directory,
    count(*) AS files,
    sum(f.bytes) AS bytes
FROM chosen
CROSS JOIN files f ON f.empiar_id = chosen.empiar_id
WHERE f.gone_at IS NULL
GROUP BY f.empiar_id, f.directory
ORDER BY bytes DESC, f.empiar_id, f.directory
LIMIT :limit
