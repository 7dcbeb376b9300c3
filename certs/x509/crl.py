"""Certificate revocation lists (RFC 5280 5): entries by the thousand, and the frame around them that is signed. Pure.

pyca's builder adds entries one by one in quadratic time, so entries are written here and a list is put together from runs of them.
A list that the portal writes is complete for its scope: no delta, no indirect entries, never `removeFromCRL`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography import x509

from certs.enums import RevocationReason
from certs.x509.asn1.writer import bit_string, der_length, extension, integer, signature_algorithm, time, tlv

REASON_CODES: dict[str, int] = {
    RevocationReason.UNSPECIFIED: 0,
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.CERTIFICATE_HOLD: 6,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
    RevocationReason.AA_COMPROMISE: 10,
}
_OID_REASON, _OID_INVALIDITY = bytes.fromhex("0603551d15"), bytes.fromhex("0603551d18")
_OID_NUMBER, _OID_IDP, _OID_AKI = bytes.fromhex("0603551d14"), bytes.fromhex("0603551d1c"), bytes.fromhex("0603551d23")
_KEPT_SHAPES = 20_000


class Entry(NamedTuple):
    """One revoked certificate: serial in lower-case hex without leading zeros, times as `stamp` writes them ("" for none)."""

    serial: str
    revoked_at: str
    reason: str = ""
    invalidity_date: str = ""


def stamp(moment: datetime) -> str:
    """Return `20261124083015`, in UTC: the form in which entries have their times, so that a
    database can write them too.
    """
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def encode_entries(entries: Iterable[tuple[str, str, str, str]]) -> bytes:
    """Return the content of revokedCertificates for these entries (of `Entry`'s fields), in order (RFC 5280 5.1.2.6).

    The reasonCode is left out for `unspecified` (5.3.1). About a microsecond an entry: what is the same for many is made once,
    the rest is put together in hex, where a digit of a time is a 3 and itself, and one conversion serves a whole run.
    """
    shapes: dict[tuple[int, bool, bool, str, str], tuple[str, str, int, str]] = {}
    out: list[str] = []
    for serial, revoked_at, reason, invalidity_date in entries:
        shape = (len(serial), serial[0] > "7", revoked_at < "2050", reason, invalidity_date)
        around = shapes.get(shape)
        if around is None:
            if len(shapes) > _KEPT_SHAPES:
                shapes.clear()
            around = shapes[shape] = _around(*shape)
        before, between, century, behind = around
        out.append(f"{before}{serial}{between}{'3'.join(revoked_at[century:])}{behind}")
    return bytes.fromhex("".join(out))


def _around(digits: int, negative: bool, this_century: bool, reason: str, invalidity_date: str) -> tuple[str, str, int, str]:  # noqa: FBT001
    """Return the hex before the serial's digits, between them and those of the time, and behind;
    and where the time's digits begin.
    """
    # whole octets, and a zero octet where a positive INTEGER would begin with a one bit
    padding = ("0" if digits % 2 else "") + ("" if digits % 2 or not negative else "00")
    octets, extensions = (digits + len(padding)) // 2, _entry_extensions(reason, invalidity_date).hex()
    tag, century = ("170d3", 2) if this_century else ("180f3", 0)  # UTCTime through 2049 (RFC 5280 5.1.2.4)
    length = 2 + octets + 2 + int(tag[2:4], 16) + len(extensions) // 2  # at most 90: always one octet
    return f"30{length:02x}02{octets:02x}{padding}", tag, century, f"5a{extensions}"


def _entry_extensions(reason: str, invalidity_date: str) -> bytes:
    """Return crlEntryExtensions, empty where there are none."""
    extensions = []
    if code := REASON_CODES[reason] if reason else 0:
        extensions.append(extension(_OID_REASON, bytes([0x0A, 0x01, code])))
    if invalidity_date:
        extensions.append(extension(_OID_INVALIDITY, tlv(0x18, f"{invalidity_date}Z".encode())))  # GeneralizedTime always (5.3.2)
    return tlv(0x30, *extensions) if extensions else b""


def read_entries(run: bytes) -> Iterator[tuple[str, int]]:
    """Yield serial (hex) and reason code (0 when absent) of each entry in a run that `encode_entries` wrote."""
    # No general parser: entries are read only from runs that `encode_entries` wrote, whose lengths have one octet each.
    position, end = 0, len(run)
    while position < end:
        stop = position + 2 + run[position + 1]
        octets = run[position + 3]
        serial = run[position + 4 : position + 4 + octets].hex().lstrip("0")
        at = run.find(_OID_REASON, position + 4 + octets, stop)
        yield serial, run[at + len(_OID_REASON) + 4] if at >= 0 else 0
        position = stop


@dataclass(frozen=True, slots=True)
class CRLFrame:
    """All of a list but its entries. `distribution_point` makes it a shard: its IDP is critical and
    names that URL (5.2.5).
    """

    issuer: x509.Certificate
    number: int
    this_update: datetime
    next_update: datetime
    distribution_point: str = ""

    def before(self, entries_length: int) -> bytes:
        """Return TBSCertList from its own header up to the first entry, for entries of that many octets."""
        listed = bytes([0x30]) + der_length(entries_length) if entries_length else b""  # absent, never empty (5.1.2.6)
        fields = [
            integer(1),  # v2
            signature_algorithm(self.issuer.public_key()),
            self.issuer.subject.public_bytes(),
            time(self.this_update),
            time(self.next_update),
            listed,
        ]
        body = b"".join(fields)
        # The entries are counted in the length and stand outside: they are hashed and sent piece by piece.
        return bytes([0x30]) + der_length(len(body) + entries_length + len(self.after())) + body

    def after(self) -> bytes:
        """Return crlExtensions: key identifier, number, and for a shard its distribution point."""
        ski = self.issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        extensions = [extension(_OID_AKI, tlv(0x30, tlv(0x80, ski))), extension(_OID_NUMBER, integer(self.number))]
        if self.distribution_point:
            name = tlv(0xA0, tlv(0xA0, tlv(0x86, self.distribution_point.encode("ascii"))))
            extensions.append(extension(_OID_IDP, tlv(0x30, name), critical=True))
        return tlv(0xA0, tlv(0x30, *extensions))


def crl_around(public_key: Any, tbs_length: int, signature: bytes) -> tuple[bytes, bytes]:
    """Return CertificateList's header and what follows the TBSCertList (5.1.1)."""
    behind = signature_algorithm(public_key) + bit_string(signature)
    return bytes([0x30]) + der_length(tbs_length + len(behind)), behind
