-- title: Entries that have raw movies and picked particles
-- description: By what the image sets state: frames of the images, and picks as files, a folder or a set of their own.
WITH facts AS (
    SELECT
        empiar_id,
        max(category LIKE '%multiframe%' OR frames_per_image > 1) AS movies,
        max(
            category LIKE '%picked%'
            OR nullif(picked_particles_file_pattern, '') IS NOT NULL
            OR nullif(picked_particles_directory, '') IS NOT NULL
        ) AS particles,
        sum(image_count) FILTER (WHERE category LIKE '%multiframe%' OR frames_per_image > 1) AS stated_movies
    FROM imagesets
    GROUP BY empiar_id
)
SELECT e.empiar_id, e.title, facts.stated_movies, e.dataset_size, e.dataset_bytes
FROM facts
JOIN entries e USING (empiar_id)
WHERE facts.movies AND facts.particles
ORDER BY e.empiar_id
