-- What the third format added.
CREATE TABLE maintenance(
    scope TEXT NOT NULL,                -- device, place, rule
    name TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    by TEXT NOT NULL,
    note TEXT,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
