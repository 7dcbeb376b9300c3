"""Secrets that were sent by mistake, and the public keys that are blocked for it."""
