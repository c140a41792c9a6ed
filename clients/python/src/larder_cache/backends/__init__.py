"""Backends for the cache interfaces of other libraries and frameworks.

Each module needs the library that it is named after, which an extra of this package installs.
"""
