"""A login to Vault or OpenBao that lasts: token or AppRole, renewed in time, one HTTP session a thread, hvac's errors translated.

Shared by the transit backend and by the client of the PKI engine.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import hvac
import hvac.exceptions
import requests

from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyNotFound, KeyOperationRefused

T = TypeVar("T")

TIMEOUT_SECONDS = 15  # well below an attempt's lease
RENEW_AT = 2 / 3
# Answered with 500 although no retry will help: the version was trimmed or is below the minimum.
_LASTING_500 = ("no such key version", "key version", "version is too old")


class VaultSession:
    """`ca_cert`: PEM file that the server's certificate must chain to. Give a token, or an AppRole's role and secret id.

    Safe to use from several threads; after a fork each process logs in anew.
    """

    def __init__(
        self,
        *,
        url: str,
        token: str = "",
        role_id: str = "",
        secret_id: str = "",
        namespace: str = "",
        ca_cert: str = "",
        approle_mount: str = "approle",
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.url = url
        self._given_token, self._role_id, self._secret_id = token, role_id, secret_id
        self._namespace, self._ca_cert, self._approle_mount, self._timeout = namespace, ca_cert, approle_mount, timeout
        self._lock = threading.RLock()
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._revoke_own_token)

    def _forget(self) -> None:
        self._local = threading.local()
        self._token, self._renew_at, self._owner = "", 0.0, os.getpid()

    def call(self, act: Callable[[hvac.Client], T]) -> T:
        """Run `act` with a logged-in client. Raises KeyBackendError and nothing else."""
        try:
            return act(self._client(self._valid_token()))
        except hvac.exceptions.Forbidden as exc:
            return self._after_forbidden(act, exc)
        except Exception as exc:
            raise translated(exc, self.url) from exc

    def is_available(self) -> bool:
        """Reachable, initialised and unsealed. Needs no login; never raises."""
        try:
            health = self._client("").sys.read_health_status(method="GET", standby_ok=True)
        except (requests.RequestException, hvac.exceptions.VaultError, OSError):
            return False
        # hvac answers with the decoded body for 200 and with the response itself for every other code
        return isinstance(health, dict) and health.get("sealed") is False

    def _after_forbidden(self, act: Callable[[hvac.Client], T], exc: hvac.exceptions.Forbidden) -> T:
        """403 means either that the token is gone (log in again) or that it may not do this (say so): the token knows."""
        try:
            self._client(self._token).auth.token.lookup_self()
        except hvac.exceptions.Forbidden:
            with self._lock:
                self._token = ""
            try:
                return act(self._client(self._valid_token()))
            except Exception as second:
                raise translated(second, self.url) from second
        except Exception as lookup:
            raise translated(lookup, self.url) from lookup
        raise translated(exc, self.url) from exc

    def _client(self, token: str) -> hvac.Client:
        client: hvac.Client | None = getattr(self._local, "client", None)
        if client is None:
            client = hvac.Client(url=self.url, namespace=self._namespace or None, verify=self._ca_cert or True, timeout=self._timeout)
            # Else REQUESTS_CA_BUNDLE overrides the CA given here, and VAULT_TOKEN or a proxy variable reroutes a login.
            client.session.trust_env = False
            self._local.client = client
        client.token = token
        return client

    def _valid_token(self) -> str:
        with self._lock:
            if not self._token:
                self._log_in()
            elif time.monotonic() >= self._renew_at:
                self._renew()
            return self._token

    def _log_in(self) -> None:
        if self._role_id:
            answer = self._client("").auth.approle.login(self._role_id, self._secret_id, mount_point=self._approle_mount)
            self._keep(answer["auth"]["client_token"], answer["auth"]["lease_duration"])
            return
        if not self._given_token:
            raise KeyOperationRefused(
                f"There is no login to {self.url}.",
                next_step="Set VAULT_ROLE_ID and VAULT_SECRET_ID (or their _FILE forms) for this process.",
            )
        data = self._client(self._given_token).auth.token.lookup_self()["data"]
        self._keep(self._given_token, data["ttl"] if data.get("renewable") else 0)

    def _renew(self) -> None:
        try:
            answer = self._client(self._token).auth.token.renew_self()
        except hvac.exceptions.Forbidden:
            self._log_in()
            return
        self._keep(self._token, answer["auth"]["lease_duration"])

    def _keep(self, token: str, seconds: float) -> None:
        """Renewed at two thirds of its life, with jitter so that many workers do not come at once."""
        self._token = token
        self._renew_at = time.monotonic() + seconds * RENEW_AT * random.uniform(0.9, 1.0) if seconds else float("inf")  # noqa: S311 - jitter

    def _revoke_own_token(self) -> None:
        """A token that we logged in for ends with the process. One that was given to us is its giver's."""
        if not self._token or not self._role_id or self._owner != os.getpid():
            return
        try:
            self._client(self._token).auth.token.revoke_self()
        except (requests.RequestException, hvac.exceptions.VaultError):
            return  # it expires by itself


def translated(exc: Exception, url: str) -> KeyBackendError:
    """The key room's error for one of hvac's or requests'. Vault's texts name paths and reasons, never secrets."""
    if isinstance(exc, KeyBackendError):
        return exc
    reason = "; ".join(getattr(exc, "errors", None) or [])[:300]
    match exc:
        case hvac.exceptions.VaultDown() | hvac.exceptions.VaultNotInitialized():
            return KeyBackendUnavailable(
                f"Vault at {url} is sealed or not initialised.", next_step="Unseal it; what waits goes on by itself."
            )
        case hvac.exceptions.InvalidPath():
            return KeyNotFound(f"Vault at {url} has nothing there. {reason}".strip())
        case hvac.exceptions.Forbidden() | hvac.exceptions.Unauthorized():
            return KeyOperationRefused(
                f"Vault at {url} does not permit this. {reason}".strip(), next_step="Compare the role's policy with docs/vault/."
            )
        case hvac.exceptions.InternalServerError() if any(words in reason for words in _LASTING_500):
            return KeyNotFound(f"Vault at {url}: {reason}")
        case hvac.exceptions.InvalidRequest() | hvac.exceptions.ParamValidationError() | hvac.exceptions.UnsupportedOperation():
            return KeyOperationRefused(f"Vault at {url} refused: {reason}")
        case hvac.exceptions.VaultError():
            return KeyBackendUnavailable(
                f"Vault at {url} cannot answer now ({type(exc).__name__}). {reason}".strip(), next_step="Look at Vault's own log."
            )
        case requests.RequestException() | OSError():
            return KeyBackendUnavailable(
                f"Vault at {url} cannot be reached ({type(exc).__name__}).",
                next_step="See that it runs and that VAULT_ADDR and VAULT_CACERT are right.",
            )
    return KeyBackendUnavailable(
        f"Vault at {url} answered something unreadable ({type(exc).__name__}).", next_step="See that VAULT_ADDR is a Vault or OpenBao."
    )
