"""Plans, the same for every channel: words, a form's fields or a CSR become specifications. Nothing is made here.

`describe()` of a plan is what a person sees before confirming, what `--dry-run` prints and what `plan_only` returns; the same
plan is then submitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.log import record
from certs.ca.lifetime import Ending
from certs.enums import Channel, RefusalClass
from certs.errors import CSRRefused, InputRefused
from certs.language.grammar import parse
from certs.language.kept_csr import kept_csr
from certs.language.secret_scan import find_secret
from certs.models import Team
from certs.requests.exposure.refused_secrets import ADVICE, refuse_secrets, report_secret
from certs.requests.submit import Preview, Requester, preview
from certs.spec import CertificateSpec, IntakeDefaults, IssuePlan, Plan, Validity, check_days, check_end_date
from certs.x509.csr.gate import CSRFacts, read_csr
from certs.x509.dns_names import host_from_url, name_from_text, parse_dns_name, parse_ip_address
from db.clock import database_now
from keys.spec import KeySpec
from policy.engine import Outcome
from policy.models import Profile
from policy.publishing import version_in_force
from policy.rules.keys import AllowedKeys


def defaults_for(team: Team, *, now: datetime) -> IntakeDefaults:
    """Return what fills gaps: the team's domain, and the defaults of the policy in force."""
    ruleset = version_in_force(settings.PKI_DEFAULT_POLICY, at=now).ruleset
    return IntakeDefaults(
        domain=team.default_domain,
        key=KeySpec(ruleset.defaults.key),
        validity_days=ruleset.defaults.validity_days,
        profile=ruleset.defaults.profile,
        profiles=tuple(Profile.objects.order_by("name").values_list("name", flat=True)),
        today=now.date(),
    )


def plan_words(text: str, *, requester: Requester) -> Plan:
    """Return the plan of a sentence.

    Raises NotUnderstood with the position; InputRefused when a secret was pasted, whose text is kept
    nowhere; NotPermitted for a requester who is not of the team.
    """
    _refuse_secrets(text, requester=requester, field="text")
    return parse(text, defaults_for(requester.team, now=database_now()))


def _refuse_secrets(*texts: str, requester: Requester, field: str) -> None:
    """Raise NotPermitted or CSRRefused (`secret_pasted`) where one of the texts is a secret.

    Only then membership is checked, because the refusal has effects of its own. Plans are made for
    everybody (an officer of no team may revoke in words); `submit` checks who may submit one.
    """
    if any(find_secret(text) is not None for text in texts):
        requester.check()
        refuse_secrets(
            *texts,
            actor=requester.actor,
            team=requester.team.slug,
            field=field,
            channel=requester.channel,
        )


def plan_csr(data: bytes, *, requester: Requester, validity_days: int = 0, not_after: date | None = None, profile: str = "") -> IssuePlan:
    """Plan one certificate for an external CSR that passes the gate. Nothing is made.

    Raises CSRRefused, and InputRefused for an end date that is of no use. The refusal of a CSR or
    of a secret is recorded, so a requester who is not of the team is refused before anything is
    written (NotPermitted). `preview`, and `submit` in its transaction, check whether a good plan
    may be submitted.
    """
    _refuse_secrets(profile, requester=requester, field="profile")
    facts = gate(data, requester=requester)
    notes = notes_of_csr(facts)
    if validity_days and not_after is None and profile:
        validity = Validity(check_days(validity_days))
    else:
        now = database_now()
        defaults = defaults_for(requester.team, now=now)
        validity, profile = _validity(validity_days, not_after, defaults, notes, today=now.date()), profile or defaults.profile
    spec = CertificateSpec(
        common_name=facts.common_name,
        dns_names=facts.dns_names,
        ip_addresses=facts.ip_addresses,
        key=facts.key.name,
        validity_days=validity.days,
        not_after=validity.not_after,
        profile=profile,
        csr_der=kept_csr(facts),
        spki_der=facts.spki_der,
    )
    return IssuePlan((spec,), tuple(notes))


def notes_of_csr(facts: CSRFacts) -> list[str]:
    """Return notes on what the gate left out of a CSR, and on what it corrected."""
    notes = [f"Not taken over from the CSR: {what}." for what in facts.stripped]
    return notes + [f"Changed while the CSR was read: {what}." for what in facts.repairs]


