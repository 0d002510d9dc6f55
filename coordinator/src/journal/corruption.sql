-- Silent corruption, which schema.sql knew nothing of at first: journals without these tables get them when they are opened.

-- Corrupted weights of trainings, each time that they were found.
CREATE TABLE named (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL REFERENCES runs (id),
    stage TEXT    NOT NULL REFERENCES stages (key),
    step  INTEGER NOT NULL,                    -- steps done
    who   TEXT    NOT NULL,                    -- a seat; several in words where it is not known which
    known INTEGER NOT NULL,                    -- 1 where it is
    at_ms INTEGER NOT NULL
) STRICT;

-- What ranks held when they differed, until a replay tells who was wrong.
CREATE TABLE doubts (
    stage TEXT    PRIMARY KEY REFERENCES stages (key),
    doubt TEXT    NOT NULL,                    -- JSON: the step, and by seat what it held
    at_ms INTEGER NOT NULL
) STRICT;
