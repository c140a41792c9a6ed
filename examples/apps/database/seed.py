"""Makes the database of the example applications: `python database/seed.py app.db`.

The same rows each time: an existing file is replaced.
"""

from __future__ import annotations

import random
import sqlite3
import sys
from datetime import date, timedelta
from pathlib import Path

USERS = 400
COMPANIES = 60
PICKUPS = 20_000
SALES = 6_000
SEARCH_TYPES = ("buy", "rent")
PROPERTY_TYPES = ("apartment", "villa", "office")
AREAS = 12
MATERIALS = ("paper", "glass", "metal", "plastic")
STATUSES = ("pending", "scheduled", "done")
CITIES = ("Bergen", "Porto", "Graz", "Lyon", "Turku", "Gent")
#: Users 1 to 3 are administrators.
ADMINISTRATORS = 3


def seed(path: Path) -> None:
    """Writes the database to `path`."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    chance = random.Random(2026)
    connection = sqlite3.connect(path)
    try:
        connection.executescript(Path(__file__).with_name("schema.sql").read_text())
        with connection:
            _people(connection, chance)
            _recycling(connection, chance)
            _properties(connection, chance)
    finally:
        connection.close()


def _people(connection: sqlite3.Connection, chance: random.Random) -> None:
    users = [
        (
            number,
            f"User {number}",
            f"user{number}@example.org",
            chance.choice(CITIES),
            "admin" if number <= ADMINISTRATORS else "user",
            chance.choice(("free", "pro", "team")),
        )
        for number in range(1, USERS + 1)
    ]
    connection.executemany(
        "INSERT INTO users (id, name, email, city, role, tier) VALUES (?, ?, ?, ?, ?, ?)", users
    )
    connection.executemany(
        "INSERT INTO points (user_id, balance) VALUES (?, ?)",
        [(number, chance.randrange(10_000, 20_000)) for number in range(1, USERS + 1)],
    )
    connection.executemany(
        "INSERT INTO messages (user_id, body) VALUES (?, ?)",
        [(chance.randint(1, USERS), f"Question {number}") for number in range(1_500)],
    )


def _recycling(connection: sqlite3.Connection, chance: random.Random) -> None:
    companies = range(1, COMPANIES + 1)
    connection.executemany(
        "INSERT INTO companies (id, name, city, phone) VALUES (?, ?, ?, ?)",
        [(n, f"Recycling {n}", chance.choice(CITIES), f"+47 {n:04}") for n in companies],
    )
    connection.executemany(
        "INSERT INTO locations (company_id, street, opens, closes) VALUES (?, ?, ?, ?)",
        [(n % COMPANIES + 1, f"Street {n}", "08:00", "18:00") for n in range(COMPANIES * 5)],
    )
    last = date(2026, 11, 28)
    connection.executemany(
        "INSERT INTO pickups (user_id, company_id, status, material, kilograms, day)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                chance.randint(1, USERS),
                chance.randint(1, COMPANIES),
                chance.choice(STATUSES),
                chance.choice(MATERIALS),
                round(chance.uniform(1, 90), 1),
                str(last - timedelta(days=chance.randrange(365))),
            )
            for _ in range(PICKUPS)
        ],
    )


def _properties(connection: sqlite3.Connection, chance: random.Random) -> None:
    connection.executemany(
        "INSERT INTO areas (search_type, name, district, listings, price_per_metre)"
        " VALUES (?, ?, ?, ?, ?)",
        [
            (kind, f"Area {n} of the city", f"District {n % 25}", chance.randrange(400),
             chance.randrange(2_000, 9_000))
            for kind in SEARCH_TYPES
            for n in range(500)
        ],
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO property_types (search_type, name, description, listings)"
        " VALUES (?, ?, ?, ?)",
        [
            (kind, f"Type {n}", "Rooms, floors and gardens of this type. " * 2,
             chance.randrange(900))
            for kind in SEARCH_TYPES
            for n in range(130)
        ],
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO sales (area, property_type, square_metres, price, sold)"
        " VALUES (?, ?, ?, ?, ?)",
        [
            (
                f"area-{chance.randrange(AREAS)}",
                chance.choice(PROPERTY_TYPES),
                metres := chance.randrange(30, 260),
                metres * chance.randrange(2_000, 9_000),
                str(date(2026, 1, 1) + timedelta(days=chance.randrange(330))),
            )
            for _ in range(SALES)
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: seed.py FILE")
    seed(Path(sys.argv[1]))
