"""From the catalogue to the disk: transfer, proof, arrival, layout, and the command line."""
