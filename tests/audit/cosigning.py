"""A witness's signatures without a witness: C2SP tlog-cosignature, written down once more."""

from __future__ import annotations

import base64
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.transparency.cosignature import WitnessKey

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
WITNESS = WitnessKey("witness.example/w1", KEY.public_key().public_bytes_raw())


def cosign(note: str, at: datetime) -> tuple[str, datetime]:
    """The line of the witness on a note, and the whole second that it is of."""
    moment = at.replace(microsecond=0)
    seconds = int(moment.timestamp())
    body = note[: note.index("\n\n") + 1]
    signature = KEY.sign(f"cosignature/v1\ntime {seconds}\n{body}".encode())
    blob = WITNESS.key_id + seconds.to_bytes(8, "big") + signature
    return f"\u2014 {WITNESS.name} {base64.b64encode(blob).decode()}\n", moment
