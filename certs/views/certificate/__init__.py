"""Pages of the inventory and of a certificate."""
