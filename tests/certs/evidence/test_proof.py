"""The proof of a certificate as a third party checks it: with openssl, Python alone, and Go's own transparency libraries."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEvent, Checkpoint, Cosignature
from audit.transparency.sealer import seal, start_epoch
from audit.transparency.signing_key import ensure_sealing_key
from certs.evidence.archive import PROGRAMS
from certs.models import Certificate
from db.clock import database_now
from tests.audit.cosigning import WITNESS, cosign
from tests.audit.ledger import forge
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.evidence.go import KIT, TLOGCHECK, go_program
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture
def certificate(portal: Portal, settings: Any, tmp_path: Path) -> Certificate:
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    return Certificate.objects.get()


def download(portal: Portal, certificate: Certificate) -> bytes:
    client = Client()
    client.force_login(portal.alice)
    response: Any = client.get(f"/certificates/{certificate.cert_id}/proof.zip")
    assert response.status_code == 200, response.content
    return bytes(response.content)


def unpacked(content: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    (found,) = folder.iterdir()
    return found


@pytest.fixture
def folder(portal: Portal, certificate: Certificate, tmp_path: Path) -> Path:
    """What the requester downloaded, on a computer without the portal."""
    seal()
    return unpacked(download(portal, certificate), tmp_path / "laptop")


def run(*command: str | Path, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    return done.returncode, done.stdout + done.stderr


def verdicts(folder: Path) -> tuple[int, int]:
    """Exit codes of the program in the file, and of Go's own libraries."""
    return run(sys.executable, "-I", "verify.py", cwd=folder)[0], run(go_program(KIT), cwd=folder)[0]


def test_two_programs_that_are_not_the_portal_find_that_everything_holds(folder: Path, certificate: Certificate) -> None:
    for command in ((sys.executable, "-I", "verify.py"), (go_program(KIT),)):
        code, told = run(*command, cwd=folder)
        assert (code, "events hold" in told) == (0, True), told
        assert certificate.sha256_fingerprint in told
    stems = {path.stem.partition("-")[2] for path in (folder / "events").glob("*.leaf")}
    assert {"request-submitted", "policy-evaluated", "certificate-issued", "certificate-recorded"} <= stems


def test_leaves_are_the_bytes_that_the_documentation_describes(folder: Path) -> None:
    for path in (folder / "events").glob("*.leaf"):
        leaf = path.read_bytes()
        assert json.dumps(json.loads(leaf), sort_keys=True, separators=(",", ":")).encode() == leaf


def test_commands_of_check_txt_are_right_as_they_stand(folder: Path, portal: Portal) -> None:
    """What a person copies line by line: the certificate, the signature, the leaf hash."""
    text = (folder / "CHECK.txt").read_text()
    commands = re.findall(r"^  ((?:openssl|head|sed|\( printf).+)$", text, re.MULTILINE)
    told = [run("bash", "-c", command, cwd=folder) for command in commands if "YOUR-COPY" not in command]
    assert [code for code, _ in told] == [0] * 5, told
    everything = "".join(output for _, output in told)
    assert "Signature Verified Successfully" in everything
    fingerprint = re.search(r"^  ([0-9a-f]{64})$", text, re.MULTILINE)
    assert fingerprint is not None
    assert bytes.fromhex(fingerprint[1]).hex(":").upper() in everything
    root = (folder / "chain.pem").read_text().split("-----BEGIN")[-1]
    (folder / "root.pem").write_text(f"-----BEGIN{root}")
    (verify,) = [command for command in commands if "YOUR-COPY" in command]
    assert run("bash", "-c", verify.replace("YOUR-COPY-OF-THE-ROOT.pem", "root.pem"), cwd=folder)[0] == 0


def test_changed_event_certificate_signature_or_key_does_not_hold(folder: Path, tmp_path: Path) -> None:
    leaf = next((folder / "events").glob("*certificate-issued.leaf"))
    proof = leaf.with_suffix(".tlog-proof")
    other = next(path for path in (folder / "events").glob("*.leaf") if path != leaf)
    changes: dict[str, tuple[Path, Any]] = {
        "another issuer": (leaf, lambda b: b.replace(b"Internal-CA-Prod", b"Internal-CA-Test")),
        "another event": (leaf, lambda _b: other.read_bytes()),
        "another place": (proof, lambda b: re.sub(rb"index \d+", b"index 0", b)),
        "a hash less": (proof, lambda b: re.sub(rb"(index \d+\n)[^\n]+\n", rb"\1", b)),
        "another root": (proof, lambda b: re.sub(rb"\n[A-Za-z0-9+/]{43}=\n\n", b"\n" + b"A" * 43 + b"=\n\n", b)),
        "no signature": (proof, lambda b: b[: b.rindex("— ".encode())]),
        "another key": (folder / "log.vkey", lambda _b: b"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n"),
        "another certificate": (folder / "certificate.pem", lambda _b: (folder / "chain.pem").read_bytes()),
        "nothing": (folder / "certificate.pem", lambda _b: b""),
    }
    held = []
    for name, (path, change) in changes.items():
        before = path.read_bytes()
        assert change(before) != before, name
        path.write_bytes(change(before))
        held += [name for code in verdicts(folder) if code == 0]
        path.write_bytes(before)
    assert held == []
    assert verdicts(folder) == (0, 0)


