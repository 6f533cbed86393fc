-- title: Entries by the size of a pixel, the finest first
-- description: As the image sets state it.
-- parameter max_angstrom real = 1.0: up to so many Å a pixel
SELECT
    e.empiar_id,
    e.title,
    min(s.pixel_width_angstrom) AS finest_angstrom,
    max(s.pixel_width_angstrom) AS coarsest_angstrom,
    count(*) AS imagesets,
    sum(s.image_count) AS images,
    e.dataset_bytes
FROM imagesets s
JOIN entries e USING (empiar_id)
WHERE s.pixel_width_angstrom > 0 AND s.pixel_width_angstrom <= :max_angstrom
GROUP BY e.empiar_id
ORDER BY finest_angstrom, e.empiar_id
