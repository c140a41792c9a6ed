"""The Flask service: `gunicorn flask_app.main:app`."""

from __future__ import annotations

from flask import Flask

from . import directory, valuation

app = Flask(__name__)
app.register_blueprint(valuation.blueprint)
app.register_blueprint(directory.blueprint)
