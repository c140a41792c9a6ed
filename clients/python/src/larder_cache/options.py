"""Options of a client, its presets and the environment."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Union

from larder_cache.durations import Duration, seconds

__all__ = ["OnError", "Options", "Preset", "TokenSource", "make_options"]

Preset = Literal["service", "local", "low_latency", "lambda"]
OnError = Literal["open", "raise"]

TokenSource = Union[str, Callable[[], str | tuple[str, float] | Awaitable[str | tuple[str, float]]]]
"""A token, or a callable that returns one, or one with the seconds for which it is valid."""

DEFAULT_TARGET = "127.0.0.1:50051"

_KEEPALIVE: dict[str, Any] = {"keepalive_time": 30.0, "keepalive_timeout": 10.0}
_PRESETS: dict[str, dict[str, Any]] = {
    "service": {"call_timeout": 0.5, "connect_timeout": 1.0, "fetch_margin": 1.0, **_KEEPALIVE},
    "local": {"call_timeout": 5.0, "connect_timeout": 5.0, "fetch_margin": 5.0},
    "low_latency": {
        "call_timeout": 0.1,
        "connect_timeout": 0.5,
        "fetch_margin": 0.25,
        **_KEEPALIVE,
    },
    "lambda": {
        "call_timeout": 1.0,
        "connect_timeout": 1.0,
        "fetch_margin": 1.0,
        "max_idle": 240.0,
    },
}


@dataclasses.dataclass(frozen=True)
class Options:
    """All options of a client. Times are in seconds."""

    target: str
    call_timeout: float
    connect_timeout: float
    fetch_margin: float
    wait: float = 5.0
    keepalive_time: float | None = None
    keepalive_timeout: float = 10.0
    max_idle: float | None = None
    namespace_prefix: str = ""
    on_error: OnError = "open"
    token: TokenSource | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    tls: bool = False
    server_name: str | None = None
    allow_plaintext_token: bool = False
    schema_version: str | None = None
    user_agent: str | None = None
    max_receive_bytes: int = 16 * 1024 * 1024
    background_limit: int = 16
    telemetry: bool = True
    channel_options: tuple[tuple[str, Any], ...] = ()

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.tls or bool(self.ca_file or self.cert_file)


_TIMES = (
    "call_timeout",
    "connect_timeout",
    "fetch_margin",
    "wait",
    "keepalive_time",
    "keepalive_timeout",
    "max_idle",
)
_TEXTS = (
    "namespace_prefix",
    "ca_file",
    "cert_file",
    "key_file",
    "server_name",
    "schema_version",
    "user_agent",
)
_INTEGERS = ("max_receive_bytes", "background_limit")
_TOKEN = re.compile(r"[\x21-\x7e]+")


def is_token(text: str) -> bool:
    """Whether a header can have the text as a token."""
    return _TOKEN.fullmatch(text) is not None


def _check_types(values: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        value = values.get(name)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be text, not {value!r}")
    for name in _INTEGERS:
        value = values.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, not {value!r}")
    token = values.get("token")
    if token is not None and not callable(token):
        if not isinstance(token, str):
            raise TypeError(f"token must be text or a callable, not {type(token).__name__}")
        if not is_token(token):
            # Its value stays out of messages.
            raise ValueError("token must be printable ASCII without white space")


def _from_environment(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "target": "LARDER_ENDPOINT",
        "token": "LARDER_TOKEN",
        "ca_file": "LARDER_CA_FILE",
        "cert_file": "LARDER_CERT_FILE",
        "key_file": "LARDER_KEY_FILE",
    }
    return {
        name: value
        for name, variable in names.items()
        if given.get(name) is None and (value := os.environ.get(variable))
    }


def addresses(target: str) -> list[str]:
    """The addresses of a target, without scheme. Raises `ValueError`."""
    if target.startswith("unix:"):
        if len(target) == len("unix:"):
            raise ValueError(f"target {target!r} has no path")
        return [target]
    plain = target.partition(":///")[2] if target.startswith("dns:///") else target
    if "://" in plain:
        raise ValueError(f"target must be host:port, dns:///host:port or unix:path, not {target!r}")
    found = [each.strip() for each in plain.split(",")]
    for each in found:
        host, colon, port = each.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"target {target!r}: {each!r} is not host:port")
    return found


def is_loopback(target: str) -> bool:
    """Whether all addresses of a target are on this machine."""
    for each in addresses(target):
        if each.startswith("unix:"):
            continue
        host = each.rpartition(":")[0].strip("[]")
        if host == "localhost":
            continue
        try:
            if not ipaddress.ip_address(host).is_loopback:
                return False
        except ValueError:
            return False
    return True


def make_options(preset: Preset, given: Mapping[str, Any]) -> Options:
    """The options of a preset, with those that are given or in the environment."""
    if preset not in _PRESETS:
        raise ValueError(f"preset must be one of {', '.join(_PRESETS)}, not {preset!r}")
    values: dict[str, Any] = {"target": DEFAULT_TARGET, **_PRESETS[preset]}
    values.update(_from_environment(given))
    values.update((name, value) for name, value in given.items() if value is not None)
    for name in _TIMES:
        if values.get(name) is not None:
            value: Duration = values[name]
            values[name] = seconds(value, name)
            if values[name] <= 0:
                raise ValueError(f"{name} must be positive, not {value!r}")
    for name in ("ca_file", "cert_file", "key_file"):
        if isinstance(values.get(name), os.PathLike):
            values[name] = os.fspath(values[name])
    _check_types(values)
    options = Options(**values)
    addresses(options.target)
    if options.on_error not in ("open", "raise"):
        raise ValueError(f'on_error must be "open" or "raise", not {options.on_error!r}')
    if bool(options.cert_file) != bool(options.key_file):
        raise ValueError("cert_file and key_file belong together")
    if not 1 <= options.background_limit <= 1024:
        raise ValueError(f"background_limit must be 1 to 1,024, not {options.background_limit!r}")
    if options.max_receive_bytes <= 0:
        raise ValueError(f"max_receive_bytes must be positive, not {options.max_receive_bytes!r}")
    version = options.schema_version
    if version is not None and not (
        0 < len(version) <= 64
        and version.isascii()
        and all(c.isalnum() or c in "._-" for c in version)
    ):
        raise ValueError(f"schema_version must be 1 to 64 of A-Za-z0-9._-, not {version!r}")
    plain_allowed = options.secure or options.allow_plaintext_token or is_loopback(options.target)
    if options.token is not None and not plain_allowed:
        raise ValueError(
            f"a token is not sent to {options.target!r} over plain text: set ca_file, tls=True or "
            "allow_plaintext_token=True"
        )
    return options
