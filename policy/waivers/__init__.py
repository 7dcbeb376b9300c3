"""Exceptions from one rule of the policy, for named names or teams, until a date."""
