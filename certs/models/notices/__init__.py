"""Notices, reminders and webhooks."""
