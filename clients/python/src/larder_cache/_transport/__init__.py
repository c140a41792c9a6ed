"""Channels and calls."""
