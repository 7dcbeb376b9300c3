"""What the portal's commands share: `--json`, `--as`, exit codes (0 done, 1 refused or failed, 2 wrong usage) and one way to print."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from audit.files import FileNotWritten
from audit.log import Actor
from certs.access.permissions import Authority, teams_of
from certs.errors import NotUnderstood, PolicyRefused, PortalError
from certs.models import CertificateRequest, Team
from certs.requests.submit import Requester
from keys.errors import KeyBackendError
from policy.errors import PolicyError

MOST_KEY = CertificateRequest._meta.get_field("idempotency_key").max_length or 0
LONGEST_WAIT = 7 * 24 * 3600  # seconds


class PortalCommand(BaseCommand):
    """Subclasses implement `run(options) -> answer`; its `success` decides `exit_code`.

    An outage of the database or broker passes through: `manage.py` reports it for every command.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")

    def add_requester(self, parser: CommandParser) -> None:
        parser.add_argument("--as", dest="as_user", metavar="USER", help="act for this user (default: the command itself)")
        parser.add_argument("--team", help="team that will own it (default: the user's only team, or the only team)")

    def add_wait(self, parser: CommandParser, *, default: int, what: str = "for the end") -> None:
        parser.add_argument(
            "--wait", type=seconds, default=default, metavar="SECONDS", help=f"how long to wait {what} (default: %(default)s)"
        )

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def show(self, answer: dict[str, Any]) -> None:
        """How the answer is printed for people; JSON is readable enough unless a command knows better."""
        self.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False))

    def progress(self, options: dict[str, Any]) -> Callable[[str], None]:
        """Takes lines of progress: for people on standard error, each over the one before; with --json for nobody."""
        if options["json"]:
            return lambda _line: None
        return lambda line: self.stderr.write(line, ending="")

    def end_progress(self, options: dict[str, Any]) -> None:
        """What is written next begins on a line of its own."""
        if not options["json"]:
            self.stderr.write("")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answer = self._answer(options)
        except CommandError as exc:
            if not options["json"]:
                raise
            self.stdout.write(json.dumps({"success": False, "error": str(exc)}, indent=2, ensure_ascii=False))
            self.stdout.flush()
            sys.exit(exc.returncode)
        if options["json"]:
            self.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False))
        else:
            self.show(answer)
        if not answer.get("success"):
            self.stdout.flush()
            sys.exit(self.exit_code(answer))

    def _answer(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of `run`, or that of a refusal. Raises CommandError for wrong usage."""
        try:
            return self.run(options)
        except NotUnderstood as exc:
            return {"success": False, "error": exc.message, "position": exc.position, "example": exc.example}
        except PortalError as exc:
            answer = {"success": False, "error": exc.message, "type": exc.problem}
            answer |= {key: value for key, value in (("field", exc.field), ("next_step", exc.next_step)) if value}
            if isinstance(exc, PolicyRefused):
                answer |= {"policy_version": exc.policy_version, "suggestion": exc.next_step}
            return answer
        except KeyBackendError as exc:
            return {"success": False, "error": str(exc), "next_step": exc.next_step}
        except PolicyError as exc:
            return {"success": False, "error": str(exc)}
        except FileNotWritten as exc:
            return {"success": False, "error": exc.error, "next_step": exc.next_step}

    def exit_code(self, _answer: dict[str, Any]) -> int:
        """Return the exit code of an answer without success."""
        return 1

    def requester(self, options: dict[str, Any], *, idempotency_key: str = "") -> Requester:
        """Who asks, from --as and --team. Raises CommandError (exit 2) for a name that is not there."""
        if len(idempotency_key) > MOST_KEY:
            raise CommandError(f"--idempotency-key takes at most {MOST_KEY} characters.", returncode=2)
        user = self._user(options.get("as_user"))
        actor = Actor("user", user.get_username()) if user else Actor("command", self._name())
        scope = f"user:{user.pk}" if user else "command"
        return Requester(
            actor=actor,
            team=self._team(options.get("team"), user),
            channel="command",
            user=user,
            idempotency_scope=scope if idempotency_key else "",
            idempotency_key=idempotency_key,
        )

    def authority(self, options: dict[str, Any]) -> Authority:
        """Who acts, from --as; without it the command itself, which may do everything."""
        user = self._user(options.get("as_user"))
        return Authority(Actor("user", user.get_username()) if user else Actor("command", self._name()), user)

    def _user(self, name: str | None) -> Any:
        if not name:
            return None
        user = get_user_model().objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name}.", returncode=2)
        return user

    def _team(self, slug: str | None, user: Any) -> Team:
        if slug:
            found = list(Team.objects.filter(slug=slug))
        else:
            found = list(Team.objects.order_by("pk")[:2]) if user is None else teams_of(user)[:2]
        if len(found) == 1 or (found and not slug and user is None):
            return found[0]
        if not found:
            raise CommandError(
                f"There is no team {slug}." if slug else "There is no team yet; run `manage.py bootstrap` first.", returncode=2
            )
        raise CommandError("Say for which team: --team SLUG.", returncode=2)

    def _name(self) -> str:
        return self.__module__.rsplit(".", 1)[-1]


def seconds(text: str) -> float:
    """Return a time to wait. Raises ArgumentTypeError for one without an end, such as `nan`, and for one below 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= LONGEST_WAIT:
        raise ArgumentTypeError(f"takes seconds from 0 to {LONGEST_WAIT}, not {text[:40]!r}")
    return number


def begin_working(*, beat: bool = False) -> None:
    """On the embedded default the command is its own worker; in production the workers are elsewhere and this does nothing."""
    if not getattr(settings, "PKI_EMBEDDED", False):
        return
    if not settings.PKI_EMBEDDED_WORKER:
        raise ImproperlyConfigured("PKI_EMBEDDED needs PKI_EMBEDDED_WORKER, the dotted path of what starts the worker.")
    # settings name it by dotted path: certs may not import pkiportal
    import_string(settings.PKI_EMBEDDED_WORKER)(beat=beat)
