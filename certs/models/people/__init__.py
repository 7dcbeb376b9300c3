"""Teams, permissions, API tokens and sign-ins."""
