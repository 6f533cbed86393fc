"""The catalogue as files, for people who have no SQLite at hand: tables, formats, snapshots."""
