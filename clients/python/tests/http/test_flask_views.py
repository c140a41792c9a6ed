"""Cached views of Flask, with Flask's test client against the real server."""

import threading
import time

import flask
import http_server
import pytest
from flask_site import Site, by_header, states

from larder_cache import Client, UncacheableArgument
from larder_cache.http import StoredResponse
from larder_cache.http.flask import cached_endpoint

server, client, space = http_server.server, http_server.client, http_server.space


@pytest.fixture
def site(client, space):
    return Site(client, space)


def test_an_answer_is_stored_with_its_headers(site):
    site.view(answer=lambda: flask.Response("body", headers={"X-Own": "1"}, mimetype="text/x"))
    first, second = site.get(), site.get()
    assert states(first, second) == ["MISS", "HIT"]
    assert second.data == first.data == b"body"
    assert second.headers["X-Own"] == "1" and second.mimetype == "text/x"
    assert first.headers["X-Cache-TTL-Remaining"] == "60"
    assert 0 <= 60 - int(second.headers["X-Cache-TTL-Remaining"]) <= 5
    assert second.headers["X-Cache-Date"].endswith("GMT")
    assert int(second.headers["Age"]) <= 5
    assert first.headers["Cache-Control"] == second.headers["Cache-Control"] == "no-cache"
    assert "X-Cache-Key" not in second.headers
    assert first.headers["ETag"] == second.headers["ETag"] == site.get().headers["ETag"]
    assert len(site.calls) == 1


def test_if_none_match_is_answered_304(site):
    site.view()
    tag = site.get().headers["ETag"]
    answer = site.get(headers={"If-None-Match": f'"x", {tag}'})
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == tag and answer.headers["X-Cache"] == "HIT"
    assert "Content-Type" not in answer.headers
    assert site.get(headers={"If-None-Match": '"other"'}).status_code == 200
    assert len(site.calls) == 1


def test_an_etag_and_cache_control_of_the_view_are_kept(site):
    own = {"ETag": '"own"', "Cache-Control": "public, max-age=5"}
    site.view(answer=lambda: flask.Response("x", headers=own))
    site.get()
    again = site.get()
    assert (
        again.headers["ETag"] == '"own"' and again.headers["Cache-Control"] == own["Cache-Control"]
    )
    assert site.get(headers={"If-None-Match": '"own"'}).status_code == 304


def test_cache_control_can_be_set_or_left_out(site):
    site.view("/a", cache_control=False)
    site.view("/b", cache_control="public, max-age=1")
    assert "Cache-Control" not in site.get("/a").headers
    assert site.get("/b").headers["Cache-Control"] == "public, max-age=1"


def test_browsers_may_keep_an_answer_for_the_ttl_that_is_left_if_asked_for(site):
    site.view(ttl=60, cache_control=True)
    assert site.get().headers["Cache-Control"] == "max-age=60"
    again = site.get().headers["Cache-Control"]
    assert 55 <= int(again.removeprefix("max-age=")) <= 60


def test_the_arguments_and_the_query_are_the_key(site):
    site.view("/a/<kind>")
    answers = [site.get(p) for p in ("/a/x", "/a/y", "/a/x?q=1", "/a/x?q=2", "/a/x?q=1&q=1")]
    assert states(*answers) == ["MISS"] * 5
    assert states(site.get("/a/x?q=1"), site.get("/a/y")) == ["HIT", "HIT"]
    assert states(site.get("/a/x?a=1&b=2"), site.get("/a/x?b=2&a=1")) == ["MISS", "HIT"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda: ("gone", 404),
        lambda: flask.Response("x", headers={"Set-Cookie": "a=b"}),
        lambda: flask.Response("x", headers={"Cache-Control": "no-store"}),
        lambda: flask.Response("x", headers={"Cache-Control": "private"}),
        lambda: flask.Response("x", headers={"Vary": "Cookie"}),
        lambda: flask.Response(iter(["a", "b"])),
        lambda: flask.session.update(user=1) or "x",
    ],
)
def test_what_may_not_be_shared_is_not_stored(site, answer):
    site.view(answer=answer)
    one, two = site.get(), site.get()
    assert states(one, two) == ["MISS", "MISS"]
    assert one.data == two.data and len(site.calls) == 2
    assert "ETag" not in two.headers and "Age" not in two.headers


def test_other_statuses_are_stored_if_listed(site):
    site.view(answer=lambda: ("gone", 404), statuses=(200, 404))
    one, two = site.get(), site.get()
    assert states(one, two) == ["MISS", "HIT"]
    assert (two.status_code, two.data) == (404, b"gone")


