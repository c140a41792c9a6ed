"""`cached_endpoint` without a named framework."""

import subprocess
import sys

import http_server
import pytest
from fastapi import Depends, Request

from larder_cache.decorators import cached_endpoint
from larder_cache.http.cached_endpoint import framework_of

server, client, space = http_server.server, http_server.client, http_server.space


def test_the_framework_is_that_of_the_annotations():
    def starlette(request: Request):
        return None

    def fastapi(a: int, b=Depends(lambda: 1)):  # noqa: B008
        return None

    assert framework_of(starlette) == "starlette"
    assert framework_of(fastapi) == "fastapi"


def test_it_must_be_clear_or_named(client, space):
    import django  # noqa: F401
    import flask

    def view():
        return "x"

    with pytest.raises(TypeError, match="is not clear .*flask.* name it with framework="):
        cached_endpoint(space)(view)
    with pytest.raises(ValueError, match="framework must be one of"):
        cached_endpoint(space, framework="bottle")
    app = flask.Flask("app")
    app.get("/")(cached_endpoint(space, framework="flask", client=client)(view))
    browser = app.test_client()
    assert [browser.get("/").headers["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("module", "found"), [("flask", "flask"), ("fastapi", "fastapi"), ("starlette", "starlette")]
)
def test_the_only_one_that_is_imported_is_taken(module, found):
    program = (
        f"import {module}\n"
        "from larder_cache.http.cached_endpoint import framework_of\n"
        "print(framework_of(lambda: None))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == found, done.stderr


def test_no_framework_is_imported_by_the_library():
    program = (
        "import sys, larder_cache.decorators, larder_cache.http\n"
        "print([m for m in ('flask', 'django', 'starlette', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
