"""Brings what EMPIAR says of its entries, and the list of their files, into the catalogue. Writes nothing else."""
