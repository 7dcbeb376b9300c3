"""Public pages that explain: the API guide, and how to trust the CAs."""
