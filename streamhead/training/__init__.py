"""Preparing data, training, and what it needs; nothing here is imported at run time."""
