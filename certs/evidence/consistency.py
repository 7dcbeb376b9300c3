"""Whether the log today continues an earlier checkpoint: what somebody kept is compared with the newest."""

from __future__ import annotations

from dataclasses import dataclass

from audit.models import Checkpoint, EpochKey
from audit.transparency.checkpoint import NoteRefused, Statement, Verifier, read_statement
from audit.transparency.notes import newest_checkpoint, signed_note
from audit.transparency.proofs import ProofRefused, TreeIncomplete, consistency_proof
from certs.errors import Busy, InputRefused, NotFound

LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """An earlier checkpoint and the newest of its epoch. `proof` leads from one to the other (RFC 9162 2.1.4).

    `problem`: why the log does not continue it; empty where it does. `later_epoch`: the epoch that is
    sealed now, where the checkpoint is of an earlier one.
    """

    older: Statement
    newest: Checkpoint
    note: str
    proof: tuple[bytes, ...]
    problem: str = ""
    later_epoch: int = 0

    @property
    def continues(self) -> bool:
        """Whether the newest checkpoint continues the earlier one."""
        return not self.problem


def compare(text: str) -> Comparison:
    """Compare a signed checkpoint with the newest of its epoch.

    Raises InputRefused for what is no checkpoint of this log, signed by it; Busy while the tree is prepared.
    """
    # A browser sends line ends as CR LF (HTML, form submission); blank lines before and after are from copying.
    note = text[:LONGEST].replace("\r\n", "\n").strip("\n") + "\n"
    older = _opened(note)
    newest = newest_checkpoint(older.epoch)
    if newest is None:
        raise NotFound("The log has no tree of this epoch any more.")
    later = Checkpoint.objects.filter(epoch__gt=older.epoch).order_by("-epoch").values_list("epoch", flat=True).first() or 0
    proof: tuple[bytes, ...] = ()
    problem = ""
    try:
        proof = tuple(consistency_proof(older.size, older.root, newest))
    except ProofRefused as exc:
        problem = str(exc)
    except TreeIncomplete as exc:
        raise Busy("The tree of the audit log is being prepared for proofs.", retry_after=60, next_step="Try again in a minute.") from exc
    return Comparison(older, newest, signed_note(newest), proof, problem, later)


def _opened(note: str) -> Statement:
    """Return the statement of a note that the log itself signed. Raises InputRefused."""
    try:
        claimed = read_statement(note)
    except NoteRefused as exc:
        raise InputRefused(
            f"This is no checkpoint: {exc}",
            field="checkpoint",
            next_step="Paste the whole of it: three lines, an empty line, and the line that begins with a dash.",
        ) from exc
    key = EpochKey.objects.filter(epoch=claimed.epoch).values_list("verifier", flat=True).first()
    if key is None:
        raise InputRefused(
            f"This log has no epoch {claimed.epoch}.",
            field="checkpoint",
            next_step="Is it a checkpoint of this portal? Compare its first line with the newest checkpoint.",
        )
    try:
        return Verifier.parse(key).open(note)
    except NoteRefused as exc:
        raise InputRefused(
            f"This checkpoint is not of this log: {exc}",
            field="checkpoint",
            next_step="Compare its first line with the newest checkpoint. If the signature does not hold, it was changed, or "
            "the log has another key than it had: ask the operators, and keep what you have.",
        ) from exc
