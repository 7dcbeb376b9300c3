"""Bulk orders: drafted and judged line by line, submitted once, worked off in chunks, watched, paused and ended."""
