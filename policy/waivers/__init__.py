"""Waivers: exceptions from one rule of a policy, for certain names or teams, until a date."""
