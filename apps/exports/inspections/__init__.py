"""Looks through a run before it leaves: ordered, made in the background, and kept."""
