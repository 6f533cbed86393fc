-- title: Files here that are the same, byte for byte, in several entries
-- description: Of equal size and SHA-256. One row a set of equal files.
-- parameter min_bytes size = 1MB: files from this size on
-- Most files are like no other: what is told of sets is gathered for those few that are.
WITH equal AS (
    SELECT sha256_bytes
    FROM checksums
    WHERE bytes >= :min_bytes
    GROUP BY sha256_bytes
    HAVING min(empiar_id) < max(empiar_id)
),
sets AS (
    SELECT
        sha256_bytes,
        bytes,
        count(*) AS files,
        count(DISTINCT empiar_id) AS entries,
        group_concat(DISTINCT empiar_id) AS empiar_ids,
        min(file_id) AS first_file
    FROM checksums
    WHERE bytes >= :min_bytes AND sha256_bytes IN equal
    GROUP BY sha256_bytes, bytes
    HAVING min(empiar_id) < max(empiar_id)
)
SELECT
    lower(hex(s.sha256_bytes)) AS sha256,
    s.bytes,
    s.files,
    s.entries,
    s.empiar_ids,
    c.empiar_id || '/' || c.path AS such_as
FROM sets s
JOIN checksums c ON c.file_id = s.first_file
ORDER BY s.bytes * (s.files - 1) DESC, sha256