def _validity(days: int, not_after: date | None, defaults: IntakeDefaults, notes: list[str], *, today: date) -> Validity:
    """Return the requested validity, or the policy's default. Raises InputRefused for both at once, and for a useless end date."""
    if days and not_after is not None:
        raise InputRefused(
            "A certificate has either a number of days or an end date.", field="not_after", next_step="Leave one of them out."
        )
    if not_after is not None:
        return Validity(None, check_end_date(not_after, today=today))
    if not days:
        notes.append(f"Validity {defaults.validity_days} days is the policy's default.")
    return Validity(check_days(days or defaults.validity_days))


def gate(data: bytes, *, requester: Requester) -> CSRFacts:
    """Check an external CSR: the one CSR gate of every channel. A refusal is one audit event; for a pasted private key see
    `report_secret`.
    Raises CSRRefused, and in its place NotPermitted, without any effect, where the requester does not belong to the team.

    The team's domains may be some seconds old. A CSR is not refused because of a domain that was added since; a domain that was
    removed since is found by the policy, which evaluates every request with the domains as they are then.
    """
    remembered = requester.team.remembered_domains
    if remembered is not None:
        with suppress(CSRRefused):
            return _read(data, remembered)
    try:
        return _read(data, requester.team.domain_names())
    except CSRRefused as refused:
        requester.check()  # the refusal has effects of its own
        if refused.refusal is RefusalClass.SECRET_PASTED:
            report_secret(
                actor=requester.actor,
                team=requester.team.slug,
                channel=requester.channel,
                kind="private key",
                length=len(data),
                exposed_keys=refused.exposed_keys,
            )
            refused.next_step = refused.next_step or ADVICE
        else:
            if refused.field == "public_key":
                refused.next_step = _new_key_advice()
            _audit_refusal(requester, refused)
        raise


def _new_key_advice() -> str:
    """Return what the policy in force accepts, in words; the gate itself knows no policy."""
    version = version_in_force(settings.PKI_DEFAULT_POLICY, at=database_now())
    allowed = version.ruleset.rule(AllowedKeys)
    listed = allowed.description() if allowed else KeySpec(version.ruleset.defaults.key).label
    return f"Make a new key that the policy {version.version} accepts: {listed}."


def _read(data: bytes, domains: Sequence[str]) -> CSRFacts:
    return read_csr(data, domains=domains, max_names=settings.PKI_MAX_NAMES, max_bytes=settings.PKI_MAX_CSR_BYTES)


