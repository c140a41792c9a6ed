"""Starts the fleet and the services, drives them, and checks every answer."""
