"""Key backends by alias, one object a process, like Django's caches."""

from __future__ import annotations

import os
import threading
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from keys.backends.base import KeyBackend
from keys.errors import KeyBackendNotConfigured

_backends: dict[str, KeyBackend] = {}
_building = threading.RLock()


def get_key_backend(alias: str) -> KeyBackend:
    """Return the backend of that alias of settings.KEY_BACKENDS. Raises KeyBackendNotConfigured, and never returns another backend."""
    backend = _backends.get(alias)
    if backend is None:
        with _building:  # two objects of one backend would log in twice, and count and cache apart
            backend = _backends.get(alias)
            if backend is None:
                backend = _backends[alias] = _build(alias)
    return backend


def is_answering(alias: str) -> bool:
    """Return whether that backend could be used now; False too for one that this process does not have. Raises for neither."""
    try:
        return get_key_backend(alias).is_working()
    except KeyBackendNotConfigured:
        return False


def _build(alias: str) -> KeyBackend:
    try:
        config: dict[str, Any] = settings.KEY_BACKENDS[alias]
    except KeyError:
        known = ", ".join(settings.KEY_BACKENDS) or "none"
        raise KeyBackendNotConfigured(
            f"KEY_BACKENDS has no entry {alias!r} (it has: {known}).",
            next_step="Configure it where this process runs, or let the process run where it is configured.",
        ) from None
    try:
        backend = import_string(config["BACKEND"])(alias, **config.get("OPTIONS", {}))
    except (ImportError, KeyError, TypeError) as exc:  # their texts name modules and options, never values
        raise KeyBackendNotConfigured(
            f"The entry {alias!r} of KEY_BACKENDS makes no backend: {exc}.",
            next_step="Correct its BACKEND and OPTIONS and restart this process.",
        ) from exc
    if not isinstance(backend, KeyBackend):
        raise KeyBackendNotConfigured(f"{config['BACKEND']}, the entry {alias!r} of KEY_BACKENDS, is not a KeyBackend.")
    return backend


def forget_backends() -> None:
    """Forget all backends: after a fork, because sessions must not be shared, and when settings change in tests."""
    _backends.clear()


def _begin_anew() -> None:
    global _building  # noqa: PLW0603 - another thread may have held it when this process was forked
    _building = threading.RLock()
    forget_backends()


def _settings_changed(*, setting: str, **_kwargs: object) -> None:
    if setting == "KEY_BACKENDS":
        forget_backends()


setting_changed.connect(_settings_changed)
os.register_at_fork(after_in_child=_begin_anew)
