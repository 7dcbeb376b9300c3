"""The portal's tables in the Django admin. Importing the package registers them."""

from __future__ import annotations

from certs.admin import accounts, workflow

__all__ = ["accounts", "workflow"]
