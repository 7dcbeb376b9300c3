"""A policy as people read and write it: sentences, fields, YAML, and the difference of two versions. Pure."""
