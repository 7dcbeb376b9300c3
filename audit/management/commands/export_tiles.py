"""`export_tiles`: the audit log as files that any reader of transparency logs understands (C2SP tlog-tiles)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.models import Checkpoint, EpochKey
from audit.transparency.nodes import TreeIncomplete
from audit.transparency.notes import signed_note
from audit.transparency.tiles import EntryTooLong, write_tiles


class Command(BaseCommand):
    help = "Write the sealed audit log below FOLDER as C2SP tlog-tiles, one folder for each epoch. Run again, it adds what is new."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="FOLDER")
        parser.add_argument("--epoch", type=int, metavar="N", help="only this epoch")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        epochs = EpochKey.objects.order_by("epoch")
        if options["epoch"] is not None:
            epochs = epochs.filter(epoch=options["epoch"])
        result = []
        for key in epochs:
            newest = Checkpoint.objects.filter(epoch=key.epoch).order_by("-tree_size").first()
            if newest is None:
                continue
            folder = options["folder"] / f"epoch-{key.epoch}"
            try:
                count = write_tiles(folder, newest, signed_note(newest))
                (folder / "log.vkey").write_text(f"{key.verifier}\n", encoding="utf-8")
            except (OSError, TreeIncomplete, EntryTooLong) as exc:
                raise CommandError(
                    f"Stopped at epoch {key.epoch}: {str(exc).removesuffix('.')}. The log is untouched; run it again."
                ) from exc
            result.append({"epoch": key.epoch, "size": newest.tree_size, "files": count, "folder": str(folder)})
        if not result:
            raise CommandError("Nothing is sealed yet. `manage.py seal_audit` seals what waits.")
        if options["json"]:
            self.stdout.write(json.dumps({"success": True, "epochs": result}))
            return
        for one in result:
            self.stdout.write(f"Epoch {one['epoch']}: {one['size']} events, {one['files']} files written to {one['folder']}.")
