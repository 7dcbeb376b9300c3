"""Domains of teams: added, moved to another team, removed; each with a preview of what it does.

A certificate belongs to the team that requested it, permanently: the audit log and the owner of its
key say so. A domain that changes hands takes no certificate along. It ends the old team's right to
request and renew names inside it, and the new team requests its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Count, Q, Sum

from audit.changes import attribute
from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Authority, Permission, names_of_leads
from certs.enums import RequestState
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.inventory import active
from certs.models import Certificate, CertificateName, CertificateRequest, Domain, Team
from certs.notifications.audience import people_of, team_of
from certs.notifications.topics import Topic
from certs.people import preview
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import UNFINISHED
from certs.x509.dns_names import is_within, owning_domain
from certs.x509.domains import normalise_domain
from db.clock import database_now

MOST_LINES, MOST_CHARACTERS = 100, 20_000  # of one change
MOST_LOOKED_AT = 10_000  # names inside a domain; more are counted as "at least"
MOST_REQUESTS = 1_000
MOST_LISTED = 500
NAMED = 10  # certificates of one domain on the page


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is no domain, or that cannot be given to the team: what was typed, why, and what would pass."""

    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Certificates that are not renewed any more: the first by end, how many, and what tells them from others.

    `at_least`: there are more names than were looked at.
    """

    first: tuple[Certificate, ...] = ()
    count: int = 0
    facts: tuple[str, ...] = ()
    at_least: bool = False


NOTHING = Stopped()


@dataclass(frozen=True, slots=True)
class Effect:
    """What the change of one domain does. `before`, `after`: the team that owns the names then, None for nobody.

    `certificates` of the team before are active and will not be renewed any more; `requests` of it
    are refused at their next step.
    """

    name: str
    before: Team | None
    after: Team | None
    via: str = ""
    certificates: Stopped = NOTHING
    requests: tuple[CertificateRequest, ...] = ()

    @property
    def readable(self) -> str:
        """The name as people write it: with its international letters, where it has some."""
        try:
            return idna.decode(self.name) if "xn--" in self.name else self.name
        except idna.IDNAError:  # letters that a later version of IDNA took out
            return self.name

    @property
    def takes_away(self) -> bool:
        """Whether another team loses the names."""
        return self.before is not None and self.before != self.after


@dataclass(frozen=True, slots=True)
class Change:
    """Domains that one team gets, or that are removed (`to` is None), with what that does."""

    to: Team | None
    effects: tuple[Effect, ...]
    refused: tuple[Refused, ...] = ()
    told: tuple[str, ...] = field(default=())

    @property
    def subject(self) -> str:
        """What the sealed preview is about."""
        return f"domains:{self.to.pk if self.to else 'remove'}:{','.join(one.name for one in self.effects)}"

    @property
    def facts(self) -> dict[str, list[str]]:
        """What must be the same when it is done as when it was shown."""
        owners = [f"{one.name} from {_slug(one.before)} to {_slug(one.after)}" for one in self.effects]
        return {
            "owner": owners,
            "certificates": [text for one in self.effects for text in one.certificates.facts],
            "requests": [row.public_id for one in self.effects for row in one.requests],
            "told": list(self.told),
        }

    @property
    def sealed(self) -> str:
        """What the confirmation carries."""
        return preview.seal(self.subject, self.facts)


def preview_change(text: str, to: Team | None, *, authority: Authority) -> Change:
    """Return what it would do to give the domains in `text`, one a line, to a team, or to remove them.

    Lines that cannot be are in `refused`; nothing is written.
    Raises NotPermitted for a domain that the actor may not give, InputRefused for no or too many lines.
    """
    refuse_secrets(text, actor=authority.actor, team=to.slug if to else "", field="names")
    return _plan(text, to, authority)


def _plan(text: str, to: Team | None, authority: Authority) -> Change:
    lines = [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]
    if not lines:
        raise InputRefused("No domain was named.", field="names", next_step="Write one domain a line, such as shop.example.com.")
    if len(lines) > MOST_LINES or len(text) > MOST_CHARACTERS:
        raise InputRefused(
            f"{len(lines):,} lines are more than {MOST_LINES} at a time. Nothing was changed.",
            field="names",
            next_step=f"Send {MOST_LINES} lines or fewer. A domain covers every name beneath it, so most teams need a few.",
        )
    names, refused = _read(lines)
    owners = _owners(names)
    effects = []
    now = database_now()
    for name in names:
        # First: why it cannot be says whose it is.
        _check_may_give(name, owners, authority)
        why = _obstacle(name, owners, to)
        if why:
            refused.append(Refused(name, why))
            continue
        effects.append(_effect(name, owners, to, now))
    return Change(to, tuple(effects), tuple(refused), tuple(_told(effects)))


def do_change(names: Sequence[str], to: Team | None, *, shown: str, authority: Authority) -> Change:
    """Do exactly what was shown for these domains.

    Effects, in one transaction: the rows, their events, and mails to the teams before and after.
    Raises what `preview_change` raises, `preview.ChangedSince` where it would do something else by
    now, Conflict for a domain that cannot be changed any more.
    """
    text = "\n".join(names)
    # Before the transaction: a refusal would roll back its own record.
    refuse_secrets(text, actor=authority.actor, team=to.slug if to else "", field="names")
    with transaction.atomic():
        one_change_at_a_time()
        _lock_rows(names)
        change = _plan(text, to, authority)
        if change.refused:
            raise Conflict(f"{change.refused[0].text}: {change.refused[0].why} Nothing was changed.", field="names")
        preview.check_shown(shown, change.subject, change.facts)
        for effect in change.effects:
            _write(effect.name, to, authority)
    return change


def _lock_rows(names: Sequence[str]) -> None:
    """Lock the rows that decide whose these names are: the admin changes them without the lock of people."""
    near = {one for name in names[:MOST_LINES] for one in (name, *_above(name))}
    list(Domain.objects.select_for_update().filter(name__in=near).order_by("pk"))


def _write(name: str, to: Team | None, authority: Authority) -> None:
    row = Domain.objects.select_for_update().filter(name=name).first()
    if to is None:
        if row is not None:
            attribute(row, authority.actor)
            row.delete()
        return
    row = row or Domain(name=name)
    row.team = to
    attribute(row, authority.actor)
    try:
        with transaction.atomic():
            row.save()
    except ValidationError as exc:
        raise InputRefused(exc.messages[0], field="names") from exc
    except IntegrityError as exc:
        raise Conflict(f"{name} was given to a team at this moment.", field="names", next_step="Open the page again.") from exc


def _read(lines: Sequence[str]) -> tuple[list[str], list[Refused]]:
    """The domains in normal form, each once, and the lines that are none."""
    names: list[str] = []
    refused: list[Refused] = []
    for line in lines:
        try:
            name = normalise_domain(line, private_suffixes=settings.PKI_PRIVATE_SUFFIXES, field="names")
        except InputRefused as exc:
            shown = line if len(line) <= 100 else f"{line[:100]}…"
            refused.append(Refused(shown, f"{exc.message} {exc.next_step}"))
        else:
            names.append(name)
    return list(dict.fromkeys(names)), refused


def _owners(names: Sequence[str]) -> dict[str, Team]:
    """The domains at, above and beneath these names, with their teams."""
    near = {one for name in names for one in (name, *_above(name))}
    beneath = Q(*(Q(name__endswith=f".{name}") for name in names), _connector=Q.OR) if names else Q(pk__in=())
    rows = Domain.objects.filter(Q(name__in=near) | beneath).select_related("team")
    return {row.name: row.team for row in rows}


def _obstacle(name: str, owners: dict[str, Team], to: Team | None) -> str:
    if to is None:
        return "" if name in owners else "This domain is of no team any more."
    if owners.get(name) == to:
        return f"Team {to.name} owns it already."
    above = owning_domain(name, [one for one in owners if one != name])
    if name not in owners and above is not None and owners[above] == to:
        return f"Team {to.name} owns it already: it is inside {above}."
    return ""


def _check_may_give(name: str, owners: dict[str, Team], authority: Authority) -> None:
    """Names that a team has are given away by its leads; everything else is given by those who manage people.

    Raises NotPermitted in one text: whether another team has the name is no business of a lead's (S19).
    """
    if authority.manages_people:
        return
    via = owning_domain(name, owners)
    owner = owners[via] if via is not None else None
    if owner is None or not authority.may_manage(owner):
        raise NotPermitted(
            f"{name} is no name of a team that you lead. Only the people who lead its team and security officers give it.",
            field="names",
            permission=Permission.MANAGE_PEOPLE,
            givers=names_of_leads(owner) if owner is not None and authority.may_see_team(owner) else (),
        )


def _effect(name: str, owners: dict[str, Team], to: Team | None, now: datetime) -> Effect:
    via = owning_domain(name, owners)
    before = owners[via] if via is not None else None
    if to is None:
        above = owning_domain(name, [one for one in owners if one != name])
        after = owners[above] if above is not None else None
    else:
        after = to
    if before is None or before == after:
        return Effect(name, before, after, via or "")
    deeper = [one for one in owners if one != name and is_within(one, name)]
    stopped = _certificates(name, deeper, before, now)
    return Effect(name, before, after, via or "", stopped, _requests(name, deeper, before))


def _certificates(name: str, deeper: Sequence[str], team: Team, now: datetime) -> Stopped:
    """The team's active certificates with a name that the domain decides.

    A wildcard just above the domain covers it, so the policy refuses that too once another team owns the domain.
    """
    inside = _beneath(name)
    for one in deeper:
        inside &= ~_beneath(one)
    names = CertificateName.objects.filter(inside | Q(name__in=[f"*.{one}" for one in _above(name)])).order_by()
    looked_at = names.values("certificate_id")[:MOST_LOOKED_AT]
    rows = active(Certificate.objects.filter(pk__in=looked_at, team=team), now=now)
    sums = rows.order_by().aggregate(count=Count("pk"), total=Sum("pk"))
    first = tuple(rows.select_related("request").order_by("not_after", "pk")[:NAMED])
    listed = tuple(row.cert_id for row in first) if sums["count"] <= NAMED else (f"{sums['count']:,} of {name} (sum {sums['total']})",)
    return Stopped(first, sums["count"], listed, at_least=names[MOST_LOOKED_AT : MOST_LOOKED_AT + 1].exists())


def _beneath(domain: str) -> Q:
    turned = ".".join(reversed(domain.split(".")))
    return Q(reversed_labels=turned) | Q(reversed_labels__startswith=f"{turned}.")


def _requests(name: str, deeper: Sequence[str], team: Team) -> tuple[CertificateRequest, ...]:
    """The team's requests under way with a name inside the domain, the newest MOST_REQUESTS looked at."""
    rows = CertificateRequest.objects.filter(team=team, state__in=(*UNFINISHED, RequestState.AWAITING_APPROVAL))
    looked_at = rows.order_by("-pk")[:MOST_REQUESTS]
    return tuple(row for row in looked_at if any(_decides(name, deeper, one) for one in row.dns_names))


