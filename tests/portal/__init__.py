"""A small portal with a cast: Alice asks for team web, Bob is of another team and must see nothing, Carol is of the security team."""
