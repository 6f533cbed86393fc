-- title: The largest entries
-- parameter limit int = 50: so many
SELECT empiar_id, title, dataset_size, dataset_bytes, file_count, file_bytes, release_date, experiment_type
FROM entries
ORDER BY dataset_bytes DESC, empiar_id
LIMIT :limit
