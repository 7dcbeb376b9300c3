"""`manage.py check_csr`: judge signing requests by the gate of every channel, and issue nothing."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser

from certs.enums import RefusalClass
from certs.errors import CSRRefused
from certs.x509.csr.gate import CSRFacts, read_csr

MAX_UNPACKED = 10 * 1024 * 1024  # bytes; a file that holds more is refused without reading the rest


class Command(BaseCommand):
    help = "Judge CSR files by the gate that stands at every channel. Nothing is stored or issued."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", help="PEM or DER, packed with gzip when its name ends in .gz")
        parser.add_argument("--json", action="store_true", help="print one JSON list and nothing else on standard output")
        parser.add_argument("--policy", action="store_true", help="add the policy in force (needs the database)")
        parser.add_argument(
            "--domain",
            action="append",
            default=[],
            metavar="DOMAIN",
            help="names beneath it pass; may be given several times (default: PKI_DEFAULT_DOMAINS)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        paths = [Path(name) for name in options["files"]]
        absent = [str(path) for path in paths if not path.is_file()]
        if absent:
            raise CommandError(f"There is no file {', '.join(absent)}.", returncode=2)
        domains = [domain.lower() for domain in options["domain"]] or list(settings.PKI_DEFAULT_DOMAINS)
        judged = [_judge(path, domains) for path in paths]
        if options["policy"]:
            _add_policy(judged)
        answers = [answer for answer, _ in judged]
        if options["json"]:
            self.stdout.write(json.dumps(answers, indent=2, ensure_ascii=False))
        else:
            for answer in answers:
                self.stdout.write(_line(answer))
        if any(answer["verdict"] == "reject" for answer in answers):
            self.stdout.flush()
            sys.exit(1)


def _judge(path: Path, domains: list[str]) -> tuple[dict[str, str], CSRFacts | None]:
    try:
        facts = read_csr(_content(path), domains=domains, max_names=settings.PKI_MAX_NAMES, max_bytes=settings.PKI_MAX_CSR_BYTES)
    except CSRRefused as refused:
        reason = f"{refused.message} {refused.next_step}".strip()
        return _answer(path, "reject", str(refused.refusal), refused.field, reason), None
    notes = facts.notes if facts.verdict == "accept_normalise" else ()
    parts = [("Not taken over", facts.stripped), ("Normalised", notes)]
    reason = " ".join(f"{what}: {', '.join(texts)}." for what, texts in parts if texts)
    return _answer(path, facts.verdict, "", "", reason), facts


def _answer(path: Path, verdict: str, refusal: str, field: str, reason: str) -> dict[str, str]:
    return {"file": str(path), "verdict": verdict, "class": refusal, "field": field, "reason": reason}


def _content(path: Path) -> bytes:
    """At most MAX_UNPACKED bytes, packed or plain. Raises CSRRefused."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as exc:
        raise CSRRefused(RefusalClass.MALFORMED, "It cannot be read, or is not a whole gzip file.", next_step="Pack it again.") from exc
    if len(data) > MAX_UNPACKED:
        raise CSRRefused(RefusalClass.TOO_LARGE, "It is larger than 10 MB.", next_step="One CSR has at most 64 kB.")
    return data


def _add_policy(judged: list[tuple[dict[str, str], CSRFacts | None]]) -> None:
    """What the gate accepts, the policy may still refuse; its advice replaces the reason."""
    # the workflow brings the models along, which the command does not need without --policy
    from certs.management.csr_policy import refusals  # noqa: PLC0415

    accepted = [(answer, facts) for answer, facts in judged if facts is not None]
    reasons = refusals([facts for _, facts in accepted])
    for (answer, _), reason in zip(accepted, reasons, strict=True):
        if reason:
            answer.update(verdict="reject", field="policy", reason=reason)


def _line(answer: dict[str, str]) -> str:
    """One line for people: verdict, file, then the class and why."""
    why = ": ".join(part for part in (answer["class"], answer["reason"]) if part)
    return f"{answer['verdict']:<17} {answer['file']}{'  ' + why if why else ''}"
