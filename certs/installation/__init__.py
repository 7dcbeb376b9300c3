"""Where certificates are installed: looking at a server from outside, and what was seen there last."""
