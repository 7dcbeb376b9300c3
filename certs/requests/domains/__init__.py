"""Domains that a team asks for."""
