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
    records      INTEGER NOT NULL DEFAULT 1,          -- how many it holds
    alone        INTEGER NOT NULL DEFAULT 0,          -- 1: it is to be an event of its own, as was asked for
    made         INTEGER NOT NULL DEFAULT 0,          -- 1: a batch of records that are rows here, each with its id in `batch`
    batch        INTEGER,                             -- the batch in which this record travels; NULL: by itself
    turn         INTEGER,                             -- of a made batch the first of their ids: it is sent in that place
    job          INTEGER,                             -- the import whose rows these are; should they be dropped unsent,
    job_row      INTEGER,                             -- they are to be accepted again: the first of them,
    job_last     INTEGER,                             -- and the last
    UNIQUE (room_id, uid)
) STRICT;
CREATE INDEX outbox_next ON outbox (state, room_id, ifnull(turn, id)) WHERE batch IS NULL;
CREATE INDEX outbox_event ON outbox (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX outbox_batch ON outbox (batch) WHERE batch IS NOT NULL;
CREATE TRIGGER outbox_gone AFTER DELETE ON outbox WHEN OLD.made = 1 BEGIN
    DELETE FROM outbox WHERE batch = OLD.id;
END;

-- The same, each row with what became of the batch in which it travels.
CREATE VIEW entry AS
SELECT o.id, o.room_id, o.uid, o.txn_id, o.type, o.content, o.value, o.time, o.accepted_at,
       iif(b.id IS NULL, o.state, b.state) AS state,
       iif(b.id IS NULL, o.event_id, b.event_id) AS event_id,
       iif(b.id IS NULL, o.reason, b.reason) AS reason,
       iif(b.id IS NULL, o.attempts, b.attempts) AS attempts,
       iif(b.id IS NULL, o.first_attempt, b.first_attempt) AS first_attempt,
       iif(b.id IS NULL, o.last_attempt, b.last_attempt) AS last_attempt,
       iif(b.id IS NULL, o.next_attempt, b.next_attempt) AS next_attempt,
       iif(b.id IS NULL, o.after_event, b.after_event) AS after_event,
       o.records, o.made, o.batch, o.turn, o.alone
FROM outbox o LEFT JOIN outbox b ON b.id = o.batch;

-- What is sent in place of an item's content in an encrypted room: the same bytes as long as they may have arrived.
CREATE TABLE wire (
    item      INTEGER PRIMARY KEY,                    -- of the outbox
    type      TEXT NOT NULL,
    content   BLOB NOT NULL,
    checksum  INTEGER NOT NULL                        -- CRC-32 of it
) STRICT;
CREATE TRIGGER wire_gone AFTER DELETE ON outbox BEGIN DELETE FROM wire WHERE item = old.id; END;

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
    event_id   TEXT,               -- behind it it goes on in another replica; NULL: where it began
    PRIMARY KEY (room_id, name)
) STRICT;

-- End-to-end encryption (matrixdata.encryption). Columns named `sealed` and `pickle` are encrypted with the pickle key,
-- which is kept outside this file.

-- This device's own keys. A login as another device begins anew.
CREATE TABLE olm_account (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    user_id      TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    curve25519   TEXT NOT NULL,
    ed25519      TEXT NOT NULL,
    pickle       TEXT NOT NULL,
    published    INTEGER NOT NULL DEFAULT 0,  -- 1: the server has the device keys
    on_server    INTEGER NOT NULL DEFAULT 0,  -- unclaimed one-time keys there, as it last said
    fallback_at  INTEGER,                     -- when the fallback key was made, microseconds since 1970 UTC
    fallback_used INTEGER NOT NULL DEFAULT 0, -- 1: the server has given it to somebody
    not_before   INTEGER NOT NULL DEFAULT 0,  -- no keys are offered before, after a refusal
    token        TEXT                         -- where the to-device stream goes on
) STRICT;

