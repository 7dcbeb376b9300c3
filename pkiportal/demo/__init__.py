"""Demonstration data for the embedded portal."""
