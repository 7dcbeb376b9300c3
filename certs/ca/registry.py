"""CA clients by alias, one object a process, like Django's caches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from certs.ca.base import CAClient, Capabilities, LedgerCA, Lookup
from certs.ca.connections import connection_from, connection_of, options_with_credential
from certs.ca.local.client import LocalCAClient
from certs.models import CAAddition, Issuer

_clients: dict[str, CAClient] = {}


def get_ca_client(alias: str) -> CAClient:
    """Return the client that settings.CA_CLIENTS names. An own CA that a roll-over made needs no entry there, so no restart either.

    Raises ImproperlyConfigured for an alias that is neither.
    """
    # Kept for the life of the process: a client keeps its login and its connections.
    client = _clients.get(alias)
    if client is None:
        client = _clients[alias] = _build(alias)
    return client


def client_of_addition(added: CAAddition) -> CAClient:
    """Return a client for the connection of one addition, also of one that was given up and whose name another one has now.

    It is not kept. Raises ImproperlyConfigured.
    """
    config = connection_from(added)
    return get_ca_client(added.name) if config is None else _built(added.name, config)


def own_ca(alias: str) -> LedgerCA | None:
    """Return the client of a CA whose ledger is in this database; None for other CAs, and for one that is not
    configured here. Builds no other client: that may log in over the network.
    """
    config = _config_of(alias)
    try:
        if alias not in _clients and config and not issubclass(_class_of(alias, config), LedgerCA):
            return None
        client = get_ca_client(alias)
    except ImproperlyConfigured:
        return None
    return client if isinstance(client, LedgerCA) else None


def is_remote(alias: str) -> bool:
    """Return whether a CA is asked over the network, so that its workers are those of the queue
    `ca-remote`. So is one that is not configured in this process.
    """
    return own_ca(alias) is None


def own_and_remote() -> tuple[list[Issuer], list[Issuer]]:
    """Return the CAs whose ledger is here, and those that are asked over the network."""
    issuers = list(Issuer.objects.exclude(alias="").order_by("pk"))
    remote = [issuer for issuer in issuers if is_remote(issuer.alias)]
    return [issuer for issuer in issuers if issuer not in remote], remote


def _build(alias: str) -> CAClient:
    config = _config_of(alias)
    if not config:
        if Issuer.objects.filter(alias=alias, key__isnull=False, certificate_der__isnull=False).exists():
            return LocalCAClient(alias)
        known = ", ".join(settings.CA_CLIENTS) or "none"
        raise ImproperlyConfigured(
            f"CA_CLIENTS of this process has no entry {alias!r} (it has: {known}). Configure the CA "
            "in the environment of its workers and restart them."
        )
    return _built(alias, config)


def _built(alias: str, config: dict[str, Any]) -> CAClient:
    build: Callable[..., CAClient] = _class_of(alias, config)
    try:
        # The credential is read as late as here, in the process that uses the CA.
        return build(alias, **(options_with_credential(config) if "CREDENTIAL" in config else config.get("OPTIONS", {})))
    except TypeError as exc:  # its text names options, never their values
        raise ImproperlyConfigured(f"The OPTIONS of the CA {alias!r} in CA_CLIENTS do not fit {config['CLIENT']}: {exc}") from exc


def _config_of(alias: str) -> dict[str, Any]:
    """Return the entry of settings.CA_CLIENTS, else the connection that a person added on a page; empty for neither."""
    found: dict[str, Any] = settings.CA_CLIENTS.get(alias) or connection_of(alias) or {}
    return found


def _class_of(alias: str, config: Mapping[str, Any]) -> type[CAClient]:
    """Raises ImproperlyConfigured for a CLIENT that cannot be imported or is no CA client."""
    try:
        client_class = import_string(config["CLIENT"])
    except (ImportError, KeyError) as exc:
        raise ImproperlyConfigured(f"The CLIENT of the CA {alias!r} in CA_CLIENTS cannot be imported: {exc}") from exc
    if not (isinstance(client_class, type) and issubclass(client_class, CAClient)):
        raise ImproperlyConfigured(f"The CLIENT of the CA {alias!r} in CA_CLIENTS, {config['CLIENT']}, is not a CAClient.")
    return client_class


def capabilities_of(alias: str) -> Capabilities:
    """Return what a CA can do, without logging in to it: pages need this in processes that may not use the CA."""
    # Read from the class where it says them, without building a client.
    config = _config_of(alias)
    try:
        stated = getattr(_class_of(alias, config), "capabilities", None) if config else None
        return stated if isinstance(stated, Capabilities) else get_ca_client(alias).capabilities
    except ImproperlyConfigured:  # a CA that was removed from the settings
        return Capabilities(lookup=Lookup.NONE, explicit_names=False)


def forget_client(alias: str) -> None:
    """Build the client anew when it is used next: its connection was given up, or is tried again."""
    _clients.pop(alias, None)


def forget_clients() -> None:
    """Forget all clients: after a fork, because sockets must not be shared, and when settings change in tests."""
    _clients.clear()


def _settings_changed(*, setting: str, **_kwargs: object) -> None:
    if setting == "CA_CLIENTS":
        forget_clients()


setting_changed.connect(_settings_changed)
os.register_at_fork(after_in_child=forget_clients)
