"""Places where certificates are served: asked to be looked at by a person, and found again for pages."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

from celery import signature
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from audit.events import EventType
from audit.log import record
from certs.access.networks import is_allowed
from certs.access.permissions import Authority
from certs.access.rates import Limit, use
from certs.errors import CSRRefused, InputRefused, PortalError
from certs.installation.probe import is_address
from certs.models import Certificate, InstalledPlace, StartTLS
from certs.requests.lineage import lineage_of
from certs.x509.dns_names import name_from_text, parse_dns_name
from db.clock import database_now

log = logging.getLogger(__name__)

TASK = "certs.tasks.look_at_place"
MOST_PLACES = 20  # of one certificate
MOST_SHOWN = 10  # where a page only names them
OF_PERSON, OF_TEAM = 30, 120  # looks in ten minutes
WINDOW = timedelta(minutes=10)
STUCK_AFTER = timedelta(seconds=30)  # a look that has not ended by then was lost
USUAL_PORT = 443
# What a port usually speaks, where nobody says it.
USUAL = {
    25: StartTLS.SMTP,
    587: StartTLS.SMTP,
    143: StartTLS.IMAP,
    110: StartTLS.POP3,
    389: StartTLS.LDAP,
    5432: StartTLS.POSTGRES,
    3306: StartTLS.MYSQL,
}
BY_PORT = "port"  # the choice of a form: what the port usually speaks
EXAMPLE = "For example shop.example.com:443."


class Disabled(PortalError):
    """No network is allowed, so nothing can be looked at."""

    problem = "disabled"
    status = 409


@dataclass(frozen=True, slots=True)
class Where:
    """One place, read from what a person wrote."""

    host: str
    port: int
    starttls: StartTLS


def is_enabled() -> bool:
    """Whether an administrator allowed any network (PKI_LIVE_NETWORKS)."""
    return bool(settings.PKI_LIVE_NETWORKS)


def read_place(text: str, speaks: str = BY_PORT) -> Where:
    """Return the place that a person wrote: `shop.example.com`, `shop.example.com:8443`, `[2001:db8::1]:443`, also as a URL.

    Raises InputRefused.
    """
    given = text.strip()
    given = given.partition("://")[2].partition("/")[0] if "://" in given else given
    host, port = _split(given)
    if speaks != BY_PORT and speaks not in StartTLS:
        raise InputRefused("Choose how TLS begins there.", field="speaks", next_step="The usual choice fits the port.")
    starttls = USUAL.get(port, StartTLS.NONE) if speaks == BY_PORT else StartTLS(speaks)
    if is_address(host):
        return Where(str(ip_address(host)), port, starttls)
    try:
        name = parse_dns_name(name_from_text(host), allow_unicode=True, field="place")
    except CSRRefused as exc:
        raise InputRefused(f"{host[:100]} is no host name." if host else "Which server?", field="place", next_step=EXAMPLE) from exc
    if name.wildcard:
        raise InputRefused(
            "A wildcard is no server.", field="place", next_step="Name one server that uses the certificate, such as www.example.com."
        )
    return Where(name.ascii, port, starttls)


def _split(text: str) -> tuple[str, int]:
    if is_address(text):
        return text, USUAL_PORT
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(USUAL_PORT)
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise InputRefused(f"{port[:20]} is no port." if port else "The port is missing.", field="place", next_step=EXAMPLE)
    return host.removeprefix("[").removesuffix("]"), int(port)


def ask(certificate: Certificate, where: Where, *, authority: Authority) -> InstalledPlace:
    """Have a place looked at for the newest certificate of a lineage. Returns its row, which shows the answer in some seconds.

    A look that is under way is not asked for again. Effects, in one transaction: the row,
    `certificate:check_requested`, the counters of the person and the team; after it a task.
    Raises NotFound and NotPermitted as `check_may_act`, Disabled, InputRefused, TooMany.
    """
    authority.check_may_act(certificate)
    if not is_enabled():
        raise Disabled(
            "This portal may not look at servers: its administrators have allowed no network.",
            next_step="Ask them to set PKI_LIVE_NETWORKS, or try it yourself with the command on this page.",
        )
    if is_address(where.host) and not is_allowed(ip_address(where.host), settings.PKI_LIVE_NETWORKS):
        raise InputRefused(
            f"The portal may not connect to {where.host}: an administrator has not allowed its network.",
            field="place",
            next_step="Ask an administrator to add the network to PKI_LIVE_NETWORKS.",
        )
    now = database_now()
    with transaction.atomic():
        lineage = lineage_of(certificate)
        newest = expected_of(lineage)
        # One caller at a time for each lineage, so that a place has one row.
        Certificate.objects.select_for_update(of=("self",), no_key=True).get(pk=lineage[0].pk)
        known = InstalledPlace.objects.select_for_update().filter(certificate__in=lineage, host=where.host, port=where.port)
        place = known.order_by("-pk").first()
        if place is not None and place.is_being_looked_at and now - place.asked_at < STUCK_AFTER:
            return place
        if place is None and InstalledPlace.objects.filter(certificate__in=lineage).count() >= MOST_PLACES:
            raise InputRefused(
                f"{MOST_PLACES} places of this certificate are known already.",
                field="place",
                next_step="Forget one that is not used any more.",
            )
        who = authority.actor.name
        use(
            [
                Limit("look", f"user:{who}", OF_PERSON, WINDOW),
                Limit("look", f"team:{newest.team_id}", OF_TEAM, WINDOW),
            ],
            message="You or your team had servers looked at too often in the last minutes.",
        )
        place = place or InstalledPlace(host=where.host, port=where.port)
        place.certificate, place.starttls = newest, where.starttls
        place.asked_at, place.asked_by = now, who
        place.save()
        known.exclude(pk=place.pk).delete()
        record(
            EventType.CERTIFICATE_CHECK_REQUESTED,
            subject=f"certificate:{newest.cert_id}",
            actor=authority.actor,
            at=now,
            data={"host": where.host, "port": where.port, "starttls": str(where.starttls)},
        )
        pk = place.pk
        transaction.on_commit(lambda: begin_look(pk))
    return place


def expected_of(lineage: list[Certificate]) -> Certificate:
    """Return the newest certificate of a lineage that may be served; the newest of all where none may."""
    good = [one for one in lineage if one.status == Certificate.Status.GOOD]
    return (good or lineage)[-1]


def begin_look(pk: int) -> None:
    """Start the task that looks. Without a broker the schedule does it."""
    try:
        signature(TASK, args=(pk,)).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the look waits for the schedule: %s", exc)


def forget(place: InstalledPlace, *, authority: Authority) -> None:
    """Forget a place: it is not looked at again. Raises NotFound and NotPermitted as `check_may_act`."""
    authority.check_may_act(place.certificate)
    with transaction.atomic():
        record(
            EventType.CERTIFICATE_PLACE_FORGOTTEN,
            subject=f"certificate:{place.certificate.cert_id}",
            actor=authority.actor,
            at=database_now(),
            data={"host": place.host, "port": place.port},
        )
        place.delete()


def places_of(certificate: Certificate) -> list[InstalledPlace]:
    """Return the known places of the certificate's lineage, by name."""
    return places_among(lineage_of(certificate))


def places_that_serve(certificate: Certificate, *, also: Collection[int] = ()) -> list[InstalledPlace]:
    """Return the places of its lineage where it was served when the portal last looked.

    `also`: ids of other certificates that count. At most MOST_SHOWN.
    """
    wanted = {certificate.pk, *also}
    return [place for place in places_of(certificate) if place.served_id in wanted][:MOST_SHOWN]


def places_among(lineage: list[Certificate]) -> list[InstalledPlace]:
    """Return the known places of a lineage, by name."""
    rows = InstalledPlace.objects.filter(certificate__in=lineage).select_related("certificate", "served")
    return list(rows.order_by("host", "port"))


def first_guess(certificate: Certificate) -> str:
    """Return the place that a form begins with: the first name of the certificate that can be a server's."""
    names = certificate.names.order_by("pk").values_list("name", flat=True)
    host = next((name for name in names if not name.startswith("*.")), "")
    return f"[{host}]" if ":" in host else host
