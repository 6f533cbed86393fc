"""Tells people what happens: what is worth telling (`news`, `gathering`), by which way (`command`, `webhook`, `mail`)."""