def test_errors_are_answers_and_failures(site):
    def answer():
        if len(site.calls) == 1:
            flask.abort(404)
        if len(site.calls) == 2:
            raise KeyError("broken")
        return "fine"

    site.view(answer=answer)
    assert site.get().status_code == 404
    with pytest.raises(KeyError, match="broken"):
        site.get()
    assert states(site.get(), site.get(), site.get()) == ["MISS", "MISS", "HIT"]


def test_a_404_makes_no_other_caller_wait(site):
    site.space = "backoff"
    site.view(answer=lambda: flask.abort(404), fetch_timeout=30, name="flask-404")
    began = time.monotonic()
    assert [site.get().status_code for _ in range(20)] == [404] * 20
    assert time.monotonic() - began < 5


def test_head_shares_the_entry_of_get(site):
    site.view()
    head = site.app.test_client().head("/")
    assert states(head) == ["MISS"]
    assert states(site.get()) == ["MISS"]
    head = site.app.test_client().head("/")
    assert states(head) == ["HIT"] and head.data == b"" and len(site.calls) == 2


def test_other_methods_pass_unless_listed(site):
    site.view("/a", methods=["GET", "POST"])
    post = site.app.test_client().post
    assert states(post("/a"), post("/a"), site.get("/a")) == ["BYPASS", "BYPASS", "MISS"]


def test_the_body_is_part_of_the_key_of_a_post(client, space):
    site = Site(client, space)
    options = {"methods": ("POST",), "client": client, "ttl": 60}

    @site.app.post("/")
    @cached_endpoint(space, **options)
    def valuation():
        site.calls.append(flask.request.get_json())
        return {"price": len(site.calls)}

    post = site.app.test_client().post
    one = post("/", json={"a": 1, "b": 2})
    assert states(
        one,
        post("/", data='{"b":2, "a":1.0}', content_type="application/json"),
        post("/", json={"a": 2}),
    ) == ["MISS", "HIT", "MISS"]
    assert "no-cache" in one.headers["Cache-Control"]


def test_asynchronous_views(site):
    pytest.importorskip("asgiref")
    calls = []

    @site.app.get("/")
    @cached_endpoint(site.space, client=site.client, ttl=60)
    async def view():
        calls.append(1)
        return "async"

    assert states(site.get(), site.get()) == ["MISS", "HIT"] and calls == [1]


def test_a_login_decorator_above_runs_for_each_request(site):
    import functools

    seen = []

    def login_required(view):
        @functools.wraps(view)
        def wrapper(*args, **kwargs):
            seen.append(1)
            return view(*args, **kwargs)

        return wrapper

    @site.app.get("/<search_type>")
    @login_required
    @cached_endpoint(site.space, client=site.client, ttl=3600)
    def get_areas(search_type):
        return flask.jsonify([search_type])

    assert states(site.get("/buy"), site.get("/buy")) == ["MISS", "HIT"]
    assert seen == [1, 1]


def test_an_argument_that_cannot_be_a_key_is_named(site):
    @site.app.get("/")
    @cached_endpoint(site.space, client=site.client, name="view")
    def view(db=object()):  # noqa: B008
        return "x"

    @site.app.get("/ignored")
    @cached_endpoint(site.space, client=site.client, ignore=["db"])
    def ignored(db=object()):  # noqa: B008
        return "x"

    with pytest.raises(UncacheableArgument, match="the argument db of view"):
        site.get()
    assert states(site.get("/ignored"), site.get("/ignored")) == ["MISS", "HIT"]


def test_helpers_of_a_view(site):
    cached = site.view("/<int:user>", key="u:{user}")
    site.get("/1"), site.get("/1?q=2"), site.get("/2")
    assert cached.get(user=1).found and cached.of(query=[("q", "2")]).get(user=1).found
    assert cached.key(user=1) == ("u:1", {})
    assert cached.of(query=[("q", "2")]).key(user=1).params == {"query:q": '["2"]'}
    assert cached.invalidate(user=1).deleted
    assert states(site.get("/1"), site.get("/1?q=2")) == ["MISS", "HIT"]
    cached.invalidate_variants(user=1)
    assert states(site.get("/1"), site.get("/1?q=2"), site.get("/2")) == ["MISS", "MISS", "HIT"]
    cached.invalidate_all()
    assert states(site.get("/2")) == ["MISS"]
    cached.set(StoredResponse(200, [("X-Set", "1")], b"set"), user=3)
    assert site.get("/3").data == b"set" and site.get("/3").headers["X-Set"] == "1"
    with site.app.test_request_context("/3"):
        fresh = cached.refresh(user=3)
        assert fresh.json["n"] == len(site.calls) and cached.bypass(user=3)["n"] == len(site.calls)
    assert site.get("/3").json == fresh.json
    assert cached.original(user=4) == {"n": len(site.calls)}


