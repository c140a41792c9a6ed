"""The logic of the client, written once as coroutines over an `Io`.

The blocking client runs a coroutine with `drive`: all that it awaits blocks and completes at once.
"""
