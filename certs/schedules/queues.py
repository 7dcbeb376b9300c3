"""The queues: how many messages wait, since when, and when a task of each last ended."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from celery import current_app
from django.conf import settings
from django.db import Error
from django.db.models import Q
from kombu.exceptions import OperationalError

from certs.models import QueueProgress
from db.clock import database_now

log = logging.getLogger(__name__)

RECORD_EVERY_SECONDS = 10.0
BROKER_TIMEOUT = 2.0  # seconds

_last_recorded: dict[str, float] = {}
_recording = threading.Lock()


class BrokerUnreachable(Exception):
    """The broker does not answer."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue now.

    Attributes:
        oldest_at: When the oldest waiting message was published; None when none waits or when the
            broker keeps its messages in this process.
        finished_at: When a task of this queue last ended, to within RECORD_EVERY_SECONDS.
    """

    name: str
    length: int
    oldest_at: datetime | None
    finished_at: datetime | None


def task_ended(queue: str) -> None:
    """Record that a worker finishes what this queue gives it; seldom, and never failing its task."""
    with _recording:
        moment = time.monotonic()
        if not queue or moment - _last_recorded.get(queue, -RECORD_EVERY_SECONDS) < RECORD_EVERY_SECONDS:
            return
        _last_recorded[queue] = moment
    try:
        now = database_now()
        # Another process may have recorded a moment ago; a time in the future is not trusted.
        stale = Q(finished_at__lt=now - timedelta(seconds=RECORD_EVERY_SECONDS / 2)) | Q(finished_at__gt=now)
        if not QueueProgress.objects.filter(stale, name=queue).update(finished_at=now):
            QueueProgress.objects.bulk_create([QueueProgress(name=queue, finished_at=now)], ignore_conflicts=True)
    except Error as exc:
        log.warning("the progress of the queue %s could not be recorded: %s", queue, type(exc).__name__)


def queue_states() -> list[QueueState]:
    """Return every queue of the settings. Raises BrokerUnreachable."""
    names = [str(queue.name) for queue in settings.CELERY_TASK_QUEUES]
    finished = dict(QueueProgress.objects.values_list("name", "finished_at"))
    if settings.CELERY_BROKER_URL.startswith(("redis://", "rediss://")):
        waiting = _in_redis(names)
    else:
        waiting = [(length, None) for length in _lengths(names)]
    return [QueueState(name, length, oldest, finished.get(name)) for name, (length, oldest) in zip(names, waiting, strict=True)]


def _in_redis(names: Sequence[str]) -> list[tuple[int, datetime | None]]:
    """Return length and time of the oldest message of each queue.

    A queue is a list of that name, whose oldest message is the last one (kombu, "Redis transport").
    """
    broker = redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=BROKER_TIMEOUT, socket_connect_timeout=BROKER_TIMEOUT)
    try:
        with broker.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.llen(name)
                pipeline.lindex(name, -1)
            replies = pipeline.execute()
    except (redis.RedisError, OSError) as exc:
        raise BrokerUnreachable(type(exc).__name__) from exc
    finally:
        broker.close()
    return [(int(length), _published_at(message)) for length, message in zip(replies[::2], replies[1::2], strict=True)]


def _published_at(message: bytes | None) -> datetime | None:
    if message is None:
        return None
    try:
        return datetime.fromtimestamp(float(json.loads(message)["headers"]["published_at"]), UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):  # not one of the portal's messages
        return None


def _lengths(names: Sequence[str]) -> list[int]:
    lengths = []
    try:
        with current_app.connection_for_write() as connection:
            connection.connect()
            for name in names:
                try:
                    lengths.append(connection.default_channel.queue_declare(queue=name, passive=True).message_count)
                except connection.channel_errors:
                    lengths.append(0)  # nothing was ever sent there
    except (OperationalError, OSError) as exc:
        raise BrokerUnreachable(type(exc).__name__) from exc
    return lengths
