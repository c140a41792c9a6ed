"""Shared by the Python services: the database, the settings and who is logged in."""
