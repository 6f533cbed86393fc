-- title: Growth of the archive by month of release
-- parameter since text = 2000-01: first month, such as 2024-01
WITH months AS (
    SELECT
        substr(release_date, 1, 7) AS month,
        count(*) AS entries,
        sum(dataset_bytes) AS bytes
    FROM entries
    WHERE release_date IS NOT NULL
    GROUP BY 1
),
sums AS (
    SELECT
        month,
        entries,
        bytes,
        sum(entries) OVER (ORDER BY month) AS entries_in_all,
        sum(bytes) OVER (ORDER BY month) AS bytes_in_all
    FROM months
)
SELECT * FROM sums WHERE month >= :since ORDER BY month
