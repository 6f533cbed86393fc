"""Eviction: files that can be fetched again are given up for their space, by command."""
