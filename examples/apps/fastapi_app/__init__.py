"""Recycling and property analysis in FastAPI: most endpoints of the three systems."""
