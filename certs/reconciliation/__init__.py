"""Comparisons of what is stored with what explains it."""
