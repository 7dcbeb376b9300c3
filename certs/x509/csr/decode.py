"""What people paste or upload, down to the DER of one CSR: armour (RFC 7468), other objects, and secrets that must not be here. Pure.

The text that came in never becomes part of an exception.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused
from certs.x509.asn1.reader import NotDER, length_of
from certs.x509.csr.mending import mend
from certs.x509.csr.other_objects import JWK, SPKAC, SSH_PUBLIC_KEY, OtherObject, by_label, recognised
from certs.x509.csr.private_keys import find_exposed_keys, find_private_key

CSR_LABELS = {"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}
_WHOLE = "It was damaged on its way: copy or send it again, whole, as the tool wrote it, from its BEGIN line to its END line."
WANTED = "Send one PKCS#10 request: -----BEGIN CERTIFICATE REQUEST----- and so on, or its DER."
REPLACE_KEY = "Treat that key as exposed and make a new one; send only the CSR. Nobody here ever needs a private key."

_BLOCK = re.compile(rb"-----BEGIN ([^\r\n]*?)-----(.*?)-----END ([^\r\n]*?)-----", re.DOTALL)
_BEGIN, _END = re.compile(rb"-----BEGIN ([^\r\n]*?)-----"), re.compile(rb"-----END ([^\r\n]*?)-----")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
# Blanks only, no line ends: `^\s*` costs the square of the number of empty lines.
_SSH_PUBLIC = re.compile(rb"^[ \t]*(\S+ )?(ssh-(rsa|dss|ed25519)|ecdsa-sha2-\S+|sk-(ssh|ecdsa)\S+) AAAA", re.MULTILINE)
_SSH2_PUBLIC = b"BEGIN SSH2 PUBLIC KEY"
_MOST_BLOCKS = 100  # more BEGIN lines than anybody pastes; matching ends to them takes time
_TYPOGRAPHIC = re.compile("[\u2010-\u2015\u2212]{2,}\\s*(?:BEGIN|END) ")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`notes`: in words, what had to be put right before it could be read."""

    der: bytes
    notes: tuple[str, ...] = ()


def unpack(data: bytes) -> Unpacked:
    """Return the DER of what was sent. Private keys are searched in it as it came, and again inside
    its base64. Raises CSRRefused.
    """
    # Before anything is decoded or refused for another reason: a broken paste that holds a key must be reported as a key, and
    # its text must never reach a log as part of a parser's error.
    refuse_secret(data)
    unpacked = _unpack(data)
    if unpacked.der is not data:
        refuse_secret(unpacked.der)
    return unpacked


def _unpack(data: bytes) -> Unpacked:
    if not data.strip():
        raise CSRRefused(R.MALFORMED, "There is nothing in it.", next_step=WANTED)
    # 0x30 is SEQUENCE, and the digit 0 in a text: DER of a request is never ASCII throughout, for its lengths exceed 127.
    if data[:1] == b"\x30" and not data.isascii():
        return _from_der(data)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CSRRefused(R.MALFORMED, "It is saved as UTF-16.", next_step="Save it as plain text (ASCII or UTF-8) and send it again.")
    text = data.removeprefix(b"\xef\xbb\xbf")
    mended, notes = mend(text)
    if b"-----BEGIN" in mended or b"-----END" in mended:
        return Unpacked(_from_armour(mended), notes)
    return _from_plain(mended, notes)


def _from_der(data: bytes) -> Unpacked:
    """Read binary, perhaps with the line end that an editor or a shell put behind it."""
    try:
        end = length_of(data)
    except NotDER:
        end = len(data)
    if data[end:] and not data[end:].strip(b"\r\n"):
        return Unpacked(_only_csr(data[:end]), ("a line end behind the request was left out",))
    return Unpacked(_only_csr(data))


def refuse_secret(data: bytes) -> None:
    """Refuse private keys, whatever else is pasted with them and however broken they are. Raises CSRRefused(secret_pasted)."""
    if find_private_key(data) is not None:
        raise CSRRefused(
            R.SECRET_PASTED, "A private key was pasted in place of a CSR.", next_step=REPLACE_KEY, exposed_keys=find_exposed_keys(data)
        )


