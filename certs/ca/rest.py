"""A CA behind the REST API that this portal serves too, so that one portal can be another's CA.

POST /api/v1/certificates/issue, GET /api/v1/certificates/by-order/<ref>, POST /api/v1/certificates/revoke, and, where the CA has
it, GET /api/v1/certificates/ordered. The order reference is sent as Idempotency-Key: the CA returns the same certificate for it
for as long as that certificate exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.exceptions import ImproperlyConfigured

from certs.ca.base import (
    CAClient,
    Capabilities,
    CAUnreachable,
    Issued,
    Lookup,
    NotDoneYet,
    NotSent,
    Order,
    Outcome,
    Pending,
    Refused,
    RevocationOrder,
    RevokedThere,
    Unknown,
)
from certs.ca.known import known_serials
from certs.ca.remote_crl import revoked_on_crls
from certs.errors import InputRefused, NotFound, sentence
from certs.spec import end_of_day
from certs.x509.asn1.pem import csr_pem
from certs.x509.certificate.serial import parse_serial
from keys.bounded import BoundedCalls

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)  # JSON of another shape
PROBE = "portal-probe"  # the reference of an order that is never sent
PAGE = 200  # certificates in one answer of the list
CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 15.0  # seconds
TOTAL_TIMEOUT = 20.0  # seconds of one call, however slowly the CA sends; well below a lease
MOST_HANGING = 16  # calls that a CA may leave without a complete answer at once, per process


class RestCAClient(CAClient):
    """`url`: the CA's base address; `token`: its bearer token, which settings read from the environment or a file;
    `ca_bundle`: PEM file that the server's TLS certificate must chain to (default: the system's); `chain_file`: PEM file
    with the CA's chain, for a CA that does not serve it at /api/v1/ca/chain.
    """

    # Orders of one call of `issue_many` are sent side by side, so it ends within one time-out.
    capabilities = Capabilities(lookup=Lookup.BY_ORDER_REF, explicit_names=False, holds=True, batch_size=4)

    def __init__(self, alias: str, *, url: str, token: str, ca_bundle: str = "", chain_file: str = "") -> None:
        self.alias = alias
        self.url = url.rstrip("/")
        if not token:
            raise ImproperlyConfigured(f"The CA {alias} needs a bearer token in its OPTIONS (from the environment or a file).")
        self._token = token
        self.ca_bundle = ca_bundle
        self.chain_file = chain_file
        self._calls = BoundedCalls(most=MOST_HANGING)
        self._idle_sessions: SimpleQueue[requests.Session] = SimpleQueue()
        self._chain: tuple[bytes, ...] | None = None

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        if len(orders) == 1:
            return [self._issue(orders[0])]
        with ThreadPoolExecutor(self.capabilities.batch_size) as pool:
            return list(pool.map(self._issue, orders))

    def _issue(self, order: Order) -> Outcome:
        # 1. The API takes a CSR and no names: what is not in the CSR cannot be ordered here.
        if not order.csr_der:
            return Refused(
                order.order_ref,
                "csr_not_kept",
                "This CA needs the CSR itself, and a CSR with a challenge password is not kept. Make one without.",
            )
        # 2. Send. The Idempotency-Key makes sending again safe. Still, an order that may have arrived is `Unknown` and looked up
        #    first, for a CA need not keep the key for as long as the portal tries.
        body = {"csr": csr_pem(order.csr_der), "profile": order.profile, **_validity(order)}
        try:
            response = self._call("POST", "/api/v1/certificates/issue", json=body, headers={"Idempotency-Key": order.order_ref})
        except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as exc:
            return NotSent(order.order_ref, f"cannot reach {self.url}: {_reason(exc)}")
        except requests.exceptions.ConnectionError as exc:
            if _never_connected(exc):
                return NotSent(order.order_ref, f"cannot reach {self.url}: {_reason(exc)}")
            return Unknown(order.order_ref, f"the connection to {self.url} broke: {_reason(exc)}")
        except requests.RequestException as exc:
            return Unknown(order.order_ref, f"no readable answer from {self.url}: {_reason(exc)}")
        return self._outcome(order, response)

    def _outcome(self, order: Order, response: requests.Response) -> Outcome:
        """Return what a reply means for the order. Only 4xx is a refusal: a 5xx may have come after the signature."""
        ref, status = order.order_ref, response.status_code
        if status == 200:
            try:
                return self._issued(ref, response.json())
            except (*_UNREADABLE, CAUnreachable) as exc:  # the chain may be what cannot be had
                return Unknown(ref, f"{self.url} answered 200 with something unreadable: {exc}", answered=True)
        if status == 202:
            return Pending(ref, f"{self.url} took the order and will answer later")
        detail = f"{self.url} answered {status}: {_problem_detail(response)}"
        # A refused token is about this client, and a CA that is busy is about the CA: neither says anything about the order,
        # which waits and is sent again.
        if status in (401, 403) and _problem_type(response) in ("", "unauthorized"):
            return NotSent(ref, f"{sentence(detail)} Check the token of CA {self.alias}.")
        if status in (429, 503):
            return NotSent(ref, detail, retry_after=_retry_after(response))
        if status >= 500:  # it may have failed after it had signed
            return Unknown(ref, detail, answered=True)
        return Refused(ref, _problem_type(response) or "ca_refused", detail)

    def find(self, order: Order) -> Issued | Pending | None:
        response = self._ask("GET", f"/api/v1/certificates/by-order/{order.order_ref}")
        if response.status_code == 404:
            return None
        if response.status_code == 202:
            return Pending(order.order_ref)
        if response.status_code != 200:
            raise self._not_served(response, "to a look-up")
        try:
            return self._issued(order.order_ref, response.json())
        except _UNREADABLE as exc:
            raise CAUnreachable(f"{self.url} answered a look-up with something unreadable: {exc}", answered=True) from exc

    def revoke(self, order: RevocationOrder) -> None:
        body = {"serial_number": f"0x{order.serial_number:x}", "reason": str(order.reason), "revocation_date": order.revoked_at.isoformat()}
        response = self._ask("POST", "/api/v1/certificates/revoke", json=body)
        if response.status_code == 404:
            raise NotFound(f"{self.url} never issued serial {order.serial_number:x}.")
        if response.status_code != 200:
            raise self._not_served(response, "to a revocation")
        # A page of a gateway before the CA comes with 200 too, and so does a portal whose own CA has not done it yet. Counted as
        # done, the inventory would be revoked while the CA's CRL is not, and nobody would ask again.
        body = _body(response)
        if not body:
            raise CAUnreachable(f"{self.url} answered a revocation with something unreadable", answered=True)
        if body.get("confirmed", True) is not True:
            raise NotDoneYet(f"{self.url} accepted the revocation and has not done it yet")

    def release(self, serial_number: int) -> None:
        response = self._ask("POST", "/api/v1/certificates/release", json={"serial_number": f"0x{serial_number:x}"})
        if response.status_code == 404:
            raise NotFound(f"{self.url} never issued serial {serial_number:x}, or cannot take a hold back.")
        if response.status_code != 200:
            raise self._not_served(response, "to the release of a hold")
        # The other portal may have queued the release. Counted as done, the inventory would be good while the CA's CRL is not.
        if _body(response).get("status") != "good":
            raise NotDoneYet(f"{self.url} accepted the release of a hold and has not done it yet")

    def unknown_certificates(self) -> Iterable[bytes] | None:
        """Return the valid certificates that were ordered with our token's team. A CA whose API has no
        such list returns 404.
        """
        first = self.page(0)
        return None if first is None else self._unknown(first)

    def _unknown(self, page: dict[str, Any] | None) -> Iterator[bytes]:
        seen = 0
        while page is not None:
            try:
                alive = {f"{parse_serial(one['serial_number']):x}": one for one in page["certificates"] if one["status"] == "good"}
                strange = set(alive) - known_serials(self.alias, alive)
                unknown = [x509.load_pem_x509_certificate(alive[serial]["certificate"].encode()) for serial in strange]
                after = int(page["next"] or 0)
            except (*_UNREADABLE, InputRefused) as exc:
                raise CAUnreachable(f"{self.url} sent an unreadable list of certificates") from exc
            for certificate in unknown:
                yield certificate.public_bytes(Encoding.DER)
            # Each page must begin later than the one before: a CA that repeats a page would hold this worker permanently.
            page = self.page(after) if after > seen else None
            seen = after

    def page(self, after: int) -> dict[str, Any] | None:
        """Return a page of the list of certificates; None where the CA has no such list. Raises CAUnreachable."""
        response = self._ask("GET", f"/api/v1/certificates/ordered?after={after}&limit={PAGE}")
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise self._not_served(response, "when asked for a list")
        return _body(response)

    def revoked_certificates(self) -> Iterable[RevokedThere] | None:
        """Return what is on the CRLs that its certificates name: every CA has those."""
        return revoked_on_crls(self.alias)

    def chain(self) -> tuple[bytes, ...]:
        if self._chain is None:
            self._chain = self._read_chain()
        return self._chain

    def _read_chain(self) -> tuple[bytes, ...]:
        if self.chain_file:
            try:
                pem = Path(self.chain_file).read_bytes()
            except OSError as exc:  # the order waits until the file is there
                raise CAUnreachable(f"the chain file of CA {self.alias} cannot be read: {exc}") from exc
        else:
            response = self._ask("GET", "/api/v1/ca/chain")
            if response.status_code != 200:
                raise CAUnreachable(f"{self.url} answered {response.status_code} when asked for its chain")
            pem = response.content
        try:
            return tuple(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(pem))
        except ValueError as exc:
            raise CAUnreachable(f"{self.url} sent an unreadable chain") from exc

    def is_working(self) -> bool:
        """Look up an order that nobody sent. A 404 needs the CA's database and our token with the scope
        that orders need; a health page needs neither.
        """
        try:
            return self._ask("GET", f"/api/v1/certificates/by-order/{PROBE}").status_code in (200, 202, 404)
        except CAUnreachable:
            return False

    def _not_served(self, response: requests.Response, to_what: str) -> CAUnreachable:
        """Return the error. A 429 or 503 is about the CA as a whole, any other status about this request."""
        message = f"{self.url} answered {response.status_code} {to_what}: {_problem_detail(response)}"
        return CAUnreachable(message, answered=response.status_code not in (429, 503))

    def _issued(self, order_ref: str, body: dict[str, Any]) -> Issued:
        """Return the certificate of a reply. One that cannot be parsed is passed on as it came: the verifier reports what is wrong."""
        pem = body["certificate"]
        try:
            der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
        except ValueError:
            der = pem.encode()
        return Issued(order_ref, der, self.chain())

    def _ask(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        try:
            return self._call(method, path, **kwargs)
        except requests.RequestException as exc:
            raise CAUnreachable(f"cannot reach {self.url}: {_reason(exc)}") from exc

    def _call(self, method: str, path: str, *, headers: dict[str, str] | None = None, json: Any = None) -> requests.Response:
        """Make one call, in a session that no other call uses. Raises requests.RequestException."""

        def send() -> requests.Response:
            # A session goes back only after a complete reply: one whose call was given up may still get the late one.
            try:
                session = self._idle_sessions.get_nowait()
            except Empty:
                session = requests.Session()
                # Else REQUESTS_CA_BUNDLE overrides `verify`, and a proxy variable reroutes tokens.
                session.trust_env = False
            # No redirect is followed: it would take the token to another host.
            response = session.request(
                method,
                self.url + path,
                json=json,
                headers={"Authorization": f"Bearer {self._token}", **(headers or {})},
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
                verify=self.ca_bundle or True,
            )
            self._idle_sessions.put(session)
            return response

        return self._calls.run(send, seconds=TOTAL_TIMEOUT)


def _validity(order: Order) -> dict[str, int | str | None]:
    """Return the validity as the API takes it, in whole days: where the policy's maximum ends within the day, the day before is sent."""
    if order.not_after is None:
        return {"validity_days": order.validity_days}
    last = order.last_second(signed_at=order.intended_at, not_before=order.intended_at)
    day = last.date() if last == end_of_day(last.date()) else last.date() - timedelta(days=1)
    return {"not_after": day.isoformat()}


def _never_connected(exc: requests.exceptions.ConnectionError) -> bool:
    """Return whether no byte can have arrived: the connection was refused, or the name did not resolve."""
    # By the names of urllib3's errors: requests has one class for all of them, also for a connection that was reset after the
    # order was sent.
    cause = exc.args[0] if exc.args else None
    reason = getattr(cause, "reason", cause)
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}


def _reason(exc: Exception) -> str:
    """Return the innermost text of a requests exception; the outer one repeats the URL and object addresses."""
    cause = exc.args[0] if exc.args else exc
    reason = getattr(cause, "reason", cause)
    text = str(reason)
    return text.rsplit(": ", 1)[-1][:200]


def _body(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object of a reply, {} where there is none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _problem_detail(response: requests.Response) -> str:
    return str(_body(response).get("detail") or response.reason or "no reason given")[:300]


def _problem_type(response: requests.Response) -> str:
    return str(_body(response).get("type", "")).rsplit(":", 1)[-1].rsplit("/", 1)[-1]


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    # Digits of other scripts are none here, and a thousand of them no number of seconds (RFC 9110 10.2.3).
    return float(value) if value.isascii() and value.isdecimal() and len(value) < 7 else None
