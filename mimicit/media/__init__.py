"""Bytes of pictures: measured here, kept as they were given."""
