-- The journal of a run. docs/coordinator.md explains it; times are Unix milliseconds of the coordinator's
-- machine, for people only: no decision reads them.

-- One row per start of a coordinator on this run.
CREATE TABLE runs (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    goal        TEXT    NOT NULL,              -- key of the last stage
    gang        INTEGER NOT NULL,              -- workers in a gang
    version     TEXT    NOT NULL,              -- of Fulcrum
    first_epoch INTEGER NOT NULL,              -- epochs of this start are not below it
    phase       TEXT    NOT NULL DEFAULT 'running',
    reason      TEXT    NOT NULL DEFAULT '',
    began_ms    INTEGER NOT NULL,
    changed_ms  INTEGER NOT NULL
) STRICT;

-- Every stage that a plan of this run has named, in its last known state.
CREATE TABLE stages (
    key        TEXT    PRIMARY KEY,
    run        INTEGER NOT NULL REFERENCES runs (id), -- the last start whose plan has it
    position   INTEGER NOT NULL,               -- in that plan
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,               -- prepare, train, infer, merge, measure
    state      TEXT    NOT NULL,               -- waiting, ready, running, done, cached, failed
    attempts   INTEGER NOT NULL,               -- epochs begun in that start
    message    TEXT    NOT NULL DEFAULT '',    -- last failure; empty once its files are made
    pending    TEXT,                           -- JSON of a manifest on its way into the store
    changed_ms INTEGER NOT NULL
) STRICT;

-- Every assignment: a gang's attempt at a stage, or a worker's at a shard.
CREATE TABLE epochs (
    epoch    INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL REFERENCES runs (id),
    stage    TEXT    NOT NULL REFERENCES stages (key),
    shard    INTEGER,                          -- number of the shard; NULL for a gang
    members  TEXT    NOT NULL,                 -- JSON list of seats by rank
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER,                          -- NULL while it runs
    outcome  TEXT,                             -- done, failed, aborted, lost
    reason   TEXT
) STRICT;

-- Finished shards. They are kept over restarts until their stage is done or they prove unusable.
CREATE TABLE shards (
    stage      TEXT    NOT NULL REFERENCES stages (key),
    shard      INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,               -- the one that made it
    product    TEXT    NOT NULL,               -- JSON: epoch, class of worker, files, facts
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (stage, shard)
) STRICT;

-- Every worker process that joined.
CREATE TABLE workers (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES runs (id),
    seat        TEXT    NOT NULL,
    incarnation TEXT    NOT NULL,
    host        TEXT    NOT NULL,
    pid         INTEGER NOT NULL,
    device      TEXT    NOT NULL,
    threads     INTEGER NOT NULL,
    joined_ms   INTEGER NOT NULL,
    left_ms     INTEGER,                       -- NULL while it is here
    reason      TEXT                           -- why it left
) STRICT;

-- Every decision, in words. One that is repeated while nothing changes is written once.
CREATE TABLE events (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL REFERENCES runs (id),
    at_ms INTEGER NOT NULL,
    event TEXT    NOT NULL
) STRICT;
