"""Everything that waits for a person: read from the rooms to which it belongs."""
