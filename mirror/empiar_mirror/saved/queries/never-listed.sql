-- title: Entries without a file listing, and entries whose listing is old
-- parameter days days = 30d: older than this
SELECT empiar_id, title, status, crawled_at, listed_at, withdrawn_at
FROM entries
WHERE listed_at IS NULL OR listed_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-' || :days || ' days')
ORDER BY listed_at IS NOT NULL, listed_at, empiar_id
