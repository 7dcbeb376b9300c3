"""Adding a CA, step by step: connect, compare the root, test, go live. Nothing trusts it before the last step.

The steps that call the CA are done by workers of the queue `ca-remote`, which have the credential
(`certs.authorities.trial`); those that a person decides are here. Two persons: who began it does not
take it live.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.text import slugify

from audit.changes import digest_of
from audit.events import EventType
from audit.log import Value, record
from certs.access.networks import ANYWHERE, is_allowed
from certs.access.permissions import Authority
from certs.authorities.reissue import check_may_manage, publish
from certs.ca.connections import FILE_NAME
from certs.ca.registry import forget_client
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.models import CAAddition, Issuer, UnknownCertificate, new_public_id
from certs.notifications.audience import operators, security_team
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.x509.certificate.verify import chain_problems
from certs.x509.dns_names import parse_dns_name
from db.clock import database_now
from policy.persons import is_identified, is_same_person, lock_account, one_person_is_enough

Kind, State = CAAddition.Kind, CAAddition.State
CONNECT_TASK, TEST_TASK = "certs.tasks.connect_ca", "certs.tasks.test_ca"
REVOKE_TASK = "certs.tasks.revoke_ca_test"
WORKS_FOR = timedelta(minutes=2)  # one try of a step in a worker
MOST_WRONG = 5  # fingerprints; then it is given up, so that nobody tries until one fits
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{1,62}[A-Za-z0-9]")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.-]{0,63}")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def configured_cas() -> list[str]:
    """Return the CAs of the settings that are not in use yet."""
    used = set(Issuer.objects.exclude(alias="").values_list("alias", flat=True))
    used |= set(CAAddition.objects.filter(state__in=CAAddition.OPEN).values_list("name", flat=True))
    return sorted(set(settings.CA_CLIENTS) - used)


def open_additions() -> QuerySet[CAAddition]:
    """Return those that are under way, the newest first."""
    return CAAddition.objects.filter(state__in=CAAddition.OPEN).order_by("-pk")


def find_addition(public_id: str) -> CAAddition:
    """Raises NotFound."""
    found = CAAddition.objects.select_related("began_by", "issuer").filter(public_id=public_id).first()
    if found is None:
        raise NotFound("No CA is being added under this address.")
    return found


def begin_addition(given: dict[str, str], *, authority: Authority) -> CAAddition:
    """Begin to add a CA, and have a worker connect to it.

    `given`: kind, name, address, credential, mount, role, test_name. Effects, in one transaction: the
    row with `issuer:addition_begun`. Raises NotPermitted, InputRefused that names the field, CSRRefused for a secret.
    """
    check_may_manage(authority)
    for name, value in given.items():
        refuse_secrets(value, actor=authority.actor, team="", field=name)
    fields = _checked(given)
    try:
        with transaction.atomic():
            now = database_now()
            row = CAAddition.objects.create(
                public_id=new_public_id("ca", now),
                began_by=authority.user,
                began_by_name=authority.actor.name[:150],
                created_at=now,
                working_until=now + WORKS_FOR,
                **fields,
            )
            data: dict[str, Value] = {"addition": row.public_id, "name": row.name, "kind": row.kind, "address": row.address}
            record(EventType.ISSUER_ADDITION_BEGUN, subject=subject_of(row), actor=authority.actor, at=now, data=data)
            transaction.on_commit(lambda: publish(CONNECT_TASK, row.pk))
    except IntegrityError as exc:
        raise InputRefused(
            f"A CA named {fields['name']} is being added already, or was.",
            field="name",
            next_step="Go on with that one, or choose another name.",
        ) from exc
    return row


def try_again(addition: CAAddition, *, authority: Authority) -> None:
    """Have a worker try the step anew. Raises NotPermitted, and Conflict while a worker is at it."""
    check_may_manage(authority)
    with transaction.atomic():
        row, now = _locked(addition, authority), database_now()
        _expect(row, State.CONNECTING, State.TESTING)
        if row.working_until is not None and row.working_until > now:
            raise Conflict("A worker is at it.", next_step="Load the page again in a moment.")
        row.working_until, row.problem = now + WORKS_FOR, ""
        row.save(update_fields=["working_until", "problem"])
        task = CONNECT_TASK if row.state == State.CONNECTING else TEST_TASK
        transaction.on_commit(lambda: publish(task, row.pk))


def compare_root(addition: CAAddition, typed: str, *, authority: Authority) -> None:
    """Compare the root's fingerprint with what a person typed, from another source than the CA itself. Then the test begins.

    With colons, blanks or neither, in any case. Raises NotPermitted, InputRefused where it differs,
    Conflict where the chain is no chain of CAs (RFC 5280 6.1).
    """
    check_may_manage(authority)
    wanted = re.sub(r"[\s:]", "", typed).lower()
    if re.fullmatch(r"[0-9a-f]{64}", wanted) is None:
        raise InputRefused(
            "This is no SHA-256 fingerprint.",
            field="fingerprint",
            next_step="64 hexadecimal digits, with colons or without, as `openssl x509 -noout -fingerprint -sha256` prints them.",
        )
    with transaction.atomic():
        row = _locked(addition, authority)
        _expect(row, State.COMPARING)
        chain = chain_of(row)
        now = database_now()
        is_same = hmac.compare_digest(hashlib.sha256(chain[-1]).hexdigest(), wanted)
        row.wrong_fingerprints += not is_same
        if not is_same and row.wrong_fingerprints >= MOST_WRONG:
            row.state, row.ended_at = State.GIVEN_UP, now
        problems = chain_problems(chain, now=now) if is_same else []
        if is_same and not problems:
            row.state, row.working_until, row.problem = State.TESTING, now + WORKS_FOR, ""
            transaction.on_commit(lambda: publish(TEST_TASK, row.pk))
        row.save()
        data: dict[str, Value] = {"addition": row.public_id, "same": is_same, "root_sha256": hashlib.sha256(chain[-1]).hexdigest()}
        record(EventType.ISSUER_ADDITION_ROOT_COMPARED, subject=subject_of(row), actor=authority.actor, at=now, data=data)
    if problems:
        raise Conflict(f"The chain cannot be used: {'; '.join(problems)}.", next_step="Ask the operator of the CA, then try again.")
    if not is_same:
        raise InputRefused(
            "The CA has another root than the one with this fingerprint. Nothing trusts it.",
            field="fingerprint",
            next_step="Look for a mistake in typing. If there is none, somebody else answers at this address: ask the CA's operator."
            if row.state == State.COMPARING
            else "It was given up after five fingerprints that do not fit. Ask the CA's operator before you begin again.",
        )


def go_live(addition: CAAddition, *, confirmation: str, authority: Authority) -> Issuer:
    """Take the tested CA into use, and pin its root.

    Effects, in one transaction: the Issuer with `issuer:created`, its test certificate on record as
    settled, mails to the security team and the operators. Raises NotPermitted for the person who
    began it, InputRefused, Conflict.
    """
    check_may_manage(authority)
    if not hmac.compare_digest(confirmation.strip().encode(), addition.name.encode()):
        raise InputRefused(
            f"Type the name {addition.name} to go live. Nothing was changed.",
            field="confirmation",
            next_step="Exactly as it is written there, capitals included.",
        )
    alone = _is_alone(addition, authority)
    with transaction.atomic():
        row, now = _locked(addition, authority), database_now()
        _expect(row, State.READY)
        if Issuer.objects.filter(name=row.name).exists() or Issuer.objects.filter(slug=slugify(row.name)).exists():
            raise Conflict(f"There is a CA named {row.name} already.", next_step="Give this addition up, and choose another name.")
        root = chain_of(row)[-1]
        issuer = Issuer.objects.create(name=row.name, slug=slugify(row.name), alias=row.name, trust_anchor_der=root, created_at=now)
        data: dict[str, Value] = {"name": row.name, "root_sha256": hashlib.sha256(root).hexdigest(), "addition": row.public_id}
        data |= {"single_officer": True} if alone else {}
        data["state_sha256"] = digest_of(Issuer.objects.get(pk=issuer.pk))
        record(EventType.ISSUER_CREATED, subject=f"issuer:{issuer.slug}", actor=authority.actor, at=now, data=data)
        _keep_test(row, issuer, authority.actor.name, now)
        row.state, row.issuer, row.ended_at = State.LIVE, issuer, now
        row.save(update_fields=["state", "issuer", "ended_at"])
        what = f"The CA {row.name} is in use: its certificates are trusted by the portal from now on"
        notify(
            Topic.POWER,
            key=f"ca:added:{row.public_id}",
            audience=security_team() | operators(),
            subject=what,
            template="power_changed",
            context={"what": what, "by": authority.actor.name, "at": now},
            now=now,
        )
    return issuer


def give_up(addition: CAAddition, *, authority: Authority) -> None:
    """End it without a CA. A worker revokes the test certificate, where the test has not done it. Raises NotPermitted, Conflict."""
    check_may_manage(authority)
    with transaction.atomic():
        row, now = _locked(addition, authority), database_now()
        _expect(row, *CAAddition.OPEN)
        row.state, row.ended_at = State.GIVEN_UP, now
        row.save(update_fields=["state", "ended_at"])
        data: dict[str, Value] = {"addition": row.public_id, "name": row.name}
        record(EventType.ISSUER_ADDITION_GIVEN_UP, subject=subject_of(row), actor=authority.actor, at=now, data=data)
        if row.csr_der and row.test_settled_at is None:
            transaction.on_commit(lambda: publish(REVOKE_TASK, row.pk))
    forget_client(row.name)


def chain_of(row: CAAddition) -> tuple[bytes, ...]:
    """Return the chain that the CA sent, DER, issuing CA first."""
    if not row.chain:
        raise Conflict("The CA has sent no chain yet.", next_step="Connect to it first.")
    return tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(row.chain.encode()))


def _keep_test(row: CAAddition, issuer: Issuer, who: str, now: Any) -> None:
    """Keep the test certificate where the comparison with the CA finds it as settled. It is in no figure, report or renewal."""
    if not row.test_der:
        return
    certificate = x509.load_der_x509_certificate(bytes(row.test_der))
    UnknownCertificate.objects.create(
        issuer=issuer,
        serial_number=f"{certificate.serial_number:x}",
        der=bytes(row.test_der),
        subject=certificate.subject.rfc4514_string()[:300],
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        found_at=now,
        settled_at=now,
        settlement=f"Test certificate of {row.public_id}, revoked; {who} took the CA live"[:200],
    )


def _is_alone(addition: CAAddition, authority: Authority) -> bool:
    """Return whether one person adds the CA alone, as PKI_SINGLE_OFFICER allows. Raises NotPermitted."""
    user = authority.user
    if user is None:  # a command: a person with a shell could change the settings as well
        return False
    if is_identified(user) and (addition.began_by is None or not is_same_person(user, addition.began_by)):
        return False
    if one_person_is_enough():
        return True
    raise NotPermitted(
        f"{addition.began_by_name} began to add this CA, and a second person takes it live.",
        next_step="Ask another security officer to open this page.",
    )


def _checked(given: dict[str, str]) -> dict[str, str]:
    """Return the fields of the row. Raises InputRefused for the first that cannot be used."""
    kind = given.get("kind", "")
    if kind not in Kind.values:
        raise InputRefused("Choose what kind of CA it is.", field="kind", next_step="One of those on the page.")
    fields = {"kind": kind, "name": _name_of(kind, given.get("name", "").strip()), "test_name": _test_name(given)}
    return fields if kind == Kind.CONFIGURED else fields | _connection(kind, given)


def _name_of(kind: str, name: str) -> str:
    if kind == Kind.CONFIGURED:
        if name in configured_cas():
            return name
        known = ", ".join(configured_cas()) or "none"
        raise InputRefused("Choose one of the CAs of the settings that is not in use.", field="name", next_step=f"There are: {known}.")
    if _NAME.fullmatch(name) is None or not slugify(name):
        raise InputRefused("This is no name for a CA.", field="name", next_step="3 to 64 letters, digits, blanks and . _ -")
    if name in settings.CA_CLIENTS or Issuer.objects.filter(Q(name=name) | Q(slug=slugify(name)) | Q(alias=name)).exists():
        raise InputRefused(f"There is a CA named {name} already.", field="name", next_step="Choose another name.")
    return name


def _connection(kind: str, given: dict[str, str]) -> dict[str, str]:
    fields = {"address": _address(given.get("address", "")), "credential": given.get("credential", "").strip()}
    if FILE_NAME.fullmatch(fields["credential"]) is None:
        raise InputRefused(
            "This is no name of a file.",
            field="credential",
            next_step="The name of a file in PKI_CA_CREDENTIALS at the workers, without a folder. Never the token itself.",
        )
    other = CAAddition.objects.filter(credential=fields["credential"]).exclude(address=fields["address"]).order_by("-pk").first()
    if other is not None:
        # One person could otherwise have the token of a CA sent to a server of their own.
        raise InputRefused(
            f"This credential is the one for {other.name} at {other.address}, and is sent nowhere else.",
            field="credential",
            next_step="Have a file of its own made for this CA, with a token of its own.",
        )
    if kind == Kind.VAULT_PKI:
        fields |= {"mount": given.get("mount", "").strip().strip("/"), "role": given.get("role", "").strip()}
        for field in ("mount", "role"):
            if _PATH.fullmatch(fields[field]) is None:
                raise InputRefused(f"This is no {field} of a PKI engine.", field=field, next_step="As in Vault, such as pki or portal.")
    return fields


def _address(text: str) -> str:
    text = text.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    plain = known and not (parts.username or parts.password or parts.query or parts.fragment)
    if not plain or len(text) > 200 or not text.isascii():
        raise InputRefused(
            "This is no address of a CA.", field="address", next_step="As in https://ca.example.com, without user, password or query."
        )
    if parts.hostname not in _LOCAL and not _may_be_a_ca(str(parts.hostname)):
        raise InputRefused(
            "No CA is at this address: it leads to the portal's own machine, its link or a metadata service.",
            field="address",
            next_step="Use the name of the CA's server.",
        )
    if parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise InputRefused("Over plain http everybody on the way reads the token.", field="address", next_step="Use https.")
    return text


def _may_be_a_ca(host: str) -> bool:
    """Whether the host is a name, or an address that means no special range."""
    try:
        address = ip_address(host)
    except ValueError:
        return True
    return is_allowed(address, [*ANYWHERE, *settings.PKI_CA_NETWORKS])


def _test_name(given: dict[str, str]) -> str:
    name = parse_dns_name(given.get("test_name", "").strip().lower(), field="test_name")
    if name.wildcard:
        raise InputRefused("Use a name without a wildcard.", field="test_name", next_step="Such as ca-test.example.com.")
    return name.ascii


def _locked(addition: CAAddition, authority: Authority) -> CAAddition:
    """Return the row, locked; the right is read again behind the lock. Raises NotPermitted."""
    row = CAAddition.objects.select_for_update(of=("self",)).get(pk=addition.pk)
    if authority.user is not None:
        lock_account(authority.user)
    check_may_manage(authority)
    return row


def _expect(row: CAAddition, *states: str) -> None:
    if row.state not in states:
        raise Conflict(
            f"Adding {row.name} is at the step “{row.get_state_display()}”. Nothing was changed.",
            next_step="Load its page again: it shows what comes next.",
        )


def subject_of(row: CAAddition) -> str:
    """Return the audit log's subject: that of the CA as it will be, so that its history has the steps."""
    return f"issuer:{slugify(row.name)}"
