"""`schedules`: what runs on a schedule, whether it ran, and what waits. Exit 0 everything runs, 1 something does not, 2 wrong usage."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from audit.log import Actor
from certs.management.portal_command import PortalCommand
from certs.schedules.alarm import find_problems
from certs.schedules.machinery import Machinery, machinery
from certs.schedules.setup import restore_schedules
from db.clock import database_now


class Command(PortalCommand):
    help = (
        "Show the machinery: each job with its last and next run, queues, CAs that are stopped, mails and requests that wait. "
        "With --restore, write schedules of the settings anew that were deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--restore", action="store_true", help="write the schedules again that were deleted")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["restore"]:
            return {"success": True, "restored": restore_schedules(actor=Actor("command", "schedules"))}
        found = machinery(database_now())
        problems = [asdict(problem) for problem in find_problems(found)]
        return {"success": not problems, "problems": problems, **_as_json(found)}

    def show(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            super().show(answer)
            return
        if "restored" in answer:
            names = ", ".join(answer["restored"]) or "none was missing"
            self.stdout.write(f"Schedules written again: {names}.")
            return
        for job in answer["jobs"]:
            state = f"MISSED, {job['state']}" if job["missed"] else job["state"]
            self.stdout.write(f"{job['name']} ({job['rule']}): {state}; last {job['started_at'] or 'never'}; next {job['next_at'] or '-'}")
        for queue in answer["queues"] or []:
            if queue["messages"]:
                self.stdout.write(f"Queue {queue['name']}: {queue['messages']} message(s), the oldest since {queue['oldest_at']}")
        if answer["queues"] is None:
            self.stdout.write("The broker does not answer, so what waits in its queues is not known.")
        for problem in answer["problems"]:
            self.stdout.write(f"PROBLEM: {problem['message']}\n  What to do: {problem['next_step']}")
        if answer["success"]:
            self.stdout.write("Everything runs.")


def _as_json(found: Machinery) -> dict[str, Any]:
    return {
        "at": found.now.isoformat(),
        "beat": {
            "alive": not found.beat.dead,
            "host": found.beat.host,
            "since": _iso(found.beat.since),
            "silent_since": _iso(found.beat.silent_since),
        },
        "jobs": [
            {
                "name": job.name,
                "task": job.task,
                "rule": job.rule,
                "state": str(job.state),
                "missed": job.missed,
                "started_at": _iso(job.started_at),
                "finished_at": _iso(job.finished_at),
                "seconds": job.seconds,
                "next_at": _iso(job.next_at),
                "error": job.error,
                "periods_missed": job.periods_missed,
                "caught_up_at": _iso(job.caught_up_at),
            }
            for job in found.jobs
        ],
        "queues": None
        if found.queues is None
        else [
            {
                "name": queue.name,
                "messages": queue.length,
                "oldest_at": _iso(queue.oldest_at),
                "finished_at": _iso(queue.finished_at),
                "stuck": queue in found.stuck_queues,
            }
            for queue in found.queues
        ],
        "stopped_cas": [
            {"name": issuer.name, "since": _iso(issuer.circuit_opened_at), "reason": issuer.circuit_reason} for issuer in found.stopped_cas
        ],
        "mails_waiting": {"count": found.mails.count, "oldest_at": _iso(found.mails.oldest_at)},
        "requests_stuck": {"count": found.stuck_requests.count, "oldest_at": _iso(found.stuck_requests.oldest_at)},
        "audit": {
            "unsealed": found.unsealed_events.count,
            "oldest_unsealed_at": _iso(found.unsealed_events.oldest_at),
            "newest_checkpoint_at": _iso(found.newest_checkpoint_at),
        },
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
