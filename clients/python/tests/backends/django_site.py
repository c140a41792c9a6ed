"""A Django site: its settings and views."""

from __future__ import annotations

import itertools
from typing import Any

SECRET_KEY = "the secret key of the test site, which is long enough"

_number = itertools.count(1)


def settings(target: str) -> dict[str, Any]:
    """The settings of the site with a server."""
    return {
        "SECRET_KEY": SECRET_KEY,
        "ROOT_URLCONF": __name__,
        "ALLOWED_HOSTS": ["*"],
        "INSTALLED_APPS": ["django.contrib.sessions"],
        "MIDDLEWARE": [
            "django.middleware.cache.UpdateCacheMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.cache.FetchFromCacheMiddleware",
        ],
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "CACHES": {
            "default": {
                "BACKEND": "larder_cache.backends.django.LarderCache",
                "LOCATION": target,
                "OPTIONS": {"namespace": "django-site", "preset": "local"},
            }
        },
    }


def page(request):
    """Differs with each call, unless it is cached."""
    from django.http import HttpResponse

    return HttpResponse(f"page {next(_number)}")


def count(request):
    """Counts the visits of a session."""
    from django.http import HttpResponse

    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    response = HttpResponse(str(visits))
    response["Cache-Control"] = "no-store, private"
    return response


def leave(request):
    """Ends the session."""
    from django.http import HttpResponse

    request.session.flush()
    return HttpResponse("bye", headers={"Cache-Control": "no-store, private"})


def _urls():
    from django.urls import path

    return [path("page", page), path("count", count), path("leave", leave)]


def __getattr__(name: str):
    if name == "urlpatterns":
        return _urls()
    raise AttributeError(name)
