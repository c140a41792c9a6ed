"""Property valuation in Flask."""
