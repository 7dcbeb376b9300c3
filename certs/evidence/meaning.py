"""What a text in the search field of the audit log means: the objects and persons that it names.

Everything that people see on pages is accepted: an id with or without its kind (`req-…`,
`request:req-…`), a host name, a serial number, a fingerprint, the hash of a public key, an account,
an e-mail address, a token, a team, a domain, a CA, a policy, a waiver, the number of an event.
Each is one look-up in an index. Nobody learns of an object that they may not see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, Value
from django.db.models.functions import Concat, Trim

from audit.models import AuditEvent, AuditSubject
from certs.access.permissions import Authority, Permission
from certs.evidence.subjects import Source, sources_of
from certs.inventory import name_sought
from certs.inventory.search import identified
from certs.models import ApiToken, BulkOrder, Certificate, CertificateName, CertificateRequest, Domain, Issuer, Team
from keys.models import Key
from policy.models import Policy, PolicyVersion

# A name carried by more certificates than this is answered with the newest of them.
MOST = 50
LONGEST = 300
# Subjects of which pages show the id alone.
_KINDS = ("act", "waiver", "domain-request")
_NUMBER = re.compile(r"(?:event\s*)?#?(\d{1,18})", re.IGNORECASE)
_SPKI = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Thing:
    """An object or person that the text names, in words, and the events that belong to it."""

    words: str
    sources: tuple[Source, ...]
    certificate: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`things`: what the text names; `looked_for`: as what it was looked up, in words."""

    text: str
    things: tuple[Thing, ...] = ()
    looked_for: tuple[str, ...] = ()
    cut: bool = False

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of all things, each once, the subjects of all in one."""
        sources = dict.fromkeys(source for thing in self.things for source in thing.sources)
        subjects = dict.fromkeys(one for source in sources if not source.events for one in source.subjects)
        others = tuple(source for source in sources if not source.subjects or source.events)
        return (Source(subjects=tuple(subjects)), *others) if subjects else others


def meaning_of(text: str, authority: Authority) -> Meaning:
    """Return what the text means to this actor."""
    cleaned = " ".join(text.replace("\x00", " ").split())[:LONGEST]
    if not cleaned:
        return Meaning("")
    sees_all = authority.holds(Permission.SEE_EVERY_TEAM)
    things: list[Thing] = []
    looked_for: list[str] = []
    for words, look_up in _LOOK_UPS if sees_all else _LOOK_UPS_OF_TEAMS:
        looked_for.append(words)
        things += look_up(cleaned, authority)
        if len(things) > MOST:
            break
    return Meaning(cleaned, tuple(things[:MOST]), tuple(looked_for), cut=len(things) > MOST)


def _bare(text: str) -> str:
    """Return an id without the kind before it: `req-1` of `request:req-1`."""
    return text.rpartition(":")[2].strip().lower()


def _certificates(text: str, authority: Authority) -> Iterator[Thing]:
    rows = authority.visible().select_related("request__bulk_item__order")
    bare = text.partition(":")[2] if text.lower().startswith("certificate:") else text
    found = identified(rows, bare)
    if not found:
        named = CertificateName.objects.filter(name=name_sought(text)).order_by("-certificate_id")
        found = tuple(named.values_list("certificate_id", flat=True)[: 4 * MOST])
    for row in rows.filter(pk__in=found).order_by("-pk")[: MOST + 1]:
        yield _certificate(row, authority)


def _certificate(row: Certificate, authority: Authority) -> Thing:
    sources = sources_of(row)
    if authority.holds(Permission.SEE_EVERY_TEAM):
        keys = (f"public_key:{row.spki_sha256}", *([f"key:{row.key_id}"] if row.key_id else []))
        sources = (*sources, Source(subjects=keys))
    return Thing(f"certificate {row.cert_id} ({row.first_name})", sources, certificate=row.cert_id)


def _requests(text: str, authority: Authority) -> Iterator[Thing]:
    bare = _bare(text)
    if not bare.startswith(("req-", "resume-")):
        return
    rows = CertificateRequest.objects.filter(Q(public_id=bare) | Q(resume_id=bare)).select_related("team")
    for row in rows:
        if authority.may_see(row):
            yield Thing(f"request {row.public_id}", (Source(subjects=(row.subject,)),), request=row.public_id)


def _orders(text: str, authority: Authority) -> Iterator[Thing]:
    bare = _bare(text)
    if not bare.startswith("bulk-"):
        return
    for row in BulkOrder.objects.filter(public_id=bare):
        if authority.may_see(row):
            yield Thing(f"bulk order {row.public_id}", (Source(subjects=(row.subject,)),))


def _persons(text: str, _authority: Authority) -> Iterator[Thing]:
    bare = text.partition(":")[2] if text.lower().startswith("user:") else text
    named = Q(username__iexact=bare) | Q(email__iexact=bare) | Q(full_name__iexact=bare)
    full_name = Trim(Concat("first_name", Value(" "), "last_name"))  # as pages show it
    rows = get_user_model().objects.annotate(full_name=full_name).filter(named)
    for row in rows.order_by("pk")[:MOST]:
        yield _person(row)


def _person(row: Any) -> Thing:
    name = row.get_username()
    subjects = (f"user:{name}", f"auth.user:{row.pk}")
    tokens = ApiToken.objects.filter(user=row).order_by("-pk").values_list("prefix", flat=True)[:MOST]
    actors = (name, *(f"{name}:{prefix}" for prefix in tokens))
    sources = (Source(subjects=subjects), *(Source(actor=actor) for actor in actors))
    return Thing(f"account {name}", sources)


def _own_account(text: str, authority: Authority) -> Iterator[Thing]:
    """The account of the person who asks: what happened to it."""
    name = authority.user.get_username() if authority.user is not None else ""
    if name and text.lower() in (name.lower(), f"user:{name.lower()}", authority.user.email.lower()):
        yield Thing(f"your account {name}", (Source(subjects=(f"user:{name}", f"auth.user:{authority.user.pk}")),))


def _tokens(text: str, authority: Authority) -> Iterator[Thing]:
    bare = text.partition(":")[2] if text.lower().startswith("token:") else text
    wanted = Q(prefix=bare) | Q(name=bare)
    if bare.isdecimal() and len(bare) < 10 and bare != text:
        wanted |= Q(pk=int(bare))
    teams = authority.sees()
    for row in ApiToken.objects.filter(wanted).select_related("user", "team").order_by("-pk")[:MOST]:
        if teams is None or (row.team_id in teams and row.user_id == authority.user.pk):
            actor = Source(actor=f"{row.user.get_username()}:{row.prefix}")
            sources = (Source(subjects=(f"token:{row.pk}",)), *([actor] if teams is None else []))
            yield Thing(f"API token {row}", sources)


def _teams(text: str, _authority: Authority) -> Iterator[Thing]:
    bare = text.partition(":")[2] if text.lower().startswith("team:") else text
    for row in Team.objects.filter(Q(slug=bare.lower()) | Q(name__iexact=bare)).order_by("pk")[:MOST]:
        yield Thing(f"team {row.name}", (Source(subjects=(f"team:{row.slug}", f"certs.team:{row.pk}")),))


def _domains(text: str, _authority: Authority) -> Iterator[Thing]:
    for row in Domain.objects.filter(name=name_sought(text)):
        yield Thing(f"domain {row.name}", (Source(subjects=(f"certs.domain:{row.pk}",)),))


def _issuers(text: str, _authority: Authority) -> Iterator[Thing]:
    bare = text.partition(":")[2] if text.lower().startswith("issuer:") else text
    for row in Issuer.objects.filter(Q(name__iexact=bare) | Q(slug=bare.lower())).order_by("pk")[:MOST]:
        yield Thing(f"CA {row.name}", (Source(subjects=(f"issuer:{row.slug}", f"certs.issuer:{row.pk}")),))


def _policies(text: str, _authority: Authority) -> Iterator[Thing]:
    bare = text.partition(":")[2] if text.lower().startswith("policy:") else text
    found = set(Policy.objects.filter(name=bare).values_list("pk", flat=True))
    found |= set(PolicyVersion.objects.filter(version=bare).values_list("policy_id", flat=True))
    for row in Policy.objects.filter(pk__in=found).order_by("pk"):
        yield Thing(f"policy {row.name}", (Source(subjects=(f"policy:{row.name}", f"policy.policy:{row.pk}")),))


def _public_keys(text: str, _authority: Authority) -> Iterator[Thing]:
    spki = re.sub(r"[:\s-]", "", text.lower().removeprefix("public_key:"))
    if not _SPKI.fullmatch(spki):
        return
    keys = [f"key:{pk}" for pk in Key.objects.filter(spki_sha256=spki).values_list("pk", flat=True)]
    subjects = (f"public_key:{spki}", *keys)
    if AuditSubject.objects.filter(subject__in=subjects).exists():
        yield Thing(f"public key {spki}", (Source(subjects=subjects),))


def _subjects(text: str, _authority: Authority) -> Iterator[Thing]:
    """What the log itself calls it, such as `alert:7`, `portal` or `audit:log`."""
    candidates = [text, *(f"{kind}:{one}" for kind in _KINDS for one in {text.lower(), text.upper()})]
    for subject in AuditSubject.objects.filter(subject__in=candidates).values_list("subject", flat=True):
        yield Thing(f"subject {subject}", (Source(subjects=(subject,)),))


def _actors(text: str, _authority: Authority) -> Iterator[Thing]:
    """Who did something: also commands, parts of the portal, and accounts that are gone."""
    known = get_user_model().objects.filter(username=text).exists()
    if not known and AuditEvent.objects.filter(actor_name=text).exists():
        yield Thing(f"everything that {text} did", (Source(actor=text),))


def _numbers(text: str, _authority: Authority) -> Iterator[Thing]:
    number = _NUMBER.fullmatch(text)
    if number and AuditEvent.objects.filter(pk=int(number[1])).exists():
        yield Thing(f"event number {int(number[1])}", (Source(number=int(number[1])),))


_LookUp = tuple[str, Callable[[str, Authority], Iterator[Thing]]]
_LOOK_UPS_OF_TEAMS: tuple[_LookUp, ...] = (
    ("certificate (id, name, serial number, fingerprint, public key)", _certificates),
    ("request", _requests),
    ("bulk order", _orders),
    ("your account", _own_account),
    ("your API tokens", _tokens),
)
_LOOK_UPS: tuple[_LookUp, ...] = (
    *_LOOK_UPS_OF_TEAMS[:3],
    ("account, e-mail address or name of a person", _persons),
    ("API token", _tokens),
    ("team", _teams),
    ("domain", _domains),
    ("CA", _issuers),
    ("policy", _policies),
    ("public key", _public_keys),
    ("subject of the log", _subjects),
    ("actor", _actors),
    ("number of an event", _numbers),
)
