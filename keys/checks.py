"""Django system checks of the key backends: a mistake here would only show when the first key is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

LOCAL = "keys.backends.local.LocalKeyBackend"


@checks.register("keys")
def check_backends(app_configs: Any, **_kwargs: Any) -> Sequence[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Local keys are refused unless allowed by name; a named backend that is not configured is a warning in processes without a login."""
    found: list[checks.CheckMessage] = []
    for alias, config in settings.KEY_BACKENDS.items():
        if config["BACKEND"] == LOCAL and not settings.PKI_ALLOW_LOCAL_KEYS:
            found.append(
                checks.Error(
                    f"The key backend {alias!r} keeps keys in the database, encrypted.",
                    hint="Use Vault, OpenBao or an HSM in production, or set PKI_ALLOW_LOCAL_KEYS=true if you mean it.",
                    id="keys.E001",
                )
            )
    if settings.KEY_BACKENDS and settings.PKI_LEAF_KEY_BACKEND not in settings.KEY_BACKENDS:
        found.append(
            checks.Warning(
                f"PKI_LEAF_KEY_BACKEND is {settings.PKI_LEAF_KEY_BACKEND!r}, which KEY_BACKENDS does not have.",
                hint=f"It has: {', '.join(settings.KEY_BACKENDS)}. Right only for a process that makes no leaf keys.",
                id="keys.W001",
            )
        )
    return found
