"""gevent: greenlets run at the same time, and calls do not stop the others."""

from __future__ import annotations

import pytest

from processes.support import needs, script


def test_greenlets(target: str) -> None:
    needs("gevent")
    facts = script("greenlets.py", target, limit=60)
    # One after the other, the loaders alone would take 50 * 0.3 s.
    assert facts["took"] < 8
    assert facts["loads"] == 1
    # A call that stopped the hub would stop the ticker for the 0.3 s of a loader, and more.
    assert facts["ticks"] > 20
    assert facts["threads"] == []


@pytest.mark.xfail(raises=AssertionError, strict=True, reason="gRPC stops the hub of gevent")
def test_naive_channel(target: str) -> None:
    needs("gevent")
    assert script("greenlets_naive.py", target, limit=30)["ticks"] > 20