def test_every_single_file_that_is_changed_cut_or_left_out_is_noticed(folder: Path) -> None:
    """One file after the other, by two programs that are not the portal."""
    # The text for people, the program itself, and what the chain adds (openssl verifies it) prove nothing.
    proving = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in {"CHECK.txt", "chain.pem", *PROGRAMS}]
    assert len(proving) > 8
    held = []
    for path in proving:
        before = path.read_bytes()
        middle = _middle_of(path.suffix, before)
        for what, content in {
            "gone": None,
            "empty": b"",
            "cut": before[: len(before) // 2],
            "one bit": before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :],
        }.items():
            path.unlink() if content is None else path.write_bytes(content)
            held += [(path.name, what) for code in verdicts(folder) if code == 0]
            path.write_bytes(before)
    assert held == []
    assert verdicts(folder) == (0, 0)


def test_event_that_is_left_out_between_two_is_noticed(folder: Path) -> None:
    """The number of each event among those of its request is in what was signed."""
    names = sorted(
        path.stem for path in (folder / "events").glob("*.leaf") if json.loads(path.read_text())["subject"].startswith("request:")
    )
    for suffix in (".leaf", ".tlog-proof"):
        (folder / "events" / f"{names[1]}{suffix}").unlink()
    assert [code for code in verdicts(folder) if code == 0] == []


def _middle_of(suffix: str, content: bytes) -> int:
    """Return the place of an octet that carries information: in base64, not in the name of a key or at the end of a line."""
    lines = content.split(b"\n")
    if suffix == ".vkey":
        return len(lines[0]) - 8
    return len(content) // 2


def test_event_that_is_not_sealed_is_named_and_not_proven(portal: Portal, certificate: Certificate, tmp_path: Path) -> None:
    client = Client()
    client.force_login(portal.alice)
    early: Any = client.get(f"/certificates/{certificate.cert_id}/proof.zip")
    assert (early.status_code, early["Retry-After"]) == (503, "30")
    assert "Nothing of certificate" in early.content.decode()
    seal()
    client.get(f"/certificates/{certificate.cert_id}/cert.pem")
    found = unpacked(download(portal, certificate), tmp_path / "laptop")
    text = (found / "CHECK.txt").read_text()
    assert "NOT PROVEN YET" in text
    assert "alice downloaded cert.pem." in text
    assert not list((found / "events").glob("*downloaded*"))
    assert verdicts(found) == (0, 0)


SWAPPED = "UPDATE audit_sealed_leaf SET leaf_hash = (SELECT leaf_hash FROM audit_sealed_leaf WHERE leaf_index = 0) WHERE leaf_index = 1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE audit_event SET actor_name = 'mallory' WHERE event = 'certificate:issued'", "is not what was sealed"),
        (SWAPPED, "not the one that was signed"),
        ("UPDATE audit_checkpoint SET root_hash = frontier || root_hash", "not the one that was signed"),
    ],
    ids=["event", "leaf of another event", "root"],
)
def test_no_proof_is_given_of_what_was_changed_in_the_database(portal: Portal, certificate: Certificate, change: str, said: str) -> None:
    seal()
    forge(change)
    client = Client()
    client.force_login(portal.alice)
    refused = client.get(f"/certificates/{certificate.cert_id}/proof.zip")
    assert refused.status_code == 409
    assert said in refused.content.decode()
    assert "verify_audit" in refused.content.decode()


def test_events_of_two_epochs_have_a_checkpoint_and_a_key_each(portal: Portal, certificate: Certificate, tmp_path: Path) -> None:
    seal()
    start_epoch(actor=SYSTEM, at=database_now())
    client = Client()
    client.force_login(portal.alice)
    client.get(f"/certificates/{certificate.cert_id}/cert.pem")
    seal()
    found = unpacked(download(portal, certificate), tmp_path / "laptop")
    assert sorted(path.name for path in found.glob("checkpoint-*")) == ["checkpoint-epoch-1.txt", "checkpoint-epoch-2.txt"]
    assert len((found / "log.vkey").read_text().splitlines()) == 2
    assert verdicts(found) == (0, 0)


