"""Old keys as namespaces and keys, and the environment variables."""

import pytest

from larder_cache.compat import settings
from larder_cache.compat.adaptive_cache import UpdateLog, get_adaptive_ttl, note_update
from larder_cache.compat.old_keys import split, split_pattern


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("cache:user:7:profile", ("user", "7:profile")),
        ("user:7", ("user", "7")),
        ("u123", ("general", "u123")),
        ("cache:x", ("general", "x")),
        ("rate_limit:ip:192.168.1.1", ("rate_limit", "ip:192.168.1.1")),
    ],
)
def test_keys(key, found):
    assert split(key) == found


@pytest.mark.parametrize("key", ["", ":x", "user:", "cache:"])
def test_keys_with_an_empty_part_are_refused(key):
    with pytest.raises(ValueError, match="has an empty part"):
        split(key)


def test_keys_that_are_no_text_are_refused():
    with pytest.raises(TypeError, match="key must be text, not int"):
        split(5)
    with pytest.raises(TypeError, match="pattern must be text"):
        split_pattern(None)


def test_the_prefix_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("REDIS_CACHE_KEY_PREFIX", "app")
    assert split("app:user:7") == ("user", "7")
    assert split("cache:user:7") == ("cache", "user:7")
    monkeypatch.setenv("REDIS_CACHE_KEY_PREFIX", "")
    assert split("cache:user:7") == ("cache", "user:7")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("cache:user:7:*", [("user", "7:*")]),
        ("user:*", [("user", "*")]),
        ("cache:user:*:profile", [("user", "*:profile")]),
        ("areas*", [("general", "areas*"), ("areas", "*")]),
        ("a?*", [("general", "a?*")]),
        ("plain", [("general", "plain")]),
        ("cache:", []),
    ],
)
def test_patterns(pattern, found):
    assert split_pattern(pattern) == found


@pytest.mark.parametrize("pattern", ["*", "cache:*", "us*:7", ":x", "user:"])
def test_patterns_over_namespaces_are_refused(pattern):
    with pytest.raises(ValueError, match="namespace"):
        split_pattern(pattern)


def test_switches(monkeypatch):
    for variable in ("REDIS_ENABLED", "REDIS_CACHE_ENABLED"):
        monkeypatch.delenv(variable, raising=False)
    assert settings.is_enabled(default=True) and not settings.is_enabled(default=False)
    monkeypatch.setenv("REDIS_ENABLED", "True")
    assert settings.is_enabled(default=False)
    monkeypatch.setenv("REDIS_CACHE_ENABLED", "false")
    assert not settings.is_enabled(default=True)
    monkeypatch.setenv("REDIS_CACHE_ENABLED", "true")
    monkeypatch.setenv("REDIS_ENABLED", "false")
    assert not settings.is_enabled(default=True)


def test_presets_and_the_table(monkeypatch):
    names = ("SHORT", "MEDIUM", "LONG", "DAY")
    for name in names:
        monkeypatch.delenv(f"CACHE_TTL_{name}", raising=False)
    assert [settings.ttl_preset(name) for name in names] == [60, 300, 3600, 86400]
    monkeypatch.setenv("CACHE_TTL_SHORT", "5")
    assert settings.ttl_preset("SHORT") == 5
    monkeypatch.setenv("CACHE_TTL_SHORT", "soon")
    with pytest.raises(ValueError, match="CACHE_TTL_SHORT must be a number"):
        settings.ttl_preset("SHORT")
    assert [settings.ttl_of(n) for n in ("user", "locations", "other")] == [3600, 86400, 1800]


def test_adaptive_ttls_follow_the_updates():
    log = UpdateLog()
    for at in (0, 100, 200):
        log.note("a", at)
    assert log.interval("a", now=250) == 100
    assert log.interval("a", now=500) == 300
    assert log.interval("b") is None
    for number in range(1001):
        log.note(f"n{number}", 0)
    assert log.interval("a", now=250) is None

    assert get_adaptive_ttl("statistics:daily") == 1800
    note_update("statistics:daily")
    assert get_adaptive_ttl("statistics:daily") == 1800
    note_update("statistics:daily")
    assert get_adaptive_ttl("statistics:daily") == 30
    assert get_adaptive_ttl("statistics:weekly") == 30
    assert get_adaptive_ttl("never:x") == 1800
