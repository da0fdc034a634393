-- What the server can give back. synchronous=NORMAL; rebuilt when damaged.

CREATE TABLE meta (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('replica', lower(hex(randomblob(4))));  -- a change number means nothing in another one

CREATE TABLE token (               -- commits together with what it covers
    kind   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Rooms that some process on this store wants kept in step. Emptied when a new leader begins.
CREATE TABLE followed (
    room_id  TEXT PRIMARY KEY,
    live     INTEGER NOT NULL      -- 1: in step since this leader began
) STRICT, WITHOUT ROWID;

-- What the process that leads found out, for the others to tell their users: the server answers again after an outage,
-- or has forgotten events of a room. The last few.
CREATE TABLE told (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id  TEXT,                 -- where events were forgotten; NULL: an outage is over
    lost     INTEGER,              -- how many
    since    INTEGER,              -- when the server had answered before the outage, microseconds since 1970 UTC
    reason   TEXT                  -- of the outage
) STRICT;

CREATE TABLE room (
    id          INTEGER PRIMARY KEY,
    room_id     TEXT NOT NULL UNIQUE,
    membership  TEXT NOT NULL DEFAULT '',
    newest      INTEGER,             -- position of the newest event; NULL before any timeline was seen
    compared    INTEGER,             -- up to this position the order was compared with that of /messages; NULL: never
    rules       TEXT NOT NULL DEFAULT ''   -- fingerprint of the rules that the rows' states were judged by
) STRICT;

CREATE TABLE event (
    id           INTEGER PRIMARY KEY,
    room         INTEGER NOT NULL REFERENCES room (id),
    position     INTEGER NOT NULL,   -- order in the room's timeline, as the server told it; never a timestamp
    event_id     TEXT NOT NULL UNIQUE,
    type         TEXT NOT NULL,
    state_key    TEXT,
    sender       TEXT NOT NULL,
    origin_time  INTEGER NOT NULL,   -- milliseconds since 1970, as the sender's server claims
    content      BLOB,               -- JSON text exactly as it arrived; NULL once redacted
    record       INTEGER NOT NULL,   -- 1: one of our records, whatever its state; 0: any other event
    item         INTEGER,            -- of a record in a batch its place there, from 0; event_id is then the batch's
                                     -- with a tab and that place behind it (model.member); NULL: an event itself
    row_state    TEXT NOT NULL CHECK (row_state IN ('valid', 'invalid', 'undecryptable', 'redacted')),
    problems     BLOB,               -- JSON list of [pointer, rule, message, value]; why it is invalid
    uid          TEXT,
    schema       TEXT,               -- content hash of the schema it names
    value        BLOB,               -- the record's value as JSON text
    time         INTEGER,            -- the record's time, microseconds since 1970 UTC
    shadowed     INTEGER NOT NULL DEFAULT 0,   -- 1: another event with the same (sender, uid) counts instead
    change       INTEGER NOT NULL,   -- the change that brought it
    edits        TEXT,               -- the event that this one edits; such a row is no record
    edited       INTEGER,            -- the row of the edit in force, whose value this one carries; NULL: none
    sealed       INTEGER NOT NULL DEFAULT 0,   -- 1: it came encrypted; `decryption` says more
    born         INTEGER,            -- the change at which it was first valid: what is read as of an earlier one lacks it
    -- Checksums of what is read of a row, so that what decayed on the disk is never an answer.
    record_sum   INTEGER NOT NULL AS (record_sum(event_id, sender, uid, time, value)) STORED,
    content_sum  INTEGER NOT NULL AS (text_sum(content)) STORED
) STRICT;
CREATE UNIQUE INDEX event_position ON event (room, position);
CREATE INDEX event_time ON event (room, time) WHERE record = 1 AND row_state = 'valid' AND shadowed = 0;
CREATE INDEX event_uid ON event (room, uid, sender) WHERE uid IS NOT NULL;
CREATE INDEX event_edits ON event (edits) WHERE edits IS NOT NULL;
CREATE INDEX event_unusable ON event (room, row_state) WHERE row_state IN ('invalid', 'undecryptable');

CREATE TABLE change (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    room    INTEGER NOT NULL,
    event   INTEGER NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('live', 'backfilled', 'redaction', 'revalidated', 'invalidated', 'edited',
                                         'late_key')),
    opened  INTEGER NOT NULL DEFAULT 0,  -- backfilled: the last change before the gap it fills was opened
    by      INTEGER                      -- edited: the row of the event that did it
) STRICT;
-- What came encrypted: by which session of which device, or why it could not be read. Of an undecryptable event,
-- `event.content` is the ciphertext.
CREATE TABLE decryption (
    event     INTEGER PRIMARY KEY REFERENCES event (id),
    session   TEXT,              -- NULL: it names none
    device    TEXT,              -- NULL: not known
    standing  TEXT,              -- what was known of that device; NULL: undecryptable
    cause     TEXT,              -- why it cannot be read, a word of `encryption.port.Cause`; NULL: it was
    detail    TEXT               -- and what would mend that
) STRICT;
CREATE INDEX decryption_cause ON decryption (session) WHERE cause IS NOT NULL;

CREATE INDEX change_room ON change (room, id);

-- Stretches of history not fetched yet: between `lower` (NULL: the start of the room) and `upper`.
CREATE TABLE gap (
    id      INTEGER PRIMARY KEY,
    room    INTEGER NOT NULL REFERENCES room (id),
    lower   INTEGER,
    upper   INTEGER NOT NULL,        -- the next event found is put at upper - 1
    token   TEXT NOT NULL,           -- /messages backwards from here
    opened  INTEGER NOT NULL,
    problem TEXT                     -- why it could not be filled; NULL: nothing is known against it
) STRICT;
CREATE INDEX gap_room ON gap (room, upper);

CREATE TABLE state (
    room         INTEGER NOT NULL REFERENCES room (id),
    type         TEXT NOT NULL,
    state_key    TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    sender       TEXT NOT NULL,
    origin_time  INTEGER NOT NULL,
    content      BLOB NOT NULL,
    redacted     INTEGER NOT NULL,   -- 1: of the content only what the room's rules need is left
    PRIMARY KEY (room, type, state_key)
) STRICT, WITHOUT ROWID;
-- What a record says itself, while an edit is in force.
CREATE TABLE unedited (
    event   INTEGER PRIMARY KEY,
    value   BLOB,
    time    INTEGER,
    schema  TEXT
) STRICT;

-- Redactions met before what they redact, as when older history is fetched later.
CREATE TABLE redaction (
    room      INTEGER NOT NULL REFERENCES room (id),
    event_id  TEXT NOT NULL,
    PRIMARY KEY (room, event_id)
) STRICT, WITHOUT ROWID;

-- Retractions met before the batch of whose records they take back.
CREATE TABLE retraction (
    room    INTEGER NOT NULL REFERENCES room (id),
    member  TEXT NOT NULL,         -- the key that the record's row will have
    sender  TEXT NOT NULL,
    PRIMARY KEY (room, member, sender)
) STRICT, WITHOUT ROWID;

-- Events that the server had and no longer has, as after its restore from a backup; their rows stay.
CREATE TABLE forgotten (
    event  INTEGER PRIMARY KEY REFERENCES event (id)
) STRICT;

-- Whether an event changed again after it came: few do.
CREATE INDEX change_again ON change (event) WHERE kind IN ('redaction', 'revalidated', 'invalidated', 'edited');
