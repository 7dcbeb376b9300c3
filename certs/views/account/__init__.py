"""Pages of the signed-in person: sign-in, tokens, mails and webhooks."""
