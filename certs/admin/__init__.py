"""The portal's tables in the Django admin. Importing the package registers them."""

from __future__ import annotations

from certs.admin import accounts, schedules, workflow

__all__ = ["accounts", "schedules", "workflow"]