def _decides(domain: str, deeper: Sequence[str], name: str) -> bool:
    inside = is_within(name, domain) and not any(is_within(name, one) for one in deeper)
    return inside or (name.startswith("*.") and domain.endswith(name[1:]))


def _told(effects: Sequence[Effect]) -> list[str]:
    """Who is mailed, by team: what `certs.notifications.changes_of_power` does when the rows are written."""
    told = {}
    for one in effects:
        if one.takes_away and one.before is not None:
            told[one.before.name] = team_of(one.before)
        if one.after is not None and one.before != one.after:
            told[one.after.name] = people_of(one.after)
    return [f"{name}: {_shown(audience.recipients(Topic.POWER))}" for name, audience in sorted(told.items())]


def _shown(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return f"{', '.join(addresses[:3])}{more}" if addresses else "nobody, it has no address and no members"


def _slug(team: Team | None) -> str:
    return "nobody" if team is None else team.slug


def domains_of(team: Team) -> list[tuple[Domain, list[tuple[str, str]]]]:
    """Return the domains of a team by name, each with what other teams own beneath it: name and team.

    Up to MOST_LISTED of the team's, and MOST_LOOKED_AT of the others'.
    """
    rows = list(Domain.objects.filter(team=team).order_by("name")[:MOST_LISTED])
    beneath: dict[str, list[tuple[str, str]]] = {row.name: [] for row in rows}
    others = Domain.objects.exclude(team=team).order_by("name").values_list("name", "team__name")
    # Each name is looked up by its own labels: a comparison of all with all would be thousands of patterns.
    for name, owner in others[:MOST_LOOKED_AT]:
        above = owning_domain(name, (one for one in _above(name) if one in beneath))
        if above is not None:
            beneath[above].append((name, owner))
    return [(row, beneath[row.name]) for row in rows]


def _above(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[n:]) for n in range(1, len(labels))]
