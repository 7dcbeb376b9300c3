"""Errors of the key room. `retryable` is the decision the caller must make; `next_step` is for the person at 02:00."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


class KeyBackendError(Exception):
    """Base. Third-party errors are translated into these at the backend's edge; no text of theirs that could hold a secret is kept."""

    retryable = False

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step

    @property
    def for_people(self) -> str:
        """What happened and what to do about it, for a message to an operator."""
        return f"{self} {self.next_step}".strip()


class KeyBackendUnavailable(KeyBackendError):
    """Unreachable, sealed, overloaded: the same call may succeed later. Never a reason to use another backend."""

    retryable = True


class KeyBackendNotConfigured(KeyBackendUnavailable, ImproperlyConfigured):
    """settings.KEY_BACKENDS of this process has no such alias: what needs it waits until it has."""


class KeyLoginRefused(KeyBackendError):
    """The backend does not take this process's login: nothing was done, and all goes on once the credential is renewed."""

    retryable = True


class KeyNotFound(KeyBackendError):
    """The backend has no such key."""


class KeyOperationRefused(KeyBackendError):
    """Not permitted, or not possible with a key that never leaves its backend."""


class KeyNotPermitted(KeyOperationRefused):
    """A living login may not do this. That is about the rights of the role, never about the item:
    what needs it waits, and goes on once the rights are back.
    """

    retryable = True


class UnsupportedKeySpec(KeyBackendError):
    """The backend does not make this kind of key."""


class KeyMismatch(KeyBackendError):
    """A key was found that is not what our claim says: nothing is signed with it."""
