"""A draft as it would be requested now: the plan, what the policy says, the command that makes its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from certs.access.permissions import Permission, holders_of
from certs.ca.lifetime import Ending
from certs.errors import PortalError
from certs.issuance.certificates import alert_date
from certs.models import Certificate, RenewalBlocked, RequestDraft, Team
from certs.requests.domains.domain_requests import owners_told
from certs.requests.drafts import WITH_CSR, plan_of
from certs.requests.facts.duplicates import content_of, living_duplicates
from certs.requests.submit import Preview, Requester, preview
from certs.servers.commands import LONGEST_COMMON_NAME, CSRContent, compose
from certs.servers.files import FileNames
from certs.servers.kinds import Place, Tool, server_named
from certs.spec import CertificateSpec
from certs.x509.domains import is_inside
from keys.spec import KeyFacts
from policy.engine import SEND_A_NEW_CSR, Check, Decision

# A button may change these of a draft; whatever else a suggestion names is the person's to decide.
CHANGEABLE = frozenset(("key", "validity_days"))
OF_A_CSR = frozenset(("validity_days",))
_PEOPLE_NAMED = 3


@dataclass(frozen=True, slots=True)
class Command:
    """A command for one tool, ready to copy."""

    tool: Tool
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a draft. Without a plan `error` says what is missing or wrong."""

    draft: RequestDraft
    error: PortalError | None = None
    spec: CertificateSpec | None = None
    notes: tuple[str, ...] = ()
    decision: Decision | None = None
    policy_version: str = ""
    ending: Ending | None = None
    renews_at: datetime | None = None
    twin: Certificate | None = None
    outside: tuple[str, ...] = ()
    owners: tuple[tuple[str, Team], ...] = ()
    domains: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    files: FileNames | None = None
    people: tuple[str, ...] = field(default=())

    @property
    def outcome(self) -> str:
        """allow, deny or needs_approval; "" without a plan."""
        return str(self.decision.outcome) if self.decision else ""

    @property
    def key_label(self) -> str:
        """The key as people write it."""
        return KeyFacts.from_name(self.spec.key).label if self.spec else ""

    @property
    def subject(self) -> str:
        """The subject of the certificate; where it has none, the names alone say whose it is (RFC 5280 4.2.1.6)."""
        name = self.spec.common_name if self.spec and len(self.spec.common_name) <= LONGEST_COMMON_NAME else ""
        parts = (("O", self.draft.team.organization), ("CN", name))
        return ", ".join(f"{label}={value}" for label, value in parts if value) or "empty: the names are further up"

    @property
    def passed(self) -> list[Check]:
        """Checks that passed without anybody."""
        return [check for check in self._checks if check.passed and not check.needs_approval]

    @property
    def failed(self) -> list[Check]:
        """Checks that refuse, other than those about names outside the team's domains (`outside`)."""
        return [check for check in self._checks if not check.passed and not (self.outside and check.rule == "allowed_names")]

    @property
    def asks(self) -> list[Check]:
        """Checks that need an approval."""
        return [check for check in self._checks if check.needs_approval]

    @property
    def _checks(self) -> tuple[Check, ...]:
        return self.decision.checks if self.decision else ()

    @property
    def domain_to_ask(self) -> str:
        """The domain that the form for asking begins with: the first name outside, without a wildcard's star."""
        return self.outside[0].removeprefix("*.") if self.outside else ""

    @property
    def needs_csr(self) -> bool:
        """Whether a CSR has to come before this can be requested."""
        return self.draft.place in WITH_CSR and not self.draft.has_csr

    @property
    def shows_command(self) -> bool:
        """Whether a command that makes key and CSR is of use now."""
        if not self.commands:
            return False
        return self.key_is_refused if self.draft.has_csr else self.outcome != "deny" and not self.whole_domain

    @property
    def whole_domain(self) -> tuple[str, ...]:
        """Wildcards of a whole domain, which the gate lets no CSR ask for."""
        if not self.needs_csr or self.spec is None:
            return ()
        return tuple(name for name in self.spec.dns_names if name.removeprefix("*.") in self.domains and name.startswith("*."))

    @property
    def suggestion(self) -> str:
        """The change that one button makes, in words; "" where no button can."""
        found = self.decision.suggestion if self.decision else None
        if found is None or not found.changes:
            return ""
        if self.draft.has_csr:
            return found.text if set(found.changes) <= OF_A_CSR else ""
        # No CSR was made yet, though the policy evaluates one where the requester makes the key.
        return found.text.removesuffix(SEND_A_NEW_CSR) if set(found.changes) <= CHANGEABLE else ""

    @property
    def key_is_refused(self) -> bool:
        """Whether the CSR's key is what the policy refuses, so that another CSR has to come."""
        return self.draft.has_csr and any(check.field == "key" for check in self.failed)


