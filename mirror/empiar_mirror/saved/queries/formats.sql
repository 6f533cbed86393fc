-- title: Formats of the image sets, with entries and stated images
-- description: An entry with two formats counts in both.
SELECT
    ifnull(s.data_format, s.header_format) AS format,
    count(*) AS imagesets,
    count(DISTINCT s.empiar_id) AS entries,
    sum(s.image_count) AS images,
    min(e.release_date) AS first_release,
    max(e.release_date) AS last_release
FROM imagesets s
JOIN entries e USING (empiar_id)
GROUP BY 1
ORDER BY entries DESC, format
