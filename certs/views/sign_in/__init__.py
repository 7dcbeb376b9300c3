"""Signing in: password, second factor, passkey, identity provider, and being asked again."""
