"""What a CSR requests beside its key: attributes, extensions, names. Each is refused, granted by
the profile anyway, or left out. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused
from certs.x509.asn1.reader import BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, SEQUENCE, SET, Node, NotDER, dotted, parse

_EXTENSION_REQUESTS = {"1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"}  # PKCS#9, and Microsoft's number for the same
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an object identifier
_ATTRIBUTES = {_CHALLENGE_PASSWORD: "the challenge password", "1.2.840.113549.1.9.2": "the unstructured name"}
_SAN, _BASIC_CONSTRAINTS, _KEY_USAGE, _EKU = "2.5.29.17", "2.5.29.19", "2.5.29.15", "2.5.29.37"
_FORBIDDEN = {
    "2.5.29.30": "name constraints, which only a CA has",
    "2.5.29.36": "policy constraints, which only a CA has",
    "2.5.29.33": "policy mappings, which only a CA has",
    "2.5.29.54": "inhibitAnyPolicy, which only a CA has",
    "1.3.6.1.4.1.311.25.2": "a security identifier of its own choice, which would map it to an account",
    "1.3.6.1.4.1.11129.2.4.3": "a precertificate poison",
}
_LEFT_OUT = {
    "2.5.29.14": "the subject key identifier",
    "2.5.29.35": "the authority key identifier",
    "2.5.29.31": "the CRL distribution points",
    "2.5.29.32": "the certificate policies",
    "2.5.29.9": "the directory attributes",
    "2.5.29.18": "the issuer alternative name",
    "1.3.6.1.5.5.7.1.1": "the authority information access",
    "1.3.6.1.5.5.7.1.24": "the TLS feature (must-staple)",
    "2.16.840.1.113730.1.1": "the Netscape certificate type",
    "1.3.6.1.4.1.311.20.2": "the template name",
    "1.3.6.1.4.1.311.21.7": "the template",
    _BASIC_CONSTRAINTS: "the basic constraints",
}
_SERVER_AUTH, _CLIENT_AUTH = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
_GRANTED_EKUS = {_SERVER_AUTH, _CLIENT_AUTH}  # serverAuth, clientAuth: the profile decides which
_GRANTED_USAGES = (b"", b"\x80", b"\x20", b"\xa0")  # digitalSignature, keyEncipherment
_CA_USAGE_BITS = (5, 6)  # keyCertSign, cRLSign (RFC 5280 4.2.1.3)


@dataclass(frozen=True, slots=True)
class Requested:
    """`san`: the SubjectAltName's GeneralNames, None when there is none; `stripped`: what is left
    out, `notes`: what was read although it is not in DER, in words.
    """

    san: Node | None
    stripped: tuple[str, ...]
    notes: tuple[str, ...]
    has_password: bool


def read_requested(attributes: list[Node]) -> Requested:
    """Judge the attributes of a request (RFC 2986 4.1). Raises CSRRefused, or NotDER for malformed ones."""
    # `stripped` is a dict for its order: the same thing left out twice is named once.
    stripped: dict[str, None] = {}
    seen: dict[str, bytes] = {}
    requested: list[Node] = []
    for attribute in attributes:
        is_pair = attribute.tag == SEQUENCE and len(attribute.children) == 2
        if not is_pair or attribute.child(1).tag != SET:
            raise NotDER("an attribute is not type and values")
        kind, values = dotted(attribute.child(0)), attribute.child(1)
        kind = "extensions" if kind in _EXTENSION_REQUESTS else kind
        if kind == "extensions":
            requested = _extension_list(values)
        else:
            stripped[_ATTRIBUTES.get(kind, f"the attribute {kind}")] = None
        # Twice the same octets, such as the list of extensions under the PKCS#9 and the Microsoft
        # number, can be read in one way only; anything else depends on the reader.
        if seen.setdefault(kind, values.raw) != values.raw:
            raise _twice()
    san, more, notes = _extensions(requested)
    return Requested(san, (*stripped, *more), tuple(notes), _CHALLENGE_PASSWORD in seen)


def _extension_list(values: Node) -> list[Node]:
    if not values.children:
        raise NotDER("an extension request has no value")
    if len({value.raw for value in values.children}) != 1:
        raise _twice()
    return values.child(0, SEQUENCE).children


def _twice() -> CSRRefused:
    return CSRRefused(
        R.DUPLICATE_EXTENSION,
        "It asks twice, in different ways, for the same extension or attribute; readers differ in which one they see.",
        field="extensions",
        next_step="Ask once: make the request again with one list of extensions. On an appliance, turn off"
        " the option that adds a second one for Microsoft CAs.",
    )


def _extensions(requested: list[Node]) -> tuple[Node | None, list[str], list[str]]:
    san: Node | None = None
    stripped: list[str] = []
    notes: list[str] = []
    seen: set[str] = set()
    for extension in requested:
        kind, critical, value = _parts(extension)
        if kind in seen:
            raise _twice()
        seen.add(kind)
        if critical is False:
            notes.append("an extension says that it is not critical, which is the default; it was read all the same")
        if kind == _SAN:
            san = parse(value)
        elif (left := _judge(kind, value, critical=bool(critical))) is not None:
            stripped.append(left)
    return san, stripped, notes


def _parts(extension: Node) -> tuple[str, bool | None, bytes]:
    """Return the parts of Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue } (RFC 5280 4.1).

    Criticality is None where it is left out; a written-out FALSE is not DER (X.690 11.5), and common.
    """
    if extension.tag != SEQUENCE or len(extension.children) not in (2, 3):
        raise NotDER("an extension is not identifier, criticality and value")
    critical = None if len(extension.children) == 2 else extension.child(1, BOOLEAN).content == b"\xff"
    value = extension.child(len(extension.children) - 1, OCTET_STRING).content
    return dotted(extension.child(0)), critical, value


def _judge(kind: str, value: bytes, *, critical: bool) -> str | None:
    """Return what is left behind, in words; None when the profile grants it anyway. Raises CSRRefused for what no requester may ask."""
    # 1. What would give rights. It is refused and not left behind: its owner believes that it is needed, or is an attacker.
    if kind in _FORBIDDEN:
        raise _forbidden(f"It asks for {_FORBIDDEN[kind]}.")
    # 2. What the profile decides, harmless or not by its value.
    if kind == _BASIC_CONSTRAINTS:
        return _basic_constraints(value)
    if kind == _KEY_USAGE:
        return _key_usage(value)
    if kind == _EKU:
        return _extended_key_usage(value)
    # 3. The rest is left behind. A critical one means that the certificate is of no use to its owner without it (RFC 5280 4.2).
    if critical and kind not in _LEFT_OUT:
        raise _forbidden("It asks for a critical extension that is not known here.")
    return _LEFT_OUT.get(kind, f"the extension {kind}")


def _basic_constraints(value: bytes) -> str | None:
    """Return what is left behind. Empty ones are granted anyway; a written-out FALSE is common, and not DER (X.690 11.5)."""
    node = parse(value)
    tags = [field.tag for field in node.children]
    if node.tag != SEQUENCE or tags not in ([], [BOOLEAN], [INTEGER], [BOOLEAN, INTEGER]):
        raise NotDER("the basic constraints are malformed")
    if tags[:1] == [BOOLEAN] and node.child(0).content == b"\xff":
        raise _forbidden("It asks to be a CA.")
    return _LEFT_OUT[_BASIC_CONSTRAINTS] if tags else None


def _key_usage(value: bytes) -> str | None:
    """Return what is left behind; None for usages that the profile grants with some key. Those of a CA are refused."""
    node = parse(value)
    if node.tag != BIT_STRING:
        raise NotDER("a key usage is not a BIT STRING")
    # The first octet counts unused bits. decipherOnly (bit 8) stands in a second octet of usages, and is not granted.
    octets = node.content[1:]
    if any(octets and octets[0] & (0x80 >> bit) for bit in _CA_USAGE_BITS):
        raise _forbidden("It asks for the key usages of a CA (keyCertSign, cRLSign).")
    granted = octets[:1] in _GRANTED_USAGES and len(octets) <= 1
    return None if granted else "key usages beyond digital signature and key encipherment"


def _extended_key_usage(value: bytes) -> str | None:
    """Return what is left behind; None for serverAuth alone. The profile gives clientAuth, not the CSR. Others are refused."""
    node = parse(value)
    asked = {dotted(purpose) for purpose in node.children}
    if node.tag != SEQUENCE or not asked:
        raise NotDER("an extended key usage is not a list of purposes")
    if asked - _GRANTED_EKUS:
        raise _forbidden("It asks for extended key usages beyond serverAuth and clientAuth.")
    return "the extended key usages, which the profile sets" if len(asked) > 1 or _SERVER_AUTH not in asked else None


def _forbidden(message: str) -> CSRRefused:
    return CSRRefused(R.FORBIDDEN_EXTENSION, message, field="extensions", next_step="Ask for names only; the profile decides on the rest.")
