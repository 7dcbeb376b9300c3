"""Who may do what: permissions, roles, membership, API tokens, sign-in limits, sessions."""
