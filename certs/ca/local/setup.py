"""Making an own CA: a root whose key stays out of reach of web and worker, and an issuing CA beneath it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from cryptography import x509
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from audit.changes import attribute, digest_of
from audit.events import EventType
from audit.log import Actor, Value, record
from certs.ca.urls import certificate_url, crl_url
from certs.errors import Conflict
from certs.models import Issuer
from certs.x509.certificate.tbs import build_issuing_ca, build_root
from db.clock import database_now
from keys.errors import KeyBackendError
from keys.lifecycle.claim import NewKey, claim_keys, key_name
from keys.lifecycle.create import confirm_keys, make_keys
from keys.models import Key
from keys.registry import get_key_backend
from keys.spec import KeySpec
from keys.use import private_key_for

ROOT_YEARS, ISSUING_YEARS = 20, 10


def ensure_own_ca(
    *,
    name: str,
    spec: KeySpec,
    actor: Actor,
    tell: Callable[[str], None],
    organization: str = "",
) -> tuple[Issuer, list[str]]:
    """Make the issuing CA of that name, and its root, if they are missing. Returns what was made. Safe to run again after a crash.

    `organization` says whose CA it is, in the names of root and issuing CA. Without one they get a unique name, so that
    the CAs of two portals never have the same (RFC 5280 4.1.2.4: issuer and serial number identify a certificate).

    Raises keys.errors.KeyBackendError when a key backend cannot be used.
    """
    # What there is already is returned: each part is recorded before the next one begins, so a call after a crash continues.
    made: list[str] = []
    issuing = Issuer.objects.filter(name=name, certificate_der__isnull=False).first()
    if issuing is not None:
        return issuing, made
    root_name = f"{name} Root"
    root = Issuer.objects.filter(name=root_name).first()
    if root is None:
        tell(f"making the root CA's key ({spec.label})")
        root = _make_root(root_name, organization or f"PKI Portal {secrets.token_hex(4)}", spec, actor)
        made.append(f"root CA {root_name}")
    tell(f"making the issuing CA's key ({spec.label})")
    issuing = _make_issuing(name, root, spec, actor)
    made.append(f"issuing CA {name}")
    return issuing, made


def succeed(old: Issuer, *, name: str, spec: KeySpec, actor: Actor, tell: Callable[[str], None]) -> Issuer:
    """Make a new issuing CA beneath the same root, which takes over all new requests from `old`. Safe to run again after a crash.

    Of two that are made at once one takes over; the other one issues nothing. Raises certs.errors.Conflict, and
    keys.errors.KeyBackendError, for instance when the root's key is offline.
    """
    # 1. Only an own issuing CA that has no successor yet.
    if old.parent is None or old.key is None or old.successor is not None:
        raise Conflict(
            f"{old.name} is not an own issuing CA that can be succeeded.",
            next_step=f"Roll over {old.successor.name} instead." if old.successor else "Name an own issuing CA.",
        )
    # 2. The new CA, or the one that a call before a crash has made.
    new = Issuer.objects.filter(name=name).first()
    is_made_here = new is None
    if new is None:
        tell(f"making the key of {name} ({spec.label})")
        new = _make_issuing(name, old.parent, spec, actor)
    elif new.parent_id != old.parent_id or new.key is None or new.pk == old.pk or new.successor_id is not None:
        # A CA that follows itself, or one that it followed, would have no end that issues.
        raise Conflict(f"There is another CA named {name} already.", next_step="Choose another name.")
    # 3. From the commit on, new requests go to it. `old` finishes what it has, and signs status information until its end.
    with transaction.atomic():
        now = database_now()
        row = Issuer.objects.select_for_update().get(pk=old.pk)
        first = row.successor or new  # read behind the lock: a join would be as it was before
        if row.successor is None:
            row.successor = new
            attribute(row, actor)
            row.save(update_fields=["successor"])
            record(EventType.ISSUER_SUCCEEDED, subject=f"issuer:{old.slug}", actor=actor, at=now, data={"successor": new.name})
        elif first.pk != new.pk and is_made_here:
            # Nobody has approved a CA beside the one that took over, so this one never issues.
            attribute(new, actor)
            new.state = Issuer.State.REVOCATION_ONLY
            new.save(update_fields=["state"])
    if first.pk != new.pk:
        raise Conflict(
            f"{first.name} has taken over from {old.name} in this moment. {name} did not, and issues nothing instead of it.",
            next_step=f"Nothing is left to do: new requests go to {first.name}.",
        )
    return new


def next_name(name: str) -> str:
    """Return the name of the CA that follows: Internal-CA-Prod, Internal-CA-Prod-G2, Internal-CA-Prod-G3."""
    match = re.fullmatch(r"(.*)-G([0-9]+)", name)
    return f"{match[1]}-G{int(match[2]) + 1}" if match else f"{name}-G2"


def _make_root(name: str, organization: str, spec: KeySpec, actor: Actor) -> Issuer:
    key = ensure_key(f"root:{slugify(name)}", name, spec, backend=settings.PKI_ROOT_KEY_BACKEND, purpose="root", actor=actor)
    der = build_root(private_key_for(key), name=name, organization=organization, now=database_now(), years=ROOT_YEARS)
    return _record(name=name, alias="", parent=None, key=key, der=der, anchor=der, actor=actor)


def _make_issuing(name: str, root: Issuer, spec: KeySpec, actor: Actor) -> Issuer:
    key = ensure_key(f"ca:{slugify(name)}", name, spec, backend=settings.PKI_CA_KEY_BACKEND, purpose="ca", actor=actor)
    assert root.key is not None
    assert root.certificate_der is not None
    anchor = bytes(root.certificate_der)
    der = build_issuing_ca(
        private_key_for(root.key),
        x509.load_der_x509_certificate(anchor),
        private_key_for(key).public_key(),
        name=name,
        now=database_now(),
        years=ISSUING_YEARS,
        crl_url=crl_url(root.slug),
        ca_issuers_url=certificate_url(root.slug),
    )
    return _record(name=name, alias=name, parent=root, key=key, der=der, anchor=anchor, actor=actor)


def ensure_key(claimed_for: str, name: str, spec: KeySpec, *, backend: str, purpose: str, actor: Actor) -> Key:
    """Return the key for that claim; the same claim always gets the same key. Claimed, made and
    recorded like every key.
    """
    # The phases of `keys.lifecycle`: the claim is committed before the backend is called, so that a crash leaves no unknown key.
    with transaction.atomic():
        wanted = NewKey(claimed_for=claimed_for, base_name=key_name(name), spec=spec, backend=backend, purpose=purpose)
        (key,) = claim_keys([wanted], now=database_now())
    if key.spki_sha256:
        return key
    get_key_backend(backend).set_up()
    made = make_keys([key])[key.pk]
    if isinstance(made, KeyBackendError):
        raise made
    with transaction.atomic():
        now = database_now()
        (key,) = confirm_keys({key.pk: made}, now=now)
        data: dict[str, Value] = {
            "key": key.locator,
            "version": key.version,
            "spec": key.spec,
            "spki_sha256": key.spki_sha256,
            "backend": key.backend,
        }
        record(EventType.KEY_GENERATED, subject=f"key:{key.pk}", actor=actor, at=now, data=data)
    return key


def _record(*, name: str, alias: str, parent: Issuer | None, key: Key, der: bytes, anchor: bytes, actor: Actor) -> Issuer:
    """Record a CA with its event, in one transaction. Raises Conflict where its name was taken at this moment."""
    try:
        with transaction.atomic():
            now = database_now()
            issuer = Issuer.objects.create(
                name=name,
                slug=slugify(name),
                alias=alias,
                parent=parent,
                key=key,
                certificate_der=der,
                trust_anchor_der=anchor,
                created_at=now,
            )
            data: dict[str, Value] = {"name": name, "key": key.locator, "backend": key.backend, "root": parent is None}
            # Of the row as it is stored, which is what `verify_states` compares the digest with.
            data["state_sha256"] = digest_of(Issuer.objects.get(pk=issuer.pk))
            record(EventType.ISSUER_CREATED, subject=f"issuer:{issuer.slug}", actor=actor, at=now, data=data)
    except IntegrityError as exc:  # the same form was sent twice at once
        raise Conflict(
            f"A CA named {name} was made in this moment.",
            next_step="Open the list of CAs. If it is the one that you meant, nothing is left to do.",
        ) from exc
    return issuer
