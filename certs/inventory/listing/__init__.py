"""The list of certificates: in every order, page by page, counted and saved."""
