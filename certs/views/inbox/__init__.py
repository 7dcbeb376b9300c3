"""The inbox, and the pages of what is decided there."""
