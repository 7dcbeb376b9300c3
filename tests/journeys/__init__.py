"""People's ways through the portal, in a real browser."""
