-- The tables of the three systems, in one SQLite file. Each row that a cached answer shows has a
-- `revision`, which every change increments: a reader sees from it how old an answer is.

PRAGMA journal_mode = WAL;

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    city TEXT NOT NULL,
    role TEXT NOT NULL,
    tier TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE companies (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    city TEXT NOT NULL,
    phone TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE locations (
    id INTEGER PRIMARY KEY,
    company_id INTEGER NOT NULL REFERENCES companies (id),
    street TEXT NOT NULL,
    opens TEXT NOT NULL,
    closes TEXT NOT NULL
);
CREATE INDEX locations_of_company ON locations (company_id);

CREATE TABLE pickups (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    company_id INTEGER NOT NULL REFERENCES companies (id),
    status TEXT NOT NULL,
    material TEXT NOT NULL,
    kilograms REAL NOT NULL,
    day TEXT NOT NULL
);
CREATE INDEX pickups_of_user ON pickups (user_id, company_id, status);
CREATE INDEX pickups_of_day ON pickups (day);

CREATE TABLE points (
    user_id INTEGER PRIMARY KEY REFERENCES users (id),
    balance INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE point_changes (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    change INTEGER NOT NULL,
    balance INTEGER NOT NULL
);
CREATE INDEX point_changes_of_user ON point_changes (user_id, id);

CREATE TRIGGER points_are_booked AFTER UPDATE OF balance ON points BEGIN
    INSERT INTO point_changes (user_id, change, balance)
    VALUES (new.user_id, new.balance - old.balance, new.balance);
END;

CREATE TABLE areas (
    id INTEGER PRIMARY KEY,
    search_type TEXT NOT NULL,
    name TEXT NOT NULL,
    district TEXT NOT NULL,
    listings INTEGER NOT NULL,
    price_per_metre INTEGER NOT NULL
);
CREATE INDEX areas_of_type ON areas (search_type);

CREATE TABLE property_types (
    id INTEGER PRIMARY KEY,
    search_type TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    listings INTEGER NOT NULL
);
CREATE INDEX property_types_of_type ON property_types (search_type);

CREATE TABLE sales (
    id INTEGER PRIMARY KEY,
    area TEXT NOT NULL,
    property_type TEXT NOT NULL,
    square_metres INTEGER NOT NULL,
    price INTEGER NOT NULL,
    sold TEXT NOT NULL
);
CREATE INDEX sales_of_area ON sales (area, property_type);

CREATE TABLE analyses (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    address TEXT NOT NULL,
    UNIQUE (user_id, address)
);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    body TEXT NOT NULL
);
CREATE INDEX messages_of_user ON messages (user_id, id);
