"""The web page over the catalogue: snapshots of it, pages, and Datasette for browsing and SQL."""
