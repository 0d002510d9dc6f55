-- Rows that cannot be computed, which schema.sql knew nothing of at first either.

-- How far the search for such rows of a shard is, and what it has found.
CREATE TABLE searches (
    stage  TEXT    NOT NULL REFERENCES stages (key),
    shard  INTEGER NOT NULL,
    search TEXT    NOT NULL,                   -- JSON: rows found with why they fail, and what is asked next
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (stage, shard)
) STRICT;