def test_helpers_know_the_user(site):
    cached = site.view(cache_by_user=by_header, name="v")
    site.get(headers={"X-User": "1"})
    assert cached.of(user="1").get().found and not cached.of(user="2").get().found
    with pytest.raises(ValueError, match="the key of v needs a user"):
        cached.get()
    with pytest.raises(ValueError, match="v has no template key"):
        cached.invalidate_variants()


def test_concurrent_requests_run_the_view_once(site):
    inside, release = threading.Event(), threading.Event()

    def answer():
        inside.set()
        release.wait(10)
        return "x"

    site.view(answer=answer)
    found = []
    threads = [threading.Thread(target=lambda: found.append(site.get())) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert len(site.calls) == 1 and {response.data for response in found} == {b"x"}
    assert set(states(*found)) <= {"MISS", "HIT"}


def test_no_request_gets_the_cookie_of_another(site):
    inside, release = threading.Event(), threading.Event()

    def answer():
        inside.set()
        release.wait(10)
        response = flask.Response("x")
        response.set_cookie("sid", str(len(site.calls)))
        return response

    site.view(answer=answer)
    found = []
    threads = [threading.Thread(target=lambda: found.append(site.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert len(site.calls) == 4 and all("Set-Cookie" in response.headers for response in found)


def test_answers_that_cannot_be_stored_are_computed_side_by_side(site):
    both = threading.Barrier(2)

    def answer():
        if len(site.calls) > 1:
            both.wait(10)
        return flask.Response("x", headers={"Cache-Control": "no-store"})

    site.view(answer=answer)
    site.get()
    found = []
    threads = [threading.Thread(target=lambda: found.append(site.get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [response.status_code for response in found] == [200, 200]


def test_a_stale_answer_is_refreshed_with_the_request_at_hand(site):
    site.space = "swr"
    seen = []

    def answer():
        seen.append(flask.request.headers["X-Name"])
        return str(len(site.calls))

    site.view(ttl=0.05, answer=answer, name="stale-view")
    assert site.get(headers={"X-Name": "a"}).data == b"1"
    deadline = time.monotonic() + 10
    while True:
        answer = site.get(headers={"X-Name": "b"})
        if answer.headers["X-Cache"] == "STALE":
            break
        assert time.monotonic() < deadline
    assert answer.data == b"1" and answer.headers["X-Cache-TTL-Remaining"] == "0"
    while site.get(headers={"X-Name": "c"}).data == b"1":
        assert time.monotonic() < deadline
    assert seen[:2] == ["a", "b"]


def test_a_failure_is_answered_with_the_stale_answer(site):
    site.space = "sie"
    broken = False

    def answer():
        if broken:
            raise KeyError("broken")
        return "fine"

    site.view("/a", ttl=0.05, answer=answer, name="sie-a")
    site.view("/b", ttl=0.05, answer=answer, name="sie-b", max_stale=0)
    site.get("/a"), site.get("/b")
    broken = True
    deadline = time.monotonic() + 10
    while (found := site.get("/a")).headers["X-Cache"] != "STALE":
        assert time.monotonic() < deadline
    assert found.data == b"fine" and found.headers["Age"] >= "0"
    with pytest.raises(KeyError, match="broken"):
        while site.get("/b").status_code == 200:
            assert time.monotonic() < deadline


def test_a_cache_that_is_away_is_no_outage_of_the_site(space):
    with Client("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2) as away:
        site = Site(away, space)
        site.view()
        one, two = site.get(), site.get()
        assert states(one, two) == ["MISS", "MISS"] and one.status_code == 200
        assert "ETag" not in one.headers and "Cache-Control" not in one.headers


def test_an_answer_that_cannot_be_stored_is_still_sent(site, caplog):
    # After a 404 the key does without a lease for a while, and its next answer is not stored.
    answers = [flask.Response("none", 404), "x" * (2 << 20), "x" * (5 << 20), "small"]
    site.view(answer=lambda: answers[min(len(site.calls), len(answers)) - 1])
    found = [site.get() for _ in range(5)]
    assert [answer.status_code for answer in found] == [404, 200, 200, 200, 200]
    assert [len(answer.data) for answer in found] == [4, 2 << 20, 5 << 20, 5, 5]
    assert states(*found)[1:] == ["MISS", "MISS", "MISS", "HIT"]
    assert caplog.text.count("is not stored") == caplog.text.count("MESSAGE_TOO_LARGE") == 1
