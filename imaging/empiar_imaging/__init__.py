"""What files are and hold: formats, roles, particle coordinates, pixels. Nothing here knows the catalogue or the network."""
