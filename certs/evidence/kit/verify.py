#!/usr/bin/env python3
"""Verify a proof of the PKI Portal's audit log on a computer of your own, without the portal.

    python3 verify.py [FOLDER] [--key FILE] [--witness FILE]

FOLDER holds what was in the downloaded file (default: where this program is). --key: the log's
verifier key from a place that you trust, one or more lines, instead of the one in the folder.
--witness: verifier keys of witnesses, one a line, instead of witnesses.vkey in the folder; each must
have cosigned every checkpoint.

Needs Python 3.9 and the command `openssl` (3.0 or later), nothing else. Exit code 0: everything holds.
What is checked: RFC 9162 section 2.1.3.2, and c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature
and tlog-proof. Read it; it is short.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# SubjectPublicKeyInfo of an Ed25519 key (RFC 8410) without the 32 bytes of the key itself.
SPKI = bytes.fromhex("302a300506032b6570032100")


class Wrong(Exception):
    """Something does not hold."""


def signed_by(raw_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the Ed25519 signature holds, according to openssl."""
    with tempfile.TemporaryDirectory() as folder:
        parts = {"key.der": SPKI + raw_key, "message": message, "signature": signature}
        for name, content in parts.items():
            (Path(folder) / name).write_bytes(content)
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"]
        command += ["-inkey", "key.der", "-in", "message", "-sigfile", "signature"]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def read_keys(text: str) -> list[tuple[str, bytes, bytes]]:
    """Verifier keys, one a line: name, the 4 bytes that stand before its signatures, and the typed key."""
    keys = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        parts = line.strip().split("+", 2)
        if len(parts) != 3:
            raise Wrong(f"This is no verifier key: {line}")
        name, typed = parts[0], base64.b64decode(parts[2], validate=True)
        key_id = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
        if key_id.hex() != parts[1]:
            raise Wrong(f"The verifier key of {name} does not match its own hash.")
        keys.append((name, key_id, typed))
    return keys


def checkpoint_of(note: str, keys: list[tuple[str, bytes, bytes]], witnesses: list[tuple[str, bytes, bytes]]) -> tuple[str, int, bytes]:
    """Origin, size and root of a signed checkpoint. Raises Wrong unless the log's key signed it, and every witness."""
    body, _, tail = note.rpartition("\n\n")
    text = (body + "\n").encode()
    origin, size, root = body.split("\n")[:3]
    found = {}
    for line in tail.rstrip("\n").split("\n"):
        dash, name, blob = line.split(" ")
        if dash != "\u2014":
            raise Wrong("A signature line does not begin with a dash.")
        raw = base64.b64decode(blob, validate=True)
        found[name, raw[:4]] = raw[4:]
    log_keys = [key for key in keys if (key[0], key[1]) in found and key[2][:1] == b"\x01"]
    if not log_keys:
        raise Wrong(f"The checkpoint of {origin} is not signed by the key of the log.")
    for name, key_id, typed in log_keys:
        if not signed_by(typed[1:], text, found[name, key_id]):
            raise Wrong(f"The signature of {name} on the checkpoint does not hold.")
        # Logs of an early release signed under their name without the epoch.
        if name != origin and not origin.startswith(name + "/epoch-"):
            raise Wrong(f"The key of {name} signed a checkpoint of another log, {origin}.")
    for name, key_id, typed in witnesses:
        signature = found.get((name, key_id), b"")
        time = int.from_bytes(signature[:8], "big")
        message = b"cosignature/v1\ntime %d\n" % time + text
        if typed[:1] != b"\x04" or not signed_by(typed[1:], message, signature[8:]):
            raise Wrong(f"The witness {name} has not cosigned this checkpoint.")
    return origin, int(size), base64.b64decode(root, validate=True)


