-- Redactions met before what they redact, as when older history is fetched later.
CREATE TABLE redaction (
    room      INTEGER NOT NULL REFERENCES room (id),
    event_id  TEXT NOT NULL,
    PRIMARY KEY (room, event_id)
) STRICT, WITHOUT ROWID;

-- Whether an event changed again after it came: few do.
CREATE INDEX change_again ON change (event) WHERE kind IN ('redaction', 'revalidated');
