"""`manage.py identify_user`: say which person an account belongs to, for decisions that need two persons."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import CommandError, CommandParser
from django.db import transaction

from audit.changes import attribute
from audit.log import Actor
from certs.errors import InputRefused
from certs.management.portal_command import PortalCommand
from certs.requests.exposure.refused_secrets import refuse_secrets
from policy.models import Person

MOST_ID = Person._meta.get_field("person_id").max_length or 0
ACTOR = Actor("command", "identify_user")


class Command(PortalCommand):
    help = "Store which person an account belongs to. Approving and publishing need two persons."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--person-id", default=None, metavar="ID", help="the same for all accounts of one person")
        parser.add_argument("--email-verified", action="store_true", help="the account's e-mail address is that person's; you checked it")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["person_id"] is None and not options["email_verified"]:
            raise CommandError("Give --person-id, --email-verified or both.", returncode=2)
        user = get_user_model().objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']}.", returncode=2)
        if options["email_verified"] and not user.email:
            raise InputRefused(f"{user} has no e-mail address.", field="email", next_step="Enter one in the admin first.")
        refuse_secrets(options["person_id"] or "", actor=ACTOR, team="", field="person_id")
        if len(options["person_id"] or "") > MOST_ID:
            raise InputRefused(
                f"The id of a person has at most {MOST_ID} characters.", field="person_id", next_step="Give the one of your directory."
            )
        with transaction.atomic():
            person = Person.objects.select_for_update().filter(user=user).first() or Person(user=user)
            if options["person_id"] is not None:
                person.person_id = options["person_id"].strip()
            if options["email_verified"]:
                person.verified_email = user.email
            attribute(person, ACTOR)
            person.save()
        return {"success": True, "user": user.get_username(), "person_id": person.person_id, "verified_email": person.verified_email}