@transaction.atomic
def _audit_refusal(requester: Requester, refused: CSRRefused) -> None:
    data = {"class": str(refused.refusal), "field": refused.field, "door": requester.channel}
    record(EventType.CSR_REFUSED, subject=f"team:{requester.team.slug}", actor=requester.actor, at=database_now(), data=data)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a request, from a form, the API or a command's options. Empty or zero: the policy's default."""

    common_name: str = ""
    sans: tuple[str, ...] = ()
    key: str = ""
    validity_days: int = 0
    profile: str = ""
    not_after: date | None = None


def plan_fields(fields: Fields, *, requester: Requester) -> IssuePlan:
    """Return the plan of one certificate from texts that have just arrived.

    Raises NotPermitted; CSRRefused for a secret in a text, which is recorded; and what `fill_gaps` raises.
    """
    requester.check()
    given = {"common_name": (fields.common_name,), "sans": fields.sans, "key": (fields.key,)}
    for label, texts in (given | {"profile": (fields.profile,)}).items():
        _refuse_secrets(*texts, requester=requester, field=label)
    now = database_now()
    defaults = defaults_for(requester.team, now=now)
    return fill_gaps(fields, defaults, today=now.date(), complete_labels=requester.channel == Channel.PORTAL)


def fill_gaps(fields: Fields, defaults: IntakeDefaults, *, today: date, complete_labels: bool) -> IssuePlan:
    """Return the plan of one certificate, with a note for each default that fills a gap.

    `complete_labels`: a bare label gets the team's default domain, as in request sentences and in the web form.
    Raises InputRefused naming the field and what would pass.
    """
    dns, ips, notes = _names(fields, defaults, complete_labels=complete_labels)
    if fields.key and fields.key not in list(KeySpec):
        raise InputRefused(f"There is no key type {fields.key!r}.", field="key", next_step=f"Key types: {', '.join(KeySpec)}.")
    if not fields.key:
        notes.append(f"Key {defaults.key.label} is the policy's default.")
    validity = _validity(fields.validity_days, fields.not_after, defaults, notes, today=today)
    spec = CertificateSpec(
        common_name=dns[0] if dns else parse_ip_address(fields.common_name) or "",
        dns_names=tuple(dns),
        ip_addresses=tuple(ips),
        key=str(fields.key or defaults.key),
        validity_days=validity.days,
        not_after=validity.not_after,
        profile=fields.profile or defaults.profile,
    )
    return IssuePlan((spec,), tuple(notes))


def _names(fields: Fields, defaults: IntakeDefaults, *, complete_labels: bool) -> tuple[list[str], list[str], list[str]]:
    dns: list[str] = []
    ips: list[str] = []
    notes: list[str] = []
    given = [("common_name", fields.common_name), *(("sans", san) for san in fields.sans)]
    for label, text in ((label, text.strip()) for label, text in given if text.strip()):
        address = parse_ip_address(text)
        if address is not None:
            ips += [address] if address not in ips else []
            continue
        full = name_from_text(host_from_url(text) if complete_labels else text)
        if complete_labels and "." not in full and defaults.domain:
            full = f"{full}.{defaults.domain}"
            notes.append(f"{text} was completed to {full}.")
        name = parse_dns_name(full, allow_unicode=True, field=label).ascii
        dns += [name] if name not in dns else []
    if not dns and not ips:
        example = f"For example api.{defaults.domain or 'example.com'}."
        raise InputRefused("A certificate needs at least one name.", field="common_name", next_step=example)
    if len(dns) + len(ips) > settings.PKI_MAX_NAMES:
        raise InputRefused(
            f"{len(dns) + len(ips)} names are more than {settings.PKI_MAX_NAMES}.",
            field="sans",
            next_step="Spread them over several certificates.",
        )
    return dns, ips, notes


def describe(plan: IssuePlan, *, requester: Requester) -> dict[str, Any]:
    """Return a plan as JSON: every certificate, the decision over all of them, the first suggestion."""
    seen = preview(plan.specs, requester=requester)
    suggestions = [d.advice for d in seen.decisions if d.advice]
    return {
        "success": True,
        "plan": [planned(spec, ending) for spec, ending in zip(plan.specs, seen.endings, strict=True)],
        "decision": worst(seen),
        "policy_version": seen.policy_version,
        "suggestion": suggestions[0] if suggestions else None,
        "notes": [*plan.notes, *seen.notes],
        "checks": [[{"rule": c.rule, "passed": c.passed, "message": c.message} for c in d.checks] for d in seen.decisions],
    }


def planned(spec: CertificateSpec, ending: Ending | None) -> dict[str, Any]:
    """Return one certificate of a plan. `not_after` is the end date: the requested one, or where the CA's end comes before it."""
    cut = ending.at.date() if ending and ending.note else None
    end_date = cut or spec.not_after
    return {
        "common_name": spec.common_name,
        "sans": [*spec.dns_names, *spec.ip_addresses],
        "key": spec.key,
        "validity_days": spec.validity_days,
        "not_after": end_date.isoformat() if end_date else None,
        "expires_at": ending.at.strftime("%Y-%m-%dT%H:%M:%SZ") if ending else None,
        "profile": spec.profile,
    }


def worst(seen: Preview) -> str:
    outcomes = {decision.outcome for decision in seen.decisions}
    for outcome in (Outcome.DENY, Outcome.NEEDS_APPROVAL):
        if outcome in outcomes:
            return str(outcome)
    return str(Outcome.ALLOW)


def plan_digest(specs: Sequence[CertificateSpec]) -> str:
    """Return a SHA-256 that identifies a plan, in hex: what is confirmed must be what was shown."""
    return hashlib.sha256(repr(list(specs)).encode()).hexdigest()
