"""Teams and people: domains, members, roles, invitations, and what happens when somebody leaves."""