def test_rest_gives_the_same_file_and_the_log_has_who_took_it(portal: Portal, certificate: Certificate, tmp_path: Path) -> None:
    seal()
    token = portal.token("certificates:read")
    client = Client(headers={"Authorization": f"Bearer {token}"})
    response: Any = client.get(f"/api/v1/certificates/{certificate.cert_id}/proof")
    assert (response.status_code, response["Content-Type"]) == (200, "application/zip")
    found = unpacked(response.content, tmp_path / "laptop")
    assert verdicts(found) == (0, 0)
    taken = AuditEvent.objects.get(event="audit:proof_downloaded")
    assert (taken.actor_kind, taken.data["of"]) == ("token", f"certificate {certificate.cert_id}")
    assert client.head(f"/api/v1/certificates/{certificate.cert_id}/proof").status_code == 200
    assert AuditEvent.objects.filter(event="audit:proof_downloaded").count() == 1


def test_cosignature_of_a_witness_goes_with_the_proof(portal: Portal, certificate: Certificate, settings: Any, tmp_path: Path) -> None:
    settings.AUDIT_WITNESSES = [f"{WITNESS} http://127.0.0.1:1"]
    seal()
    newest = Checkpoint.objects.get()
    line, signed_at = cosign(newest.note, database_now())
    Cosignature.objects.create(checkpoint_id=newest.pk, witness=WITNESS.name, line=line, signed_at=signed_at)
    found = unpacked(download(portal, certificate), tmp_path / "laptop")
    assert verdicts(found) == (0, 0)
    assert run(sys.executable, "-I", "verify.py", "--witness", "witnesses.vkey", cwd=found)[0] == 0
    (found / "other.vkey").write_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n")
    code, told = run(sys.executable, "-I", "verify.py", "--witness", "other.vkey", cwd=found)
    assert (code, "has not cosigned" in told) == (1, True)


def test_proof_needs_no_secret_and_holds_none(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes()


def test_kept_checkpoint_is_continued_or_the_difference_is_said(portal: Portal, certificate: Certificate, tmp_path: Path) -> None:
    seal()
    client = Client()
    client.force_login(portal.bob)
    kept = client.get("/audit/checkpoint.txt").content.decode()
    client.get(f"/certificates/{certificate.cert_id}/")
    client.force_login(portal.alice)
    client.get(f"/certificates/{certificate.cert_id}/cert.pem")
    seal()
    shown = client.post("/audit/consistency/", {"checkpoint": kept.replace("\n", "\r\n")})
    assert "The log continues your checkpoint." in shown.content.decode()
    api = Api(portal.token())
    code, told = api.post("/audit/consistency", {"checkpoint": kept})
    assert (code, told["success"]) == (200, True)
    files = {"old": kept, "new": told["checkpoint"], "proof": "\n".join(told["proof"]), "key": (tmp_path / "audit.pub").read_text()}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert run(go_program(TLOGCHECK), "consistency", "key", "old", "new", "proof", cwd=tmp_path) == (0, "")
    # The database is not what it was when the kept checkpoint was signed.
    first = Checkpoint.objects.order_by("tree_size")[0]
    forge(f"DELETE FROM audit_checkpoint WHERE id = {first.pk}", SWAPPED)
    assert api.post("/audit/consistency", {"checkpoint": kept})[1]["success"] is False
    assert "does not continue your checkpoint" in client.post("/audit/consistency/", {"checkpoint": kept}).content.decode()


@pytest.mark.parametrize("text", ["", "nonsense", "a/epoch-1\n5\nAAAA\n\n— a/epoch-1 AAAA\n", "x" * 30_000])
def test_what_is_no_checkpoint_of_this_log_is_refused_with_the_reason(portal: Portal, certificate: Certificate, text: str) -> None:
    seal()
    client = Client()
    client.force_login(portal.bob)
    shown = client.post("/audit/consistency/", {"checkpoint": text})
    assert shown.status_code == 422
    assert "checkpoint" in shown.content.decode()
    wrong = re.sub(r"\n\d+\n", "\n1\n", Checkpoint.objects.get().note, count=1)
    assert client.post("/audit/consistency/", {"checkpoint": wrong}).status_code == 422
