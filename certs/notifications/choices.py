"""Which mails a person wants: a choice for each topic that can be switched off."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction

from certs.errors import InputRefused
from certs.models import MailChoice
from certs.notifications.topics import Topic

# Alerts go to addresses in the settings and not to accounts, so they are no person's choice.
OF_PERSONS = tuple(topic for topic in Topic if topic is not Topic.MACHINERY)


def unwanted_by(user: Any) -> set[Topic]:
    """Return the topics that the person switched off."""
    rows = MailChoice.objects.filter(user=user, wanted=False).values_list("topic", flat=True)
    return {topic for topic in Topic if topic in set(rows) and topic.is_optional}


@transaction.atomic
def choose(user: Any, wanted: Collection[str]) -> None:
    """Keep which of the optional topics the person wants; all others are switched off.

    Raises InputRefused for a topic that does not exist.
    """
    unknown = sorted(set(wanted) - set(Topic))
    if unknown:
        raise InputRefused(
            "There is no such topic of mails.",
            field="topics",
            next_step="Open the page again and choose anew.",
        )
    for topic in OF_PERSONS:
        if topic.is_optional:
            MailChoice.objects.update_or_create(user=user, topic=topic, defaults={"wanted": topic in wanted})
