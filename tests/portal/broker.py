"""What waits in the broker."""

from __future__ import annotations

from pkiportal.celery import app


def messages() -> dict[str, int]:
    """Return how many messages wait in each queue that has some."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        sizes = {queue.name: channel.queue_declare(queue=queue.name).message_count for queue in app.conf.task_queues}
    return {name: size for name, size in sizes.items() if size}
