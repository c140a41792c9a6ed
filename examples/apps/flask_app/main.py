"""The Flask service: `gunicorn flask_app.main:app`."""

from __future__ import annotations

from typing import Any

from flask import Flask, jsonify
from werkzeug.exceptions import HTTPException

from . import directory, valuation

app = Flask(__name__)
# The JSON of a document has the same order in all services.
app.json.sort_keys = False  # type: ignore[attr-defined]
app.register_blueprint(valuation.blueprint)
app.register_blueprint(directory.blueprint)


@app.errorhandler(HTTPException)
def answer_error(error: HTTPException) -> Any:
    """Errors as JSON."""
    return jsonify(error=error.description), error.code
