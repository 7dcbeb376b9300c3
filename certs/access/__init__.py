"""Who may do what: permissions, roles, membership, persons and API tokens."""
