"""The portal's pages: thin views over the same use cases as every other channel."""
