"""The same for the workers of gevent, which wants to patch before anything else is imported."""

from gevent import monkey

monkey.patch_all()

from gunicorn_conf import pre_fork, when_ready  # noqa: E402

__all__ = ["pre_fork", "when_ready"]
