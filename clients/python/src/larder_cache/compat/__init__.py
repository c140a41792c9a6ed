"""The modules that Larder replaces, under their old names, so that migrating is an import.

- `flask_cache_result`: ``cache_result`` for views and functions of Flask.
- `cache_object`: the blocking object ``cache`` and the decorator ``cached``.
- `redis_cache`: asynchronous ``get_cache``, ``set_cache``, ``invalidate`` and the like.
- `redis_fastapi`: ``cached_endpoint``.
- `events`, `cache_warming`, `adaptive_cache`, `circuit_breaker`: as their names.

Nothing is imported here, since the frameworks are optional.
"""
