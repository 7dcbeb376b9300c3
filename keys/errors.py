"""Errors of the key package. `retryable`: whether the caller should try again. `next_step`: for the operator who is on call."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


class KeyBackendError(Exception):
    """Base. A backend translates the errors of its library into these, and keeps no text of theirs that could hold a secret."""

    retryable = False

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step

    @property
    def for_people(self) -> str:
        """What happened and what to do about it, for an operator. What a backend says may end without a full stop."""
        return f"{str(self).removesuffix('.')}. {self.next_step}".strip() if self.next_step else str(self)


class KeyBackendUnavailable(KeyBackendError):
    """Unreachable, sealed, overloaded: the same call may succeed later. Never a reason to use another backend."""

    retryable = True


class KeyBackendNotConfigured(KeyBackendUnavailable, ImproperlyConfigured):
    """settings.KEY_BACKENDS of this process has no such alias; requests wait for one that has."""


class KeyLoginRefused(KeyBackendError):
    """The backend refuses this process's login. Nothing was done, and requests go on once the credential is renewed."""

    retryable = True


class KeyNotFound(KeyBackendError):
    """The backend has no such key."""


class KeyOperationRefused(KeyBackendError):
    """Not permitted, or not possible with a key that never leaves its backend."""


class KeyNotPermitted(KeyOperationRefused):
    """The login is valid but may not do this. That is a matter of the role's rights, never of the item:
    requests wait, and go on once the role has the rights.
    """

    retryable = True


class UnsupportedKeySpec(KeyBackendError):
    """The backend does not make this kind of key."""


class KeyMismatch(KeyBackendError):
    """A key was found that is not what our claim says: nothing is signed with it."""


class KeyMadeTwice(KeyMismatch):
    """A token has two key pairs under the id of one claim: two processes made one at the same moment, or one crashed."""
