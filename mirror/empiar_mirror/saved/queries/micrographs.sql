-- title: Micrographs and movies of an entry, with pixel size and addresses
-- description: The pixel size is the header's where the file is here, else what the image set states.
-- parameter id id: the entry
SELECT
    m.empiar_id,
    m.path,
    m.role,
    m.bytes,
    ifnull(m.header_pixel_size_angstrom, m.pixel_width_angstrom) AS pixel_size_angstrom,
    ifnull(m.header_width, m.image_width) AS width,
    ifnull(m.header_height, m.image_height) AS height,
    ifnull(m.header_frames, m.frames_per_image) AS frames,
    f.https_url,
    f.ftp_url,
    f.globus_url,
    m.local_path
FROM micrographs m
JOIN files f USING (file_id)
WHERE m.empiar_id = :id AND f.empiar_id = :id AND m.gone_at IS NULL
ORDER BY m.path
