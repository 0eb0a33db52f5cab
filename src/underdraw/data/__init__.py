"""Worlds, records and batches."""
