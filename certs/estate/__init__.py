"""The estate page: what needs a person, what ends and when, and whether the machinery works.

Counts come from the kept figures (`certs.inventory.figures`), so that no page counts a million
rows; lists are short and bounded; each number has the address of the list that it counts.
"""
