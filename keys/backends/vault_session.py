"""A login to Vault or OpenBao that lasts: token or AppRole, renewed in time, one HTTP session a thread, hvac's errors translated.

Shared by the transit backend and by the client of the PKI engine.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

import hvac
import hvac.exceptions
import requests

from keys.bounded import BoundedCalls, BoundedSession
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyLoginRefused, KeyNotFound, KeyNotPermitted, KeyOperationRefused

T = TypeVar("T")

log = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 15.0  # seconds
# Of one call, however slowly Vault sends; well below an attempt's lease. More than both of the
# others together, so that a connection that cannot be made is reported as such: nothing was sent.
TOTAL_TIMEOUT = 20.0
# What hvac, requests and the reading of an answer that is none of Vault's may raise.
FAILURES = (hvac.exceptions.VaultError, requests.RequestException, OSError, ValueError, LookupError, TypeError, AttributeError)
MOST_HANGING = 64  # calls that a Vault may leave without a complete answer at once, per process
RENEW_AT = 2 / 3
# After a refused login the next one waits, longer each time: Vault locks a role for 15 minutes after five wrong secret ids, and
# several processes share one. A new secret id comes with a restart, so waiting delays nothing but a cure at Vault's own end.
FIRST_LOGIN_PAUSE, LONGEST_LOGIN_PAUSE = 300.0, 900.0
# Vault returns 500 although no retry will help: the version was trimmed or is below the minimum.
_LASTING_500 = ("no such key version", "key version", "version is too old")
_WRITING = {"create", "update", "root", "sudo"}
# Status codes by which Vault refuses a login. Every other code says nothing about the credential.
_LOGIN_REFUSED = (
    hvac.exceptions.InvalidRequest,
    hvac.exceptions.Unauthorized,
    hvac.exceptions.Forbidden,
    hvac.exceptions.InvalidPath,
)

_living: weakref.WeakSet[VaultSession] = weakref.WeakSet()


class VaultSession:
    """`ca_cert`: PEM file that the server's certificate must chain to. Give a token, or an AppRole's role and secret id;
    a token wins, for it is what an operator gives to one command (bootstrap, destroy_keys) in a worker's environment.

    Safe to use from several threads; after a fork each process logs in anew and takes over no connection.
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
    ) -> None:
        self.url = url
        self._given_token, self._role_id, self._secret_id = token, role_id, secret_id
        self._namespace, self._ca_cert, self._approle_mount = namespace, ca_cert, approle_mount
        self.forget()
        _living.add(self)

    def forget(self) -> None:
        """Begin as a new process does: no token, no connection, and no lock that another thread held when this process was forked."""
        self._lock = threading.RLock()
        self._local = threading.local()
        self._calls = BoundedCalls(most=MOST_HANGING)
        self.token, self._owner = "", os.getpid()
        self._kept_at = self.renew_at = self.ends_at = 0.0  # by time.monotonic()
        self._login_refusal: KeyLoginRefused | None = None
        self.login_again_at, self._login_pause = 0.0, FIRST_LOGIN_PAUSE

    def call(self, act: Callable[[hvac.Client], T]) -> T:
        """Run `act` with a logged-in client. Raises KeyBackendError for whatever Vault or the network does.

        `act` takes from the answer what is needed: then an answer that cannot be read is such an error too.
        """
        try:
            token = self._valid_token()
            try:
                return act(self._client(token))
            except hvac.exceptions.Forbidden:
                # Vault returns 403 for a token that is gone and for a right that is missing. Only the first is cured by a login;
                # a login at each missing right would fill Vault with tokens.
                if self._lives(token):
                    raise
            return act(self._client(self._token_after(token)))
        except FAILURES as exc:
            raise translated(exc, self.url) from exc

    def may_write(self, *paths: str) -> bool:
        """Return whether this login may write to all of these paths, as Vault itself judges it. Raises
        KeyBackendError when Vault cannot be asked.

        A policy without `sys/capabilities-self` says nothing, so the work itself will show it.
        """

        def ask(client: hvac.Client) -> bool:
            answer = client.sys.get_capabilities(paths=list(paths))
            data = answer.get("data") or answer
            return all(_WRITING & set(data.get(path) or ()) for path in paths)

        try:
            return self.call(ask)
        except KeyNotPermitted:
            return True

    def _lives(self, token: str) -> bool:
        """Return whether the token is valid after a 403, which means that it is gone or that it may not do this: look the token up."""
        try:
            self._client(token).auth.token.lookup_self()
        except hvac.exceptions.Forbidden:
            return False
        return True

    def _token_after(self, gone: str) -> str:
        """Return another token than the one that is gone; another thread may have fetched it already."""
        with self._lock:
            if self.token == gone:
                self.token = ""
            return self._valid_token()

    def _client(self, token: str) -> hvac.Client:
        client: hvac.Client | None = getattr(self._local, "client", None)
        if client is None:
            session = BoundedSession(self._calls, seconds=TOTAL_TIMEOUT)
            # Else REQUESTS_CA_BUNDLE overrides the CA given here, and VAULT_TOKEN or a proxy variable reroutes a login.
            session.trust_env = False
            session.verify = self._ca_cert or True
            timeouts = (CONNECT_TIMEOUT, READ_TIMEOUT)
            client = hvac.Client(url=self.url, namespace=self._namespace or None, timeout=timeouts, session=session)
            self._local.client = client
        client.token = token
        return client

    def _valid_token(self) -> str:
        with self._lock:
            if not self.token:
                self._log_in()
            elif time.monotonic() >= self.renew_at:
                self._renew()
            return self.token

    def _log_in(self) -> None:
        """Raises KeyLoginRefused for a credential that Vault refuses; it is tried again after
        growing pauses, not at each call.
        """
        if self._login_refusal is not None and time.monotonic() < self.login_again_at:
            raise KeyLoginRefused(str(self._login_refusal), next_step=self._login_refusal.next_step)
        try:
            self._ask_for_token()
        except hvac.exceptions.VaultError as exc:
            if not _turned_away(exc):
                raise
            self._login_refusal = refusal = self._refusal(exc)
            self.login_again_at = time.monotonic() + self._login_pause * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
            self._login_pause = min(2 * self._login_pause, LONGEST_LOGIN_PAUSE)
            raise refusal from exc
        self._login_refusal, self._login_pause = None, FIRST_LOGIN_PAUSE

    def _ask_for_token(self) -> None:
        asked_at = time.monotonic()
        if self._given_token:
            data = self._client(self._given_token).auth.token.lookup_self()["data"]
            self._keep(self._given_token, data["ttl"] if data.get("renewable") else 0, asked_at)
        elif self._role_id:
            auth = self._client("").auth.approle.login(self._role_id, self._secret_id, mount_point=self._approle_mount)["auth"]
            self._keep(auth["client_token"], auth["lease_duration"], asked_at)
        else:
            raise KeyLoginRefused(
                f"There is no login to {self.url}.",
                next_step="Set VAULT_ROLE_ID and VAULT_SECRET_ID (or their _FILE forms) for this process and restart it.",
            )

    def _refusal(self, exc: Exception) -> KeyLoginRefused:
        if self._given_token:
            return KeyLoginRefused(
                f"Vault at {self.url} does not take the token in VAULT_TOKEN: it has expired or was revoked.",
                next_step="Make a new one (`bao token create ...`, docs/vault/), put it into VAULT_TOKEN and restart this process.",
            )
        mount = f"auth/{self._approle_mount}"
        return KeyLoginRefused(
            f"Vault at {self.url} refused the AppRole login (role id {self._role_id[:8]}…, {mount}). {_reason(exc)}".strip(),
            next_step=(
                f"The secret id has expired or is wrong. Make a new one: `bao write -f -field=secret_id {mount}/role/<role>/secret-id`, "
                "put it where VAULT_SECRET_ID or VAULT_SECRET_ID_FILE says and restart this process. Requests that wait continue "
                "automatically, at the latest 15 minutes later: for so long Vault locks a role after five wrong secret ids."
            ),
        )

    def _renew(self) -> None:
        asked_at, lifetime = time.monotonic(), self.ends_at - self._kept_at
        try:
            seconds = self._client(self.token).auth.token.renew_self()["auth"]["lease_duration"]
        except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest):  # gone, or past its greatest age
            self._log_in()
            return
        except FAILURES as exc:
            rest = self.ends_at - asked_at
            if rest <= 0:
                raise
            log.warning("token for %s not renewed (%s); it is good for another %d s", self.url, type(exc).__name__, rest)
            self.renew_at = asked_at + rest / 4
            return
        if not self._given_token and seconds < lifetime / 3:  # its greatest age is near: renewing gives less and less
            self._log_in()
            return
        self._keep(self.token, seconds, asked_at)

    def _keep(self, token: str, seconds: float, asked_at: float) -> None:
        """Keep a token. It is renewed at two thirds of its life, with jitter, so that many workers do not renew at once."""
        self.token, self._kept_at = token, asked_at
        self.ends_at = asked_at + seconds if seconds else float("inf")
        self.renew_at = asked_at + seconds * RENEW_AT * random.uniform(0.9, 1.0) if seconds else float("inf")  # noqa: S311 - jitter

    def revoke_own_token(self) -> None:
        """Revoke a token from our own login at the end of the process. A token from the environment is left alone."""
        if not self.token or self._given_token or self._owner != os.getpid():
            return
        token, self.token = self.token, ""
        try:
            self._client(token).auth.token.revoke_self()
        except (requests.RequestException, hvac.exceptions.VaultError):
            return  # it expires on its own