def root_of(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """The root to which a proof leads (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        raise Wrong("There is no such leaf in the tree.")
    node, place, last = hashlib.sha256(b"\x00" + leaf).digest(), index, size - 1
    for step in proof:
        if last == 0:
            raise Wrong("The proof is too long.")
        if place & 1 or place == last:
            node = hashlib.sha256(b"\x01" + step + node).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + step).digest()
        place, last = place >> 1, last >> 1
    if last != 0:
        raise Wrong("The proof is too short.")
    return node


def check_event(
    proof_file: Path, keys: list[tuple[str, bytes, bytes]], witnesses: list[tuple[str, bytes, bytes]]
) -> tuple[dict[str, Any], str]:
    """The event of a proof and the checkpoint that it leads to, after every step was checked. Raises Wrong."""
    head, _, note = proof_file.read_text(encoding="utf-8").partition("\n\n")
    lines = head.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
        raise Wrong("This is no proof.")
    leaf = proof_file.with_suffix(".leaf").read_bytes()
    _, size, root = checkpoint_of(note, keys, witnesses)
    hashes = [base64.b64decode(line, validate=True) for line in lines[2:]]
    if root_of(leaf, int(lines[1][6:]), size, hashes) != root:
        raise Wrong("The event is not in the signed tree: it, or its proof, was changed.")
    event: dict[str, Any] = json.loads(leaf)
    return event, note


def check_copies(folder: Path, notes: set[str], keys: list[tuple[str, bytes, bytes]]) -> None:
    """The files for checking by hand say what the proofs say. Raises Wrong."""
    copies = {path.read_text(encoding="utf-8") for path in folder.glob("checkpoint-epoch-*.txt")}
    if copies != notes:
        raise Wrong("The checkpoint-epoch files are not the checkpoints of the proofs.")
    body = re.search("-----BEGIN PUBLIC KEY-----(.+?)-----END PUBLIC KEY-----", (folder / "log-key.pem").read_text("ascii"), re.DOTALL)
    if body is None or base64.b64decode("".join(body[1].split()), validate=True) not in [SPKI + typed[1:] for _, _, typed in keys]:
        raise Wrong("log-key.pem is not the key of the log.")


def check_numbers(events: list[dict[str, Any]]) -> None:
    """No event is missing between two: each has its number among those of its request or certificate. Raises Wrong."""
    numbers: dict[str, set[int]] = {}
    for event in events:
        if event["subject"].startswith(("certificate:", "request:")):
            numbers.setdefault(event["subject"], set()).add(event["seq"])
    for subject, found in numbers.items():
        if len(found) != max(found) - min(found) + 1:
            raise Wrong(f"Events of {subject} are missing between those that are here.")


def fingerprint_of(pem_file: Path) -> str:
    """The SHA-256 fingerprint of a certificate in PEM."""
    text = pem_file.read_text(encoding="ascii")
    found = re.search("-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", text, re.DOTALL)
    if found is None:
        raise Wrong(f"{pem_file.name} holds no certificate.")
    return hashlib.sha256(base64.b64decode("".join(found[1].split()))).hexdigest()


def check_certificate(folder: Path, events: list[dict[str, Any]]) -> str:
    """What the proven events say of the certificate in the folder. Raises Wrong."""
    if not (folder / "certificate.pem").exists():
        if len(events) > 1:
            raise Wrong("certificate.pem is missing: a proof of several events is the proof of a certificate.")
        return ""
    fingerprint = fingerprint_of(folder / "certificate.pem")
    for event in events:
        data = event["data"]
        if event["event"] == "certificate:issued" and isinstance(data, dict) and data.get("sha256_fingerprint") == fingerprint:
            return f"The certificate with SHA-256 fingerprint {fingerprint} was issued as {data['cert_id']} at {event['at']}."
    raise Wrong("No proven event says that this certificate was issued.")


def verify(folder: Path, key_file: Path, witness_file: Path | None) -> str:
    """Check every proof in the folder, printing each. Returns what they say together. Raises Wrong."""
    keys = read_keys(key_file.read_text(encoding="utf-8"))
    if witness_file is None and (folder / "witnesses.vkey").exists():
        witness_file = folder / "witnesses.vkey"
    witnesses = read_keys(witness_file.read_text(encoding="utf-8")) if witness_file else []
    events, notes = [], set()
    leaves = {path.stem for path in (folder / "events").glob("*.leaf")}
    if leaves != {path.stem for path in (folder / "events").glob("*.tlog-proof")}:
        raise Wrong("An event has no proof, or a proof no event.")
    for proof_file in sorted((folder / "events").glob("*.tlog-proof")):
        try:
            event, note = check_event(proof_file, keys, witnesses)
        except (Wrong, ValueError, IndexError, OSError) as problem:
            raise Wrong(f"{proof_file.name}: {problem}") from problem
        print(f"holds: {proof_file.stem}: {event['event']} at {event['at']} by {event['actor'][1]}")
        events.append(event)
        notes.add(note)
    if not events:
        raise Wrong("The folder holds no proof.")
    check_copies(folder, notes, keys)
    check_numbers(events)
    for name, _, _ in witnesses:
        print(f"cosigned by {name}")
    return f"{len(events)} events hold. {check_certificate(folder, events)}".rstrip()


def main() -> int:
    """Exit code 0 where everything holds, else 1."""
    parser = argparse.ArgumentParser(description="Verify a proof of the PKI Portal's audit log.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--witness", type=Path)
    given = parser.parse_args()
    try:
        print(verify(given.folder, given.key or given.folder / "log.vkey", given.witness))
    except (Wrong, ValueError, OSError) as problem:
        print(f"DOES NOT HOLD: {problem}")
        return 1
    if not given.key:
        print("The key came with the proof: compare it with a copy from elsewhere (CHECK.txt, step 1).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
