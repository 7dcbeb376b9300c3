"""Errors of the certificate package. Each carries the decision that its catcher must make, and the next step for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from certs.enums import RefusalClass


def sentence(text: str) -> str:
    """Return a text with a full stop at its end: some reasons have one, others none (those of the policy, or of a CA)."""
    return text if not text or text.endswith((".", "!", "?", ":", "…")) else f"{text}."


def joined(texts: Iterable[str]) -> str:
    """Return several reasons as one sentence, with semicolons between them and one full stop, whichever of them have one; "" for none."""
    return sentence("; ".join(text.removesuffix(".") for text in texts))


class PortalError(Exception):
    """Base of what a channel turns into a problem document (RFC 9457): `problem` names the type, `status` the HTTP code."""

    problem = "serverInternal"
    status = 500
    retryable = False

    def __init__(self, message: str, *, field: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.next_step = next_step


class InputRefused(PortalError):
    """The input cannot be accepted as it is; `field` and the message say what would pass."""

    problem = "malformed"
    status = 422


class CSRRefused(InputRefused):
    """The gate of `certs.x509.csr.gate` refused; `refusal` is the class, shown as problem type at every channel.

    `exposed_keys`: SPKI hashes of public keys whose private keys were pasted, each proven.
    """

    def __init__(
        self, refusal: RefusalClass, message: str, *, field: str = "csr", next_step: str = "", exposed_keys: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, field=field, next_step=next_step)
        self.refusal = refusal
        self.problem = str(refusal)
        self.exposed_keys = exposed_keys


class NotUnderstood(InputRefused):
    """Words outside the grammar: where reading stopped (0-based character offset) and a sentence that works."""

    problem = "not_understood"

    def __init__(self, message: str, *, position: int, example: str) -> None:
        super().__init__(message, field="text", next_step=f"Try: {example}")
        self.position = position
        self.example = example


class ReasonMissing(NotUnderstood):
    """A sentence that revokes a certificate without a reason. One of the three says which certificate."""

    def __init__(self, message: str, *, position: int, example: str, cert_id: str, serial_number: int | None, name: str) -> None:
        super().__init__(message, position=position, example=example)
        self.cert_id, self.serial_number, self.name = cert_id, serial_number, name


class NotPermitted(PortalError):
    """The actor may not do this.

    `permission` is the one that would be needed, where a role could give it; pages name the role and
    the people who give it. `givers` are other people who could help, such as those who lead a team.
    """

    problem = "unauthorized"
    status = 403

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        next_step: str = "",
        permission: str = "",
        givers: Sequence[str] = (),
    ) -> None:
        super().__init__(message, field=field, next_step=next_step)
        self.permission = permission
        self.givers = tuple(givers)


class PolicyRefused(PortalError):
    """The policy says no. `next_step` is the change that would pass, or whom to ask."""

    problem = "policy_violation"
    status = 403

    def __init__(self, message: str, *, policy_version: str, next_step: str = "", field: str = "") -> None:
        super().__init__(message, field=field, next_step=next_step)
        self.policy_version = policy_version


class NotFound(PortalError):
    """There is no such thing, or the actor may not see it. The message is the same for both."""

    problem = "notFound"
    status = 404


class Conflict(PortalError):
    """The thing is in a state in which this cannot be done."""

    problem = "conflict"
    status = 409


class Busy(PortalError):
    """Too much of the same is under way in this process; the same may be sent again after `retry_after` seconds."""

    problem = "busy"
    status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after: int, field: str = "", next_step: str = "") -> None:
        super().__init__(message, field=field, next_step=next_step)
        self.retry_after = retry_after


class TooMany(PortalError):
    """A limit on how often this may be done is reached; it may be done again after `retry_after` seconds."""

    problem = "rateLimited"
    status = 429
    retryable = True

    def __init__(self, message: str, *, retry_after: int, field: str = "") -> None:
        number, unit = (retry_after, "second") if retry_after < 60 else (-(-retry_after // 60), "minute")
        wait = f"{number} {unit}{'' if number == 1 else 's'}"
        super().__init__(message, field=field, next_step=f"Try again in {wait}.")
        self.retry_after = retry_after


class SignerMismatch(PortalError):
    """A CA answered with something other than what was ordered; `reasons` lists every difference."""

    problem = "signer_mismatch"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("The CA answered with the wrong certificate: " + "; ".join(reasons))
        self.reasons = reasons
