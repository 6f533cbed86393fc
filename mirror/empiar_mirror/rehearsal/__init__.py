"""A small EMPIAR on loopback that can misbehave: for tests, demonstrations and trying settings out."""
