-- title: Where the archive's sources, or headers and metadata, disagree
-- description: Without id, all entries; the kinds with most cases come first.
-- parameter id id = all: one entry; all means all
SELECT
    what,
    source,
    empiar_id,
    count(*) AS cases,
    min(path) AS such_as,
    min(stated) AS stated,
    min(found) AS found,
    max(last_seen_at) AS last_seen_at
FROM contradictions
WHERE :id = 0 OR empiar_id = :id
GROUP BY what, source, empiar_id
ORDER BY count(*) OVER (PARTITION BY what) DESC, what, empiar_id, source
