"""Settings of the Django suite: its app ``cache``, and a database for its models."""

SECRET_KEY = "s" * 50
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.sessions", "cache"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
ROOT_URLCONF = "django_settings"
urlpatterns = []
CACHES = {"default": {"BACKEND": "larder_cache.backends.django.LarderCache"}}
USE_TZ = False
