"""How bytes travel: one protocol (`base`), and one module per channel behind it."""
