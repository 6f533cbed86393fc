-- title: Disk use by subscription
-- description: A file that several want counts for each of them.
SELECT
    name,
    priority,
    paused,
    entry_count,
    file_count,
    held_bytes,
    waiting_files,
    waiting_bytes,
    quota_bytes,
    budget_bytes,
    taken_bytes,
    round(100.0 * held_bytes / sum(held_bytes) OVER (), 1) AS percent_of_all
FROM subscriptions
ORDER BY held_bytes DESC, name
