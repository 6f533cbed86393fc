"""Saved queries: a library of them comes with the program, and the configuration adds more."""
