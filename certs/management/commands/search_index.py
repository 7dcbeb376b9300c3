"""`search_index`: make the index of parts of names. Exit 0 it is there or not needed, 1 it cannot be made, 2 wrong usage."""

from __future__ import annotations

from typing import Any

from django.db import connection

from certs.inventory.name_index import MEANING, NAME_PART, WITHOUT, next_step
from certs.management.portal_command import PortalCommand
from db.trigrams import IndexNotPossible, IndexState, make_index, state_of_index

_SENTENCES = {
    IndexState.READY: "Searches for a part of a name use the index.",
    IndexState.BEING_MADE: "Another session is making the index.",
    IndexState.NOT_NEEDED: "This database needs no index of parts of names.",
}


class Command(PortalCommand):
    help = (
        "Make the index with which PostgreSQL finds parts of names, where `migrate` could not. "
        "The portal stays in use; with 1,000,000 certificates it takes half a minute."
    )

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        before = state_of_index(NAME_PART, connection)
        try:
            make_index(NAME_PART, connection)
        except IndexNotPossible as exc:
            error = f"{exc} {MEANING}"
            return {"success": False, "error": error, "next_step": next_step(exc)}
        state = state_of_index(NAME_PART, connection)
        return {"success": True, "index": NAME_PART.name, "state": state, "made": before in WITHOUT}

    def show(self, answer: dict[str, Any]) -> None:
        if answer["success"]:
            made = "The index was made. " if answer["made"] else ""
            self.stdout.write(f"{made}{_SENTENCES[answer['state']]}")
        else:
            self.stdout.write(f"{answer['error']}\nWhat to do: {answer['next_step']}")