def judge(draft: RequestDraft, *, requester: Requester, now: datetime) -> Judged:
    """Judge the draft under the policy of now. Nothing is made and nothing raised for what was typed."""
    try:
        plan = plan_of(draft, requester=requester)
        seen = preview(plan.specs, requester=requester)
    except PortalError as exc:
        return Judged(draft, error=exc)
    (spec,), (decision,), (ending,) = plan.specs, seen.decisions, seen.endings
    domains = requester.team.domain_names()
    outside = tuple(name for name in spec.dns_names if not is_inside(name, domains))
    key = _key_of_command(draft, spec, decision)
    return Judged(
        draft,
        spec=spec,
        notes=tuple(dict.fromkeys((*plan.notes, *seen.notes))),
        decision=decision,
        policy_version=seen.policy_version,
        ending=ending,
        renews_at=alert_date(now, ending.at) if ending else None,
        twin=_twin(spec, requester, now),
        outside=outside,
        owners=owners_told(outside, requester.user),
        domains=domains,
        commands=_commands(draft, spec, key),
        files=CSRContent((*spec.dns_names, *spec.ip_addresses), key).files,
        people=people() if outside or _only_people_help(seen) else (),
    )


def _only_people_help(seen: Preview) -> bool:
    return any(decision.failures and decision.suggestion is None for decision in seen.decisions)


def people() -> tuple[str, ...]:
    """Return the first persons of the security team, by the names that colleagues know."""
    # Those who grant domains and publish policies: who only decides requests can do neither.
    rows = holders_of(Permission.ACT_FOR_EVERY_TEAM).order_by("pk")[:_PEOPLE_NAMED]
    return tuple(row.get_full_name() or row.get_username() for row in rows)


def _key_of_command(draft: RequestDraft, spec: CertificateSpec, decision: Decision) -> str:
    """The key type of the command: after a CSR with a refused key the one that would pass."""
    changes: dict[str, Any] = decision.suggestion.changes if decision.suggestion else {}
    return str(changes.get("key", spec.key)) if draft.has_csr else spec.key


def _commands(draft: RequestDraft, spec: CertificateSpec, key: str) -> tuple[Command, ...]:
    """The commands, the one for the chosen server first."""
    if draft.place not in WITH_CSR:
        return ()
    server = server_named(draft.server)
    first = server.tool if server else Tool.KEYTOOL if draft.place == Place.JAVA else Tool.OPENSSL
    wanted = CSRContent((*spec.dns_names, *spec.ip_addresses), key, spec.profile)
    made = [Command(tool, compose(tool, wanted)) for tool in sorted(Tool, key=lambda tool: tool is not first)]
    return tuple(command for command in made if command.text)


def _twin(spec: CertificateSpec, requester: Requester, now: datetime) -> Certificate | None:
    """A living certificate of the team with the same names and purpose, which could be renewed as it is."""
    content = content_of(spec, requester.team)
    found = living_duplicates([content], at=now).get(content)
    return Certificate.objects.filter(cert_id=found).exclude(renewal_blocked=RenewalBlocked.POLICY).first() if found else None
