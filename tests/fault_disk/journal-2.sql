-- What the second format added.
CREATE TABLE command(
    key TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT,
    by TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,                   -- NULL: under way
    outcome TEXT,                       -- executed, failed, unsure
    detail TEXT
) WITHOUT ROWID;
CREATE INDEX command_under_way ON command(begun_at) WHERE ended_at IS NULL;
CREATE INDEX command_ended ON command(ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE access(
    subject TEXT PRIMARY KEY,           -- doors/<id>, devices/<id>
    state TEXT NOT NULL
) WITHOUT ROWID;
