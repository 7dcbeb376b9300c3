"""Witnesses: parties elsewhere that sign that our tree only ever grew. C2SP tlog-witness, the side of the log.

The newest checkpoint is sent to each witness that `settings.AUDIT_WITNESSES` names, with the proof that
it continues the one that the witness cosigned last. Sealing never waits for a witness.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import requests
from django.conf import settings
from django.db import transaction

from audit.models import Checkpoint, Cosignature, WitnessState
from audit.transparency.checkpoint import NoteRefused
from audit.transparency.cosignature import WitnessKey
from audit.transparency.nodes import roots_of_ranges
from audit.transparency.proofs import ProofRefused, TreeIncomplete, consistency_proof
from db.tolerance import CLOCK_TOLERANCE

_TIMEOUT = (3.0, 7.0)  # connect, read
_WHOLE_SECONDS = 15.0
Reply = tuple[int, str, str]  # status, content type, body
_MOST_BYTES = 64 * 1024  # of an answer
_SIZE_TYPE = "text/x.tlog.size"


class WitnessFailed(RuntimeError):
    """A witness gave no cosignature. The message says why, for an operator."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its verifier key, and the address before `/add-checkpoint`."""

    key: WitnessKey
    url: str

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Read `<verifier key> <submission prefix>`. Raises NoteRefused."""
        key, _, url = text.strip().partition(" ")
        return cls(WitnessKey.parse(key), url.strip().rstrip("/"))


def configured_witnesses() -> list[Witness]:
    """Return the witnesses of the settings. Raises NoteRefused for one that cannot be read."""
    return [Witness.parse(text) for text in getattr(settings, "AUDIT_WITNESSES", [])]


class Calls(Protocol):
    """Runs a call over the network within a limit of its whole time (`keys.bounded.BoundedCalls`)."""

    def run(self, act: Callable[[], Reply], *, seconds: float) -> Reply: ...


def ask_witness(witness: Witness, *, now: datetime, calls: Calls) -> Cosignature | None:
    """Ask a witness to cosign the newest checkpoint. Returns its cosignature; None where there is nothing new.

    Effects: one or two HTTP calls outside any transaction; then the cosignature and the state of the
    witness, in one transaction. Raises WitnessFailed, after the failure is in the state.
    """
    # 1. The newest checkpoint, unless this witness has cosigned it already.
    name = witness.key.name
    state, _ = WitnessState.objects.get_or_create(witness=name, defaults={"tried_at": now, "since": now})
    newest = Checkpoint.objects.order_by("-epoch", "-tree_size").first()
    if newest is None:
        return None
    known = state.cosigned_size if state.epoch == newest.epoch else 0
    if known == newest.tree_size:
        WitnessState.objects.filter(pk=name).update(tried_at=now, error="")
        return None
    # 2. The witness verifies the consistency proof and signs; its line is verified here before anybody relies on it.
    try:
        line, signed_at = _cosigned(witness, newest, known, calls)
        _check_time(newest, signed_at, now)
    except (NoteRefused, ProofRefused, TreeIncomplete, requests.RequestException, WitnessFailed) as exc:
        why = _reason(exc)
        WitnessState.objects.filter(pk=name).update(tried_at=now, error=why[:300])
        raise WitnessFailed(f"{name}: {why}") from exc
    # 3. The line, and from which tree the next proof begins. A crash before this costs one more exchange: the witness names the
    #    size that it knows.
    with transaction.atomic():
        found, _ = Cosignature.objects.get_or_create(checkpoint_id=newest.pk, witness=name, defaults={"line": line, "signed_at": signed_at})
        WitnessState.objects.filter(pk=name).update(
            epoch=newest.epoch, cosigned_size=newest.tree_size, cosigned_at=signed_at, tried_at=now, error=""
        )
    return found


def _check_time(newest: Checkpoint, signed_at: datetime, now: datetime) -> None:
    """Raise WitnessFailed for a time at which nobody can have signed this checkpoint.

    Verifiers of a proof rely on the witness's time, and so does the alert for a silent witness.
    """
    if newest.created_at - CLOCK_TOLERANCE <= signed_at <= now + CLOCK_TOLERANCE:
        return
    where = "before the checkpoint was signed here" if signed_at < newest.created_at else "in the future"
    raise WitnessFailed(f"Its cosignature is of {signed_at:%Y-%m-%d %H:%M:%S} UTC, which is {where}: its clock is wrong.")


def _reason(exc: Exception) -> str:
    if isinstance(exc, requests.Timeout):
        return "It did not answer in time."
    if isinstance(exc, requests.RequestException):
        return "It cannot be reached."
    return str(exc)


def _cosigned(witness: Witness, newest: Checkpoint, known: int, calls: Calls) -> tuple[str, datetime]:
    """Return the line of the witness and its time. Asks a second time from the size that the witness says it knows."""
    status, content_type, answer = _post(witness, _body(newest, known), calls)
    if status == 409 and content_type == _SIZE_TYPE:
        size = answer.strip()
        if not size.isascii() or not size.isdecimal() or len(size) > 18:
            raise WitnessFailed("It answered with a size that is none.")
        if int(size) > newest.tree_size:
            raise WitnessFailed(
                f"It has cosigned a tree of {size} leaves, the newest here has {newest.tree_size}: the log was "
                "shortened or restored. Run `manage.py verify_audit`."
            )
        status, content_type, answer = _post(witness, _body(newest, int(size)), calls)
    if status != 200:
        raise WitnessFailed(_REFUSALS.get(status, f"It answered with HTTP status {status}."))
    found = witness.key.find(newest.note, answer)
    if found is None:
        raise WitnessFailed("It answered without a cosignature under its configured key.")
    return found


_REFUSALS = {
    400: "It could not read the checkpoint (400).",
    403: "It does not accept the signature of this log (403): it has another key for the log.",
    404: "It does not know this log (404): its operator adds the log's verifier key.",
    409: "It has cosigned another tree of the same size (409). Run `manage.py verify_audit` at once.",
    422: "The tree does not continue what it has cosigned before (422). Run `manage.py verify_audit` at once.",
}


def _body(newest: Checkpoint, known: int) -> str:
    """Return the body of add-checkpoint. Raises ProofRefused, TreeIncomplete."""
    root = roots_of_ranges(newest.epoch, [(0, known)])[0, known] if known else b""
    proof = consistency_proof(known, root, newest)
    lines = "".join(f"{base64.b64encode(one).decode()}\n" for one in proof)
    return f"old {known}\n{lines}\n{newest.note}"


def _post(witness: Witness, body: str, calls: Calls) -> Reply:
    # The time-outs of `requests` hold for one read, and a part of the body is read until it is whole.
    return calls.run(lambda: _exchange(witness, body), seconds=_WHOLE_SECONDS)


def _exchange(witness: Witness, body: str) -> Reply:
    with requests.post(
        f"{witness.url}/add-checkpoint",
        data=body.encode(),
        headers={"Content-Type": "text/plain; charset=utf-8"},
        timeout=_TIMEOUT,
        allow_redirects=False,
        stream=True,
    ) as response:
        content = _read(response)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return response.status_code, content_type, content.decode("utf-8", "replace")


def _read(response: requests.Response) -> bytes:
    """Return the body of a short reply. Raises WitnessFailed for one that is long."""
    content = b""
    for part in response.iter_content(4096):
        content += part
        if len(content) > _MOST_BYTES:
            raise WitnessFailed("Its answer is too long.")
    return content
