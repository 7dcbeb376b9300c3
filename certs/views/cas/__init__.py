"""Pages about CAs."""