def _from_armour(text: bytes) -> bytes:
    # 1. Exactly one block. Of several, which one was meant? The next parser might choose another.
    if len(_BEGIN.findall(text)) > _MOST_BLOCKS:
        raise CSRRefused(R.MULTIPLE_OBJECTS, "It holds far more than one object; send one CSR.", next_step=WANTED)
    blocks = list(_BLOCK.finditer(text))
    if not blocks or len(_BEGIN.findall(text)) != len(blocks) or len(_END.findall(text)) != len(blocks):
        raise CSRRefused(R.MALFORMED, "Its BEGIN and END lines do not go together.", next_step=_WHOLE)
    labels = [block.group(1).decode("latin-1") for block in blocks]
    if len(blocks) > 1:
        what = "several CSRs" if set(labels) <= CSR_LABELS else "more than a CSR"
        raise CSRRefused(R.MULTIPLE_OBJECTS, f"It holds {what}; send one CSR.", next_step="Send them one by one, or as a bulk order.")
    # 2. Its label, which must be the same at both ends and that of a request.
    (block,), (label,) = blocks, labels
    if block.group(3) != block.group(1):
        raise CSRRefused(R.MALFORMED, "Its BEGIN and END lines name different things.", next_step=_WHOLE)
    if label not in CSR_LABELS:
        if label.strip() in CSR_LABELS:
            raise CSRRefused(R.MALFORMED, "Its BEGIN line is not written as RFC 7468 requires.", next_step=WANTED)
        raise wrong_object(by_label(label, block.group(2)))
    # 3. Its content, which may be another object than the label says.
    _check_line_ends(text, block)
    der = _decoded(block.group(2))
    inside = recognised(der)
    if inside:
        what = f"Under the label {label} it holds {inside.name}, not a CSR."
        raise CSRRefused(R.MALFORMED, what, next_step=inside.next_step)
    return der


def _check_line_ends(text: bytes, block: re.Match[bytes]) -> None:
    """Check that BEGIN and END have lines of their own; a quotation mark may be beside them, as in JSON and settings files."""
    before, after = text[: block.start()].rstrip(b" \t"), block.group(2)
    if (before and not before.endswith((b"\n", b"\r", b'"', b"'"))) or not after[:1].isspace() or not after[-1:].isspace():
        raise CSRRefused(R.MALFORMED, "Its BEGIN and END lines must stand on lines of their own.", next_step=_WHOLE)


def wrong_object(other: OtherObject) -> CSRRefused:
    """Return the refusal of an object that is certainly no CSR, with the next step for its owner."""
    return CSRRefused(R.WRONG_OBJECT, f"It is {other.name}, not a CSR.", next_step=other.next_step)


def _decoded(text: bytes) -> bytes:
    joined = b"".join(text.split())
    if not _BASE64.fullmatch(joined):
        raise CSRRefused(R.MALFORMED, "Between BEGIN and END there is something other than base64.", next_step=_WHOLE)
    try:
        return base64.b64decode(joined, validate=True)
    except binascii.Error as exc:
        raise CSRRefused(R.MALFORMED, "Its base64 is cut off or damaged.", next_step="Copy it again, whole.") from exc


def _from_plain(text: bytes, notes: tuple[str, ...]) -> Unpacked:
    """Read a text without BEGIN and END: an SSH key, a JWK, bare base64, or nothing of use."""
    if _SSH_PUBLIC.search(text) or _SSH2_PUBLIC in text:
        raise wrong_object(SSH_PUBLIC_KEY)
    if text.lstrip()[:1] == b"{" and _is_jwk(text):
        raise wrong_object(JWK)
    if text.lstrip()[:6].upper() == b"SPKAC=":
        raise wrong_object(SPKAC)
    if _TYPOGRAPHIC.search(text.decode("utf-8", "replace")):
        raise CSRRefused(
            R.MALFORMED,
            "Its BEGIN and END lines have typographic dashes instead of five hyphens; a word processor or a mail program changed them.",
            next_step="Send the file that the tool wrote, or write -----BEGIN CERTIFICATE REQUEST----- with hyphens.",
        )
    joined = b"".join(text.split())
    # A request has some hundred octets at least; shorter texts of these letters are words.
    if len(joined) >= 64 and _BASE64.fullmatch(joined):
        try:
            decoded = base64.b64decode(joined, validate=True)
        except binascii.Error as exc:
            raise CSRRefused(R.MALFORMED, "Its base64 is cut off or damaged.", next_step="Copy it again, whole.") from exc
        if decoded.lstrip().startswith(b"-----BEGIN "):
            refuse_secret(decoded)
            inner = _unpack(decoded)
            return Unpacked(inner.der, (*notes, "the whole request was in base64 once more, as in a Kubernetes manifest", *inner.notes))
        return Unpacked(_only_csr(decoded), (*notes, "it is base64 without its BEGIN and END lines"))
    if text[:1] == b"\x30":
        return Unpacked(_only_csr(text), notes)
    raise CSRRefused(R.MALFORMED, "It is not a CSR.", next_step=WANTED)


def _is_jwk(text: bytes) -> bool:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and ("kty" in content or "keys" in content)


def _only_csr(der: bytes) -> bytes:
    """Return binary without a label, refusing what is certainly another object; the rest is checked as a CSR."""
    other = recognised(der)
    if other:
        raise wrong_object(other)
    return der
