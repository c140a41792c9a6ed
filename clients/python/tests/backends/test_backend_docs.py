"""The examples of docs/backends.md run as they are, except for the address of the server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "backends.md"

#: What an installation does.
SETUPS = {
    "dogpile.cache": f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import dogpile_plugin
dogpile_plugin.register()
"""
}

#: What a reader does next: it fails if the example above it does not work.
USES = {
    "Django": """
from django.conf import settings
settings.configure(SECRET_KEY="at least sixteen bytes", CACHES=CACHES)
from django.core.cache import cache
cache.set("key", {"a": (1,)})
assert cache.get("key") == {"a": (1,)}
""",
    "dogpile.cache": """
assert load_user(7) == {"id": 7}
assert load_user.get(7) == {"id": 7}
""",
    "cachelib and Flask-Session": """
assert cache.get("user:7") == {"name": "Ada"}
""",
    "Flask-Caching": """
assert app.test_client().get("/areas").json == ["north", "south"]
assert cache.get("view//areas") == ["north", "south"]
""",
    "fastapi-cache2": """
from fastapi.testclient import TestClient
with TestClient(app) as browser:
    assert browser.get("/areas").json() == ["north", "south"]
    assert browser.get("/areas").headers["X-FastAPI-Cache"] == "HIT"
""",
    "aiocache": """
import asyncio
async def use():
    assert [await load_user(7), await cache.get("7")] == [{"id": 7}] * 2
asyncio.run(use())
""",
    "LangChain": """
from langchain_core.language_models.fake_chat_models import FakeListChatModel
model = FakeListChatModel(responses=["first", "second"])
assert model.invoke("prompt").content == model.invoke("prompt").content == "first"
""",
}


def sections() -> dict[str, str]:
    """The code of each section that has some."""
    found = {}
    for section in DOCS.read_text().split("\n## ")[1:]:
        code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
        if code:
            found[section.partition("\n")[0]] = code
    return found


def test_each_example_is_used():
    assert set(sections()) == set(USES)


@pytest.mark.parametrize("title", USES)
def test_an_example(title, target):
    code = sections()[title]
    assert "larder:50051" in code
    program = SETUPS.get(title, "") + code.replace("larder:50051", target) + USES[title]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
