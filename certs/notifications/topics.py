"""The topics of notices: what each is about, and which of them nobody can switch off."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What a notice is about. The values are in mails (List-Id), choices and webhooks."""

    APPROVAL = "approval"
    DECISION = "decision"
    ISSUED = "issued"
    ISSUED_BY_PROGRAM = "issued-by-program"
    RENEWED = "renewed"
    RENEWAL_FAILED = "renewal-failed"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    REVOKED = "revoked"
    KEY_BLOCKED = "key-blocked"
    POWER = "power"
    MACHINERY = "machinery"
    REPORT = "report"
    TRUST = "trust"
    TOKENS = "tokens"
    POLICY = "policy"
    JOINING = "joining"
    OWNERSHIP = "ownership"
    ACT = "act"

    @property
    def about(self) -> About:
        """Return the texts of the topic."""
        return ABOUT[self]

    @property
    def is_optional(self) -> bool:
        """Return whether a person may switch the mails of the topic off."""
        return not ABOUT[self].why_always


@dataclass(frozen=True, slots=True)
class About:
    """`title` names the topic in lists and mail filters; `text` has when a mail is sent and to
    whom; `why_always` is the reason why it cannot be switched off, empty where it can.
    """

    title: str
    text: str
    why_always: str = ""


_SECURITY = "Somebody who misuses your account or your key must not be able to hide it from you."

ABOUT: dict[Topic, About] = {
    Topic.APPROVAL: About(
        "Requests that wait for approval",
        "A request needs your decision. Sent to the people who may approve it.",
    ),
    Topic.DECISION: About(
        "Decisions on your requests",
        "Your request was approved or refused, and why.",
    ),
    Topic.ISSUED: About(
        "Certificates issued",
        "A certificate that you requested is ready, or your bulk order has ended.",
    ),
    Topic.ISSUED_BY_PROGRAM: About(
        "Certificates issued to programs",
        "What your API tokens requested. One mail a day.",
    ),
    Topic.RENEWED: About(
        "Certificates renewed",
        "New certificates that must be installed before the old ones end. One mail a day.",
    ),
    Topic.RENEWAL_FAILED: About(
        "Renewals that failed",
        "A certificate cannot be renewed automatically, and what you can do.",
    ),
    Topic.EXPIRING: About(
        "Certificates that end soon",
        "Reminders of certificates that nothing replaces. At most one mail a day.",
    ),
    Topic.EXPIRED: About(
        "Certificates that have expired",
        "A certificate expired and nothing replaced it.",
        "Programs that use the certificate fail now.",
    ),
    Topic.REVOKED: About(
        "Certificates revoked",
        "A certificate of yours or of your team was revoked: by whom and why.",
        _SECURITY,
    ),
    Topic.KEY_BLOCKED: About(
        "Keys blocked",
        "A public key was reported as compromised or was blocked.",
        _SECURITY,
    ),
    Topic.POWER: About(
        "Changes of rights",
        "Your account, your roles, or the members, domains or webhooks of your team changed.",
        _SECURITY,
    ),
    Topic.MACHINERY: About(
        "Alerts for operators",
        "A CA, a key backend, a schedule or another part of the portal needs a person.",
        "Alerts go to the operators' addresses in the settings, not to accounts.",
    ),
    Topic.REPORT: About(
        "Weekly compliance report",
        "The state of all certificates, on Mondays. Sent to the security team.",
    ),
    Topic.TOKENS: About(
        "API tokens that end",
        "An API token of yours ends in 14 days, and in 3 days.",
    ),
    Topic.POLICY: About(
        "Changes of the policy",
        "A new version of the policy changes how certificates of your team are renewed. One mail a version.",
    ),
    Topic.JOINING: About(
        "People who want to join a team",
        "Somebody asks to join a team that you lead, or a team answered you.",
    ),
    Topic.OWNERSHIP: About(
        "Owners of certificates",
        "A certificate was handed over to you, or from you to somebody else.",
    ),
    Topic.ACT: About(
        "Bulk actions on certificates",
        "A bulk action that you ordered has ended: what was done, refused and failed.",
    ),
    Topic.TRUST: About(
        "Changes of the root certificates",
        "A root certificate is added, removed or ends. Sent to people who subscribed.",
        "You subscribe and end it on the page How to trust this CA.",
    ),
}
