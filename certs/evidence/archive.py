"""The file that holds a proof: a ZIP archive with everything that a verifier needs, and how to do it in plain words."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC
from importlib.resources import files

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.template.loader import render_to_string

from audit.transparency.checkpoint import Verifier
from audit.transparency.proofs import proof_text
from certs.evidence.proof import SEALED_WITHIN, Proof
from certs.evidence.words import words_of
from certs.x509.asn1.pem import pem_of

PROGRAMS = ("verify.py", "verify.go", "go.mod", "go.sum")
CONTENT_TYPE = "application/zip"


def file_name(proof: Proof) -> str:
    """Return the name of the archive: `proof-cert-….zip`."""
    return f"{_folder(proof)}.zip"


def archive_of(proof: Proof) -> bytes:
    """Return the archive: some kilobytes an event, and a proof has at most some thousand of them."""
    found = io.BytesIO()
    folder, when = _folder(proof), proof.made_at.astimezone(UTC).timetuple()[:6]
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _members(proof):
            member = zipfile.ZipInfo(f"{folder}/{name}", date_time=when)
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return found.getvalue()


def _folder(proof: Proof) -> str:
    return f"proof-{proof.about.replace('certificate ', '').replace(' ', '-')}"


def _members(proof: Proof) -> list[tuple[str, bytes]]:
    newest = max(proof.keys, default=0)
    verifiers = {epoch: Verifier.parse(key) for epoch, key in proof.keys.items()}
    members = [("CHECK.txt", _check_text(proof).encode())]
    if proof.certificate is not None:
        members.append(("certificate.pem", pem_of(bytes(proof.certificate.body.der)).encode()))
        members.append(("chain.pem", proof.certificate.chain.pem.encode()))
    members.append(("log.vkey", "".join(f"{key}\n" for key in proof.keys.values()).encode()))
    if newest:
        public = verifiers[newest].public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        members.append(("log-key.pem", public))
    if proof.witnesses:
        members.append(("witnesses.vkey", "".join(f"{key}\n" for key in proof.witnesses).encode()))
    members += [(f"checkpoint-epoch-{epoch}.txt", note.encode()) for epoch, note in proof.notes.items()]
    for one in proof.events:
        members.append((f"events/{one.stem}.leaf", one.leaf))
        members.append((f"events/{one.stem}.tlog-proof", proof_text(one.inclusion, one.note).encode()))
    kit = files("certs.evidence.kit")
    return members + [(name, kit.joinpath(name).read_bytes()) for name in PROGRAMS]


def _check_text(proof: Proof) -> str:
    issued = next((one for one in proof.events if one.event.event == "certificate:issued"), None)
    context = {
        "proof": proof,
        "portal": settings.PKI_PORTAL_URL,
        "issued": issued,
        "first": proof.events[0],
        "fingerprint": proof.certificate.sha256_fingerprint if proof.certificate else "",
        "waiting": [(event, words_of(event)) for event in proof.waiting],
        "ready_at": proof.made_at + SEALED_WITHIN,
        "epochs": sorted(proof.notes),
    }
    return render_to_string("audit/CHECK.txt", context)
