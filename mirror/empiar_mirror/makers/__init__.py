"""Makers: what turns files that are here into derived ones, by a function of ours or by a program of the user's."""