def revoke_tokens() -> None:
    """Revoke this process's logins: at exit, and at the end of a child of Celery's prefork pool, which has no exit handlers."""
    for session in list(_living):
        session.revoke_own_token()


def _forget_all() -> None:
    for session in list(_living):
        session.forget()


atexit.register(revoke_tokens)
os.register_at_fork(after_in_child=_forget_all)


def _turned_away(exc: hvac.exceptions.VaultError) -> bool:
    """Return whether the credential is refused. For a wrong secret id Vault 1.13 returns 500 and
    later ones 400; 403 for a role that is locked.
    """
    return isinstance(exc, _LOGIN_REFUSED) or (isinstance(exc, hvac.exceptions.InternalServerError) and "invalid secret id" in _reason(exc))


def _reason(exc: Exception) -> str:
    return "; ".join(getattr(exc, "errors", None) or [])[:300]


def translated(exc: Exception, url: str) -> KeyBackendError:
    """Return the KeyBackendError for an error of hvac or requests. Vault's texts name paths and
    reasons, never secrets.
    """
    if isinstance(exc, KeyBackendError):
        return exc
    reason = _reason(exc)
    match exc:
        case hvac.exceptions.VaultDown() | hvac.exceptions.VaultNotInitialized():
            return KeyBackendUnavailable(
                f"Vault at {url} is sealed or not initialised.", next_step="Unseal it; requests that wait continue automatically."
            )
        case hvac.exceptions.InvalidPath() if "no handler for route" in reason:  # not a key that is absent: the whole engine is
            return KeyBackendUnavailable(
                f"Vault at {url} has no engine there. {reason}", next_step="Enable it, or correct its mount or namespace in the settings."
            )
        case hvac.exceptions.InvalidPath():
            return KeyNotFound(f"Vault at {url} has nothing there. {reason}".strip())
        case hvac.exceptions.Forbidden() | hvac.exceptions.Unauthorized():
            return KeyNotPermitted(
                f"Vault at {url} does not permit this. {reason}".strip(),
                next_step="Compare the role's policy with docs/vault/; requests that wait continue automatically.",
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
        f"Vault at {url} sent something unreadable ({type(exc).__name__}).", next_step="See that VAULT_ADDR is a Vault or OpenBao."
    )
