"""Bulk uploads: bytes in, lines out."""