-- Devices of users with whom we share encrypted rooms, as their owners' servers list them; never trusted for that alone.
CREATE TABLE device (
    user_id     TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    curve25519  TEXT NOT NULL,
    ed25519     TEXT NOT NULL,
    keys        BLOB NOT NULL,               -- the signed device keys, JSON
    deleted     INTEGER NOT NULL DEFAULT 0,  -- 1: not listed (any more); kept, as its keys must not come back changed
    blocked     INTEGER NOT NULL DEFAULT 0,  -- 1: we refuse it keys
    PRIMARY KEY (user_id, device_id, ed25519)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX device_key ON device (curve25519);
CREATE UNIQUE INDEX device_listed ON device (user_id, device_id) WHERE NOT deleted;

-- The cross-signing keys of users, pinned at first sight.
CREATE TABLE identity (
    user_id       TEXT PRIMARY KEY,
    master        TEXT NOT NULL,             -- Ed25519 public keys, unpadded base64
    self_signing  TEXT,
    user_signing  TEXT,                      -- ours only
    keys          BLOB NOT NULL,             -- the signed objects, JSON
    pinned        TEXT NOT NULL,             -- the master key that was seen first, or acknowledged since
    verified      INTEGER NOT NULL DEFAULT 0 -- 1: we verified the pinned key; a change then blocks sending
) STRICT, WITHOUT ROWID;

-- Users whose devices we keep track of. `stale` counts changes not asked for yet; an answer to an older question is no answer.
CREATE TABLE tracked (
    user_id  TEXT PRIMARY KEY,
    stale    INTEGER NOT NULL DEFAULT 1,     -- > 0: to be asked for
    failures INTEGER NOT NULL DEFAULT 0,     -- how often in a row their server did not answer
    not_before INTEGER NOT NULL DEFAULT 0    -- then not asked again before, microseconds since 1970 UTC
) STRICT, WITHOUT ROWID;

CREATE TABLE olm_session (
    session_id  TEXT PRIMARY KEY,
    sender_key  TEXT NOT NULL,
    pickle      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,            -- microseconds since 1970 UTC
    used_at     INTEGER NOT NULL             -- when something was last decrypted by it: the newest is written with
) STRICT, WITHOUT ROWID;
CREATE INDEX olm_session_key ON olm_session (sender_key, used_at);

-- Devices for which the server had no one-time key: not claimed again before.
CREATE TABLE unclaimable (
    curve25519  TEXT PRIMARY KEY,
    until       INTEGER NOT NULL             -- microseconds since 1970 UTC
) STRICT, WITHOUT ROWID;

-- Devices with whom a session was found broken: a new one is made at most once an hour.
CREATE TABLE unwedging (
    sender_key  TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL,
    at          INTEGER NOT NULL,            -- when it was found broken, microseconds since 1970 UTC
    pending     INTEGER NOT NULL             -- 1: a new one is still to be asked for
) STRICT, WITHOUT ROWID;

-- Digests of to-device messages that were decrypted: one that the server repeats must not look like a broken session.
CREATE TABLE olm_seen (
    digest  BLOB PRIMARY KEY,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX olm_seen_at ON olm_seen (at);

-- Requests to be sent, exactly as they are, until they are answered.
CREATE TABLE outgoing (
    id          TEXT PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,     -- they go in this order
    kind        TEXT NOT NULL,
    event_type  TEXT NOT NULL DEFAULT '',
    body        BLOB NOT NULL,
    purpose     TEXT NOT NULL DEFAULT ''     -- what its maker needs to know when it is answered, JSON
) STRICT;

-- Decrypted to-device events for others than the engine: verifications, secrets.
CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY,
    type        TEXT NOT NULL,
    sender      TEXT NOT NULL,
    sealed      BLOB NOT NULL,               -- the content
    sender_key  TEXT,
    device_id   TEXT,
    at          INTEGER NOT NULL
) STRICT;

-- Rooms known to be encrypted stay so, and never get looser settings, whatever the server says later.
CREATE TABLE encrypted_room (
    room_id      TEXT PRIMARY KEY,
    messages     INTEGER NOT NULL,           -- a session serves so many
    period       INTEGER NOT NULL            -- and so long, microseconds
) STRICT, WITHOUT ROWID;

-- Whom our own user trusts in a room. Never taken from the room.
CREATE TABLE room_policy (
    room_id      TEXT PRIMARY KEY,
    policy       TEXT NOT NULL CHECK (policy IN ('cross-signed', 'verified', 'all')),
    members      BLOB                        -- JSON list of user ids: only they get keys and are read; NULL: every member
) STRICT, WITHOUT ROWID;

-- The session we write a room with. Its ratchet is stored before anything encrypted by it leaves.
CREATE TABLE megolm_outbound (
    room_id     TEXT PRIMARY KEY,
    session_id  TEXT NOT NULL,
    pickle      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    messages    INTEGER NOT NULL DEFAULT 0,  -- encrypted so far
    shared      INTEGER NOT NULL DEFAULT 0,  -- history visibility at its start allows to share it later (MSC4268)
    members     BLOB NOT NULL DEFAULT x'5B5D', -- JSON list of who were members when it was last shared
    settled     INTEGER,                     -- trust_change.n when there was nothing left to share; NULL: there is
    left_out    BLOB NOT NULL DEFAULT x'5B5D' -- JSON: user id, device id and reason of each that got no key then
) STRICT, WITHOUT ROWID;
CREATE TABLE megolm_recipient (
    session_id  TEXT NOT NULL,               -- '': whoever was told once that no Olm session could be made
    user_id     TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    sender_key  TEXT NOT NULL,
    ix          INTEGER NOT NULL,            -- can read from this message on; -1: was told that it will not
    again       INTEGER NOT NULL DEFAULT 0,  -- 1: its Olm session broke, so it may not have got the key
    PRIMARY KEY (session_id, user_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE megolm_inbound (
    id           INTEGER PRIMARY KEY,
    room_id      TEXT NOT NULL,
    session_id   TEXT NOT NULL,
    sender_key   TEXT NOT NULL,
    ed25519      TEXT NOT NULL,              -- the device's fingerprint, as it claimed or proved
    owner        TEXT,                       -- the user whose device it is; NULL: not known
    origin       TEXT NOT NULL CHECK (origin IN ('own', 'device', 'forwarded', 'backup', 'file', 'bundle')),
    pickle       TEXT NOT NULL,
    first_index  INTEGER NOT NULL,
    shared       INTEGER NOT NULL DEFAULT 0, -- flagged shared_history by its sender
    standing     TEXT NOT NULL DEFAULT 'unknown', -- the best that was ever known of the device
    forwarders   BLOB NOT NULL DEFAULT x'5B5D', -- JSON list of Curve25519 keys it passed through
    source       TEXT,                       -- for a bundle: the user on whose word we have it
    backed_up    TEXT,                       -- version of the backup that has it as it is here
    UNIQUE (room_id, session_id)
) STRICT;
CREATE INDEX megolm_inbound_backup ON megolm_inbound (backed_up);

-- Which event used which index of a session: another event with the same is a replay, also after a restart.
CREATE TABLE megolm_index (
    session  INTEGER NOT NULL,               -- megolm_inbound.id
    ix       INTEGER NOT NULL,
    event    BLOB NOT NULL,                  -- digest of event id and time
    PRIMARY KEY (session, ix)
) STRICT, WITHOUT ROWID;

-- Why a sender did not give us a session's key (m.room_key.withheld). It comes unencrypted: a hint, no more.
CREATE TABLE withheld (
    room_id     TEXT NOT NULL,               -- '' with session_id the device's Curve25519 key: all of that device's
    session_id  TEXT NOT NULL,
    sender      TEXT NOT NULL,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    UNIQUE (room_id, session_id, sender)
) STRICT;

-- Keys of sessions that we asked our own devices for.
CREATE TABLE key_request (
    id          TEXT PRIMARY KEY,
    room_id     TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    at          INTEGER NOT NULL,
    devices     BLOB NOT NULL,               -- JSON list of the devices asked
    UNIQUE (room_id, session_id)
) STRICT;

-- Keys that our own devices asked us for, until they are answered or a day old.
CREATE TABLE key_asked (
    request_id  TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    room_id     TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (device_id, request_id)
) STRICT, WITHOUT ROWID;

-- Bundles of a room's keys that others offered us (MSC4268), until we join by their invite or the offer is old.
CREATE TABLE key_bundle (
    room_id     TEXT NOT NULL,
    sender      TEXT NOT NULL,
    sender_key  TEXT NOT NULL,               -- Curve25519 key of the device that offered it
    sealed      BLOB NOT NULL,               -- where the encrypted file is, and its key
    at          INTEGER NOT NULL,
    PRIMARY KEY (room_id, sender)
) STRICT, WITHOUT ROWID;

-- Who invited us to rooms that we joined: only their bundles are opened.
CREATE TABLE key_invite (
    room_id     TEXT PRIMARY KEY,
    inviter     TEXT NOT NULL,
    at          INTEGER NOT NULL             -- microseconds since 1970 UTC
) STRICT, WITHOUT ROWID;

-- Counts changes in who is there and trusted: while it stands still, nobody is weighed anew for each message.
CREATE TABLE trust_change (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    n   INTEGER NOT NULL
) STRICT;
INSERT INTO trust_change VALUES (1, 0);
CREATE TRIGGER device_insert AFTER INSERT ON device BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER device_update AFTER UPDATE ON device BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER device_delete AFTER DELETE ON device BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER identity_insert AFTER INSERT ON identity BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER identity_update AFTER UPDATE ON identity BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER identity_delete AFTER DELETE ON identity BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER tracked_insert AFTER INSERT ON tracked BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER tracked_update AFTER UPDATE ON tracked BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER tracked_delete AFTER DELETE ON tracked BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER room_policy_insert AFTER INSERT ON room_policy BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER room_policy_update AFTER UPDATE ON room_policy BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER room_policy_delete AFTER DELETE ON room_policy BEGIN UPDATE trust_change SET n = n + 1; END;
CREATE TRIGGER recipient_again AFTER UPDATE OF again ON megolm_recipient BEGIN UPDATE trust_change SET n = n + 1; END;

-- Private keys: cross-signing, backup.
CREATE TABLE secret (
    name    TEXT PRIMARY KEY,                -- m.cross_signing.master and so on, as in secret storage
    sealed  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The server-side key backup in use.
CREATE TABLE key_backup (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    version     TEXT NOT NULL,
    public_key  TEXT NOT NULL,
    trusted     INTEGER NOT NULL             -- 1: its key is ours: signed by our identity, or its secret is here
) STRICT;
