"""The Globus channel: what goes by it, in which tasks, and what became of each file."""
