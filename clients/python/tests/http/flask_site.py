"""An application of Flask with cached views, for several test modules."""

import flask

from larder_cache.http.flask import cached_endpoint

SECRET = "only for tests"


class Site:
    """An application with one cached view, and the calls of that view."""

    def __init__(self, client, space):
        self.app = flask.Flask("site")
        self.app.secret_key = SECRET
        self.app.testing = True
        self.client, self.space = client, space
        self.calls = []

    def view(self, rule="/", methods=("GET",), answer=None, **options):
        options = {"client": self.client, "ttl": 60, **options}

        def view(**arguments):
            self.calls.append(arguments)
            return {"n": len(self.calls)} if answer is None else answer(**arguments)

        # Views have parameters of their own; this one takes those of every rule.
        view.__name__ = view.__qualname__ = f"view{len(self.app.view_functions)}"
        cached = cached_endpoint(self.space, **options)(view)
        self.app.add_url_rule(rule, view_func=cached, methods=list(methods))
        return cached

    def get(self, path="/", **options):
        return self.app.test_client().get(path, **options)


def states(*responses):
    return [response.headers["X-Cache"] for response in responses]


def by_header(request):
    return request.headers.get("X-User")
