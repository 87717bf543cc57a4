-- The journal's first format, as it was; it never changes any more.
CREATE TABLE gateway(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    epoch TEXT NOT NULL,
    number INTEGER NOT NULL,            -- the last ticket number used
    committed INTEGER NOT NULL          -- time of the last commit
);
CREATE TABLE event(
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,                -- when it was written
    kind TEXT NOT NULL,
    ticket TEXT,                        -- the ticket it speaks of
    json TEXT NOT NULL
);
CREATE TABLE ticket(
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    device TEXT,
    closed_at INTEGER,
    last_seq INTEGER NOT NULL,          -- the last event that speaks of it
    subject TEXT NOT NULL,
    life TEXT NOT NULL,                 -- the rules' own
    json TEXT NOT NULL
);
CREATE INDEX ticket_unclosed ON ticket(id) WHERE state <> 'closed';
CREATE INDEX ticket_closed ON ticket(closed_at) WHERE state = 'closed';
CREATE TABLE episode(
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (rule, subject)
) WITHOUT ROWID;
CREATE TABLE device(
    id TEXT PRIMARY KEY,
    online INTEGER NOT NULL,            -- 0 offline, 1 online, 2 degraded
    since INTEGER NOT NULL,
    why TEXT
) WITHOUT ROWID;
CREATE TABLE consumer(
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    required INTEGER NOT NULL,
    configured INTEGER NOT NULL,        -- the configuration names it
    acknowledged INTEGER NOT NULL,
    seen INTEGER,
    error TEXT
) WITHOUT ROWID;
CREATE TABLE aside(
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (consumer, seq)
) WITHOUT ROWID;
