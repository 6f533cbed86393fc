-- title: Throughput by hour and channel
-- description: Bytes that attempts received, in the hour in which they ended; the busy time of all connections together.
-- parameter days days = 1d: how far back
SELECT
    substr(ended_at, 1, 13) || ':00Z' AS hour,
    channel,
    count(*) AS attempts,
    sum(outcome = 'done') AS done,
    sum(bytes_moved) AS bytes,
    round(sum(bytes_moved) / 3600.0) AS bytes_per_s,
    round(sum(julianday(ended_at) - julianday(started_at)) * 86400) AS connection_s
FROM transfers
WHERE ended_s >= unixepoch('now') - :days * 86400
GROUP BY 1, 2
ORDER BY 1, 2
