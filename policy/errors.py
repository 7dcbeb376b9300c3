"""Errors of the policy package; each says what is safe and what to do next."""

from __future__ import annotations


class PolicyError(Exception):
    """Base of this package's errors."""


class PolicyMissing(PolicyError):
    """No version of the policy is in force: nothing is judged, so nothing is issued."""

    def __init__(self, policy_name: str) -> None:
        super().__init__(
            f"No published version of policy {policy_name!r} is in force. Nothing was issued. "
            "Run `manage.py bootstrap` to publish the default policy, or publish a version in the admin."
        )
        self.policy_name = policy_name


class PolicyImmutable(PolicyError):
    """A published version may not change: certificates name it as the reason they exist."""

    def __init__(self, version: str = "A policy version") -> None:
        super().__init__(f"{version} is published and cannot be changed or deleted. Draft a new version instead.")


class PolicyConflict(PolicyError):
    """Drafting or publishing collides with what is there."""


class PublicationRefused(PolicyError):
    """The account may not publish this version: it lacks the permission, or a second person is needed."""


class PolicyCorrupt(PolicyError):
    """The stored rules are not those that were published."""

    def __init__(self, version: str, why: str) -> None:
        super().__init__(
            f"Policy version {version} is not usable: {why}. Nothing is judged by it. "
            "Publish a new version, and find out who wrote to the table."
        )
