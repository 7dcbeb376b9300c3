"""From an upload to a draft order: read, evaluated line by line, kept until it is submitted."""
