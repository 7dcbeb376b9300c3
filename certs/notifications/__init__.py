"""Notices: mails, alerts and webhooks, and who receives them."""
