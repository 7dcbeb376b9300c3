"""Decisions of persons on requests."""
