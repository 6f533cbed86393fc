"""Readers of the archive's answers: pure functions from bytes to our models, which raise `BadAnswer` or note an oddity."""
