"""The field's words, in one place and without Django: states, reasons, classes of refusal."""

from __future__ import annotations

from enum import StrEnum


class RequestState(StrEnum):
    """Where a request stands. The arrows between the states are `certs.requests.states.TRANSITIONS`."""

    SUBMITTED = "submitted"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    KEY_READY = "key_ready"
    CSR_CREATED = "csr_created"
    ISSUED = "issued"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def words(self) -> str:
        """The state as pages and mails name it, after the steps of the page of a request. The value is for programs."""
        return _WORDS[self]


_WORDS = {
    RequestState.SUBMITTED: "being checked",
    RequestState.AWAITING_APPROVAL: "waiting for approval",
    RequestState.APPROVED: "key being made",
    RequestState.KEY_READY: "CSR being made",
    RequestState.CSR_CREATED: "being signed",
    RequestState.ISSUED: "being recorded",
    RequestState.COMPLETED: "signed",
    RequestState.REJECTED: "refused",
    RequestState.FAILED: "failed",
    RequestState.CANCELLED: "cancelled",
}


class Role(StrEnum):
    """Names of the groups that are roles. What each may do is `certs.access.roles.ROLES`."""

    REQUESTER = "requester"
    APPROVER = "approver"
    SECURITY_OFFICER = "security officer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    # Groups of earlier releases.
    SECURITY_TEAM = "security-team"
    AUDITORS = "auditors"
    REQUESTERS = "requesters"


ADMINISTRATOR = "administrator"  # no group: a superuser


class Channel(StrEnum):
    """By which channel a request came (the field `door` of rows and JSON). The schedule requests renewals, in no person's name."""

    PORTAL = "portal"
    API = "api"
    COMMAND = "command"
    SCHEDULE = "schedule"


class RevocationReason(StrEnum):
    """CRLReason, RFC 5280 5.3.1. `removeFromCRL` is left out: the portal writes no delta CRL."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


class AlertKind(StrEnum):
    """What an alert for operators is about. The values are in rows; one open alert for each kind and cause."""

    # A CA or a key backend
    CA_UNAVAILABLE = "ca_unavailable"
    CA_STOPPED = "ca_stopped"
    CA_MISCONFIGURED = "ca_misconfigured"
    CA_ENDS = "ca_ends"
    KEYS_UNAVAILABLE = "keys_unavailable"

    # What a CA issued or revoked
    CERTIFICATE_OF_ANOTHER = "certificate_of_another"
    QUARANTINE_NOT_REVOKED = "quarantine_not_revoked"
    UNKNOWN_CERTIFICATE = "unknown_certificate"
    REVOKED_ELSEWHERE = "revoked_elsewhere"
    REVOCATION_PENDING = "revocation_pending"

    # Public keys
    KEY_CLAIMED = "key_claimed"
    KEY_BLOCKED = "key_blocked"
    KEY_UNBLOCKED = "key_unblocked"
    AUTHORITY_KEY_EXPOSED = "authority_key_exposed"
    KEY_NOT_DESTROYED = "key_not_destroyed"
    SECRET_PASTED = "secret_pasted"  # noqa: S105 - a kind of alert

    # Renewal
    EXPIRING = "expiring"
    EXPIRED = "expired"
    RENEWAL_FAILED = "renewal_failed"
    EXPIRY_CHECK_FAILED = "expiry_check_failed"
    PLANNED_REVOCATION_FAILED = "planned_revocation_failed"

    # CRLs and OCSP
    STATUS_FAILED = "status_failed"
    CRL_WITHHELD = "crl_withheld"
    CRL_LATE = "crl_late"
    ROOT_CRL_BEHIND = "root_crl_behind"
    RESPONDER_LATE = "responder_late"

    # Mails, webhooks, reports
    MAIL_REFUSED = "mail_refused"
    MAIL_LATE = "mail_late"
    MAIL_GIVEN_UP = "mail_given_up"
    WEBHOOK_DISABLED = "webhook_disabled"
    REPORT_FAILED = "report_failed"

    # Schedules, queues, audit log
    SCHEDULE_OFF = "schedule_off"
    SWEEP_FAILED = "sweep_failed"
    VERIFICATION_FAILED = "verification_failed"
    BEAT_DEAD = "beat_dead"
    JOB_MISSED = "job_missed"
    QUEUE_STUCK = "queue_stuck"
    REQUEST_STUCK = "request_stuck"
    RESULT_NOT_RECORDED = "result_not_recorded"
    AUDIT_UNSEALED = "audit_unsealed"
    WITNESS_SILENT = "witness_silent"


class RefusalClass(StrEnum):
    """Why a CSR, or a thing pasted in its place, is refused: problem types at every channel."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    WRONG_OBJECT = "wrong_object"
    MULTIPLE_OBJECTS = "multiple_objects"
    SECRET_PASTED = "secret_pasted"  # noqa: S105 - a class of refusal
    BAD_SIGNATURE = "bad_signature"
    WEAK_SIGNATURE_HASH = "weak_signature_hash"
    WEAK_KEY = "weak_key"
    KEY_COMPROMISED = "key_compromised"
    UNSUPPORTED_KEY = "unsupported_key"
    BAD_NAME = "bad_name"
    FORBIDDEN_NAME = "forbidden_name"
    TOO_MANY_NAMES = "too_many_names"
    NO_IDENTITY = "no_identity"
    UNSAFE_SUBJECT = "unsafe_subject"
    SUBJECT_TOO_LONG = "subject_too_long"
    FORBIDDEN_EXTENSION = "forbidden_extension"
    DUPLICATE_EXTENSION = "duplicate_extension"
