-- What no server can give back. Small, synchronous=FULL.

CREATE TABLE session (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    homeserver    TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    device_id     TEXT NOT NULL,
    access_token  TEXT,          -- NULL once logged out from here; everything else is kept
    refresh_token TEXT,          -- NULL where the server gave none
    lifetime      REAL,          -- seconds that the access token serves; NULL: until it is revoked
    obtained_at   INTEGER NOT NULL -- when the tokens were given, microseconds since 1970 UTC
) STRICT;

-- How far this file has got. The same is kept beside it, so that commits which vanish are noticed.
CREATE TABLE mark (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    store    TEXT NOT NULL,       -- a random name for this database
    commits  INTEGER NOT NULL
) STRICT;
INSERT INTO mark VALUES (1, lower(hex(randomblob(8))), 0);

-- Names are private to a user: what a name means is what this user bound it to, never what a room claims.
CREATE TABLE binding (
    name     TEXT PRIMARY KEY,
    room_id  TEXT NOT NULL
) STRICT;

-- A room is about to be made. Were the answer lost, the room is found again by this uid in its state.
CREATE TABLE intent (
    name  TEXT PRIMARY KEY,
    uid   TEXT NOT NULL
) STRICT;

CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,   -- order of acceptance, which is the order of sending
    room_id      TEXT NOT NULL,
    uid          TEXT NOT NULL,
    txn_id       TEXT NOT NULL UNIQUE,                -- belongs to this row for ever: servers drop reused ones
    type         TEXT NOT NULL,
    content      BLOB NOT NULL,                       -- the exact bytes of the event's content
    value        BLOB NOT NULL,                       -- the record as JSON text, for queries before the echo
    time         INTEGER NOT NULL,                    -- the record's time, microseconds since 1970 UTC
    accepted_at  INTEGER NOT NULL,                    -- microseconds since 1970 UTC
    state        TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'stuck')),
    event_id     TEXT,
    reason       TEXT,                                -- why it is not sent: an errcode or one of ours
    attempts     INTEGER NOT NULL DEFAULT 0,          -- which may have reached the server; 0: it is surely not there
    first_attempt  INTEGER,                           -- the first of those, microseconds since 1970 UTC
    last_attempt   INTEGER,                           -- the last of all
    next_attempt   INTEGER,                           -- not before then; NULL: at once, or when asked to
    after_event  TEXT,                                -- our last event in the room before the first attempt
    checksum     INTEGER NOT NULL,                    -- CRC-32 of what is sent; what decayed on the disk is not
    UNIQUE (room_id, uid)
) STRICT;
CREATE INDEX outbox_next ON outbox (state, room_id, id);
CREATE INDEX outbox_event ON outbox (event_id) WHERE event_id IS NOT NULL;

-- Our newest event in each room that the server acknowledged: who looks for a later one stops there.
CREATE TABLE acknowledged (
    room_id   TEXT PRIMARY KEY,
    event_id  TEXT NOT NULL
) STRICT;

-- Records dropped unsent because the store was full and on_full="drop_oldest": never silently.
CREATE TABLE dropped (
    room_id  TEXT PRIMARY KEY,
    records  INTEGER NOT NULL
) STRICT;

-- publish_many(job=…): which rows were accepted, so that a run after a crash goes on behind them.
CREATE TABLE job (
    id       INTEGER PRIMARY KEY,
    room_id  TEXT NOT NULL,
    name     TEXT NOT NULL,
    UNIQUE (room_id, name)
) STRICT;
CREATE TABLE job_row (
    job     INTEGER NOT NULL REFERENCES job (id),
    number  INTEGER NOT NULL,
    digest  INTEGER NOT NULL,      -- of its content, so that other rows under the same name are noticed
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Where each named subscription got to.
CREATE TABLE cursor (
    room_id    TEXT NOT NULL,
    name       TEXT NOT NULL,
    replica    TEXT NOT NULL,
    change     INTEGER NOT NULL,   -- read up to here; while the past is being read, the moment it is read as of
    since      INTEGER,            -- what it calls new began here; NULL: everything
    position   INTEGER,            -- the past is read up to here; NULL: it is read
    from_time  INTEGER,            -- the past began here, microseconds since 1970 UTC; NULL: at the start
    PRIMARY KEY (room_id, name)
) STRICT;
