"""Checkpoints as they are given away: the signed note with the lines of its witnesses."""

from __future__ import annotations

from audit.models import Checkpoint, Cosignature


def newest_checkpoint(epoch: int | None = None) -> Checkpoint | None:
    """Return the checkpoint that the sealer signed last, of all epochs or of one."""
    rows = Checkpoint.objects.all() if epoch is None else Checkpoint.objects.filter(epoch=epoch)
    return rows.order_by("-epoch", "-tree_size").first()


def best_checkpoint(epoch: int, *, above: int) -> Checkpoint | None:
    """Return a checkpoint whose tree has the leaf `above`: the newest that a witness has cosigned, else the newest."""
    last = Cosignature.objects.order_by("-checkpoint_id").values_list("checkpoint_id", flat=True).first()
    cosigned = Checkpoint.objects.filter(pk=last, epoch=epoch, tree_size__gt=above).first() if last else None
    if cosigned is not None:
        return cosigned
    return newest_checkpoint(epoch)


def signed_note(checkpoint: Checkpoint) -> str:
    """Return the signed checkpoint with the lines of its witnesses (C2SP tlog-cosignature)."""
    lines = Cosignature.objects.filter(checkpoint_id=checkpoint.pk).order_by("witness")
    return checkpoint.note + "".join(lines.values_list("line", flat=True))
