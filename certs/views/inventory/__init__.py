"""The inventory: its list, saved views, and acts on many certificates."""
