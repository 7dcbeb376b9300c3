"""Bulk orders on the portal's pages: asked for, judged line by line, submitted, watched, taken home."""
