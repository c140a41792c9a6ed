"""The requests that change something, and the reads that must then show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import endpoints
from .choices import Choices
from .endpoints import ALL, EXPRESS, FASTAPI, Call
from .freshness import Revisions

#: A read that shows a change, and the services to read it from.
Shown = tuple[Call, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """A change, made by one of the services."""

    label: str
    invalidates: str
    services: tuple[str, ...]
    weight: float
    call: Callable[[Choices], Call]
    #: Notes what the answer to a change promises, and returns the reads that must show it.
    note: Callable[[Revisions, Call, Any], list[Shown]]


def _profile(choices: Choices) -> Call:
    number = choices.user()
    body = {"city": f"City {choices.one_of(*range(1000))}"}
    return Call(f"/users/{number}/profile", number, method="PUT", json=body)


def _note_profile(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    number = call.user
    revisions.answered(("user", number), document["revision"])
    return [(endpoints.user(number), ALL), (endpoints.profile(number), (FASTAPI, EXPRESS))]


def _company(choices: Choices) -> Call:
    body = {"phone": f"+47 {choices.one_of(*range(10_000)):04}"}
    return Call(f"/companies/{choices.company()}", choices.user(), method="PUT", json=body)


def _note_company(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    revisions.answered(("company", document["id"]), document["revision"])
    return [(endpoints.company(document["id"]), ALL)]


def _pickup(choices: Choices) -> Call:
    number = choices.user()
    body = {"company_id": choices.company_of(number), "material": "glass", "kilograms": 4.5}
    return Call("/pickups", number, method="POST", json=body)


def _note_pickup(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    number, company_id = call.user, document["company_id"]
    revisions.answered(("pickups", number, company_id), document["revision"])
    revisions.answered(("all pickups", number), document["user_revision"])
    reads = (
        endpoints.company_pickups(number, company_id),
        endpoints.history(number),
        endpoints.history(number, historical=True),
    )
    return [(read, (FASTAPI,)) for read in reads]


def _redeem(choices: Choices) -> Call:
    return Call("/points/redeem", choices.user(), method="POST", json={"points": 3})


def _note_redeem(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    number = call.user
    revisions.answered(("points", number), document["revision"])
    services = (FASTAPI, EXPRESS)
    return [(endpoints.points(number), services), (endpoints.profile(number), services)]


def _analysis(choices: Choices) -> Call:
    number = choices.user()
    # Others have analyzed it, but maybe not this user.
    body = {"address": choices.any_address()}
    return Call("/api/v1/propiq/analyze", number, method="POST", json=body)


def _note_analysis(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    # There is no count if the user has analyzed it before.
    revisions.answered(("analyses", call.user), document.get("analyses", 0))
    return [(endpoints.analyses(call.user), (FASTAPI,))]


def _message(choices: Choices) -> Call:
    body = {"body": "When is the next pickup?"}
    return Call("/api/v1/support/conversations", choices.user(), method="POST", json=body)


def _note_message(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    revisions.answered(("messages", call.user), document["revision"])
    return [(endpoints.conversations(call.user), (EXPRESS,))]


def _recalculate(choices: Choices) -> Call:
    return Call("/admin/recalculate-points", 1, method="POST")


def _note_recalculate(revisions: Revisions, call: Call, document: Any) -> list[Shown]:
    for subject, revision in document["revisions"]:
        revisions.answered(("points", subject), revision)
    number = document["revisions"][0][0]
    services = (FASTAPI, EXPRESS)
    return [(endpoints.points(number), services), (endpoints.profile(number), services)]


CHANGES: tuple[Change, ...] = (
    Change("PUT /users/<id>/profile", "user: <id>:*", ALL, 4, _profile, _note_profile),
    Change("PUT /companies/<id>", "company: one key", ALL, 3, _company, _note_company),
    Change("POST /pickups", "pickup: all", (FASTAPI,), 0.5, _pickup, _note_pickup),
    Change("POST /points/redeem", "event points_changed", (FASTAPI, EXPRESS), 4, _redeem,
           _note_redeem),
    Change("POST /api/v1/propiq/analyze (new)", "analyses: a tag", (FASTAPI,), 2, _analysis,
           _note_analysis),
    Change("POST /api/v1/support/conversations", "support: a tag", (EXPRESS,), 2, _message,
           _note_message),
)  # fmt: skip

#: Made once, in the middle of the load.
RECALCULATION = Change("POST /admin/recalculate-points", "points and user: all", (FASTAPI,), 0,
                       _recalculate, _note_recalculate)  # fmt: skip

#: Services with each kind of subject, for the check at the end.
READERS = {"user": ALL, "company": ALL, "points": (FASTAPI, EXPRESS)}
