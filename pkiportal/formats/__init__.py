"""Formats of dates, for what Django writes itself: the admin."""
