"""Targets, arguments and credentials of channels."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import sys
import threading
import time
from typing import Any

import grpc

from larder_cache._version import __version__
from larder_cache.options import Options, addresses

logger = logging.getLogger("larder_cache")

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
# How often the times of the certificate files are looked at.
_FILES_EVERY = 1.0


def grpc_target(target: str) -> str:
    """The target in gRPC's terms."""
    if target.startswith(("unix:", "dns:")):
        return target
    found = addresses(target)
    if len(found) == 1:
        return found[0]
    families = set()
    for each in found:
        try:
            families.add(ipaddress.ip_address(each.rpartition(":")[0].strip("[]")).version)
        except ValueError:
            raise ValueError(
                f"target {target!r}: several addresses must be IP addresses, which {each!r} is "
                "not; use dns:///host:port for a name with several addresses"
            ) from None
    if len(families) > 1:
        raise ValueError(f"target {target!r} mixes IPv4 and IPv6")
    return f"ipv{families.pop()}:{','.join(found)}"


def channel_arguments(options: Options) -> list[tuple[str, Any]]:
    """The arguments of a channel."""
    agent = f"larder-python/{__version__}"
    arguments: list[tuple[str, Any]] = [
        (
            "grpc.primary_user_agent",
            f"{options.user_agent} {agent}" if options.user_agent else agent,
        ),
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1800),
        # In spite of its name this is the time limit of an attempt to connect.
        ("grpc.min_reconnect_backoff_ms", max(100, int(options.connect_timeout * 1000))),
        ("grpc.max_receive_message_length", options.max_receive_bytes),
        ("grpc.enable_channelz", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 0),
    ]
    found = addresses(options.target)
    if len(found) > 1:
        # gRPC would send the whole list, which servers refuse.
        arguments.append(("grpc.default_authority", found[0]))
    if options.keepalive_time is not None:
        arguments.append(("grpc.keepalive_time_ms", int(options.keepalive_time * 1000)))
        arguments.append(("grpc.keepalive_timeout_ms", int(options.keepalive_timeout * 1000)))
    if options.server_name is not None:
        arguments.append(("grpc.ssl_target_name_override", options.server_name))
    # A connection of its own: a channel of the same arguments would share one that has gone bad.
    arguments.append(("grpc.use_local_subchannel_pool", 1))
    arguments.extend(options.channel_options)
    return arguments


def _read(path: str | None, name: str) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"{name} {path!r} cannot be read: {error.strerror}") from error


def credentials(options: Options) -> grpc.ChannelCredentials | None:
    """The credentials of a channel, from the files as they are now. None: plain text."""
    if not options.secure:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_read(options.ca_file, "ca_file"),
        private_key=_read(options.key_file, "key_file"),
        certificate_chain=_read(options.cert_file, "cert_file"),
    )


class Renewal:
    """When a channel must be replaced: its files changed, or it was idle for too long."""

    def __init__(self, options: Options) -> None:
        paths = (options.ca_file, options.cert_file, options.key_file)
        self._paths = [path for path in paths if path]
        self._max_idle = options.max_idle
        self.needed = bool(self._paths or self._max_idle)
        self._stamps = self._before = self._stat()
        self._checked = self._used = time.monotonic()

    def _stat(self) -> list[tuple[int, int] | None]:
        stamps: list[tuple[int, int] | None] = []
        for path in self._paths:
            try:
                stat = os.stat(path)
                stamps.append((stat.st_mtime_ns, stat.st_ino))
            except OSError:
                # A file that is being replaced: the old channel stays.
                stamps.append(None)
        return stamps

    def due(self) -> bool:
        """Whether the channel must be replaced before this call."""
        now = time.monotonic()
        idle, self._used = now - self._used, now
        if self._max_idle is not None and idle > self._max_idle:
            return True
        if self._paths and now - self._checked >= _FILES_EVERY:
            self._checked = now
            stamps = self._stat()
            if None not in stamps and stamps != self._stamps:
                self._before, self._stamps = self._stamps, stamps
                return True
        return False

    def failed(self, error: ValueError) -> None:
        """The files cannot be used as they are: the old channel stays, and they are read again."""
        self._stamps = self._before
        logger.warning("the connection is not replaced: %s", error)


_gevent_lock = threading.Lock()
_gevent_ready = False


def prepare_gevent() -> None:
    """Makes gRPC cooperate with gevent, if `gevent.monkey.patch_all()` was called."""
    global _gevent_ready
    monkey = sys.modules.get("gevent.monkey")
    if _gevent_ready or monkey is None or not monkey.is_module_patched("threading"):
        return
    with _gevent_lock:
        if not _gevent_ready:
            from grpc.experimental import gevent

            gevent.init_gevent()
            _gevent_ready = True
