"""Notices: who gets which mail, how it is sent, and webhooks."""
