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


class RefusalClass(StrEnum):
    """Why a CSR, or a thing pasted in its place, is refused: problem types at every door."""

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
