-- title: Entries with EER files, up to a size
-- description: By what the image sets state; sizes are those that the entry states.
-- parameter max_bytes size = 2TB: entries up to this size
SELECT
    e.empiar_id,
    e.title,
    e.dataset_size,
    e.dataset_bytes,
    e.file_count,
    e.release_date,
    count(*) AS eer_imagesets,
    sum(s.image_count) AS images
FROM imagesets s
JOIN entries e USING (empiar_id)
WHERE (s.data_format = 'EER' OR s.header_format = 'EER') AND e.dataset_bytes <= :max_bytes
GROUP BY e.empiar_id
ORDER BY e.dataset_bytes, e.empiar_id
