"""A Django system check: what a look at a server needs is there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks


@checks.register("certs")
def check_openssl(app_configs: Any, **_kwargs: Any) -> Sequence[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Warn where servers may be looked at and OpenSSL's command line client is not installed."""
    if not settings.PKI_LIVE_NETWORKS or shutil.which("openssl"):
        return []
    hint = "Install the package openssl, or leave PKI_LIVE_NETWORKS empty."
    return [checks.Warning("PKI_LIVE_NETWORKS is set, and there is no program openssl.", hint=hint, id="certs.W001")]
