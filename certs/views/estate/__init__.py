"""The estate: one page for the state of all certificates, and what is to come."""
