-- The model of the embedded store. A column only for what is filtered, sorted or aggregated on; the rest is
-- kept as JSON text. Every time is an integer: microseconds since 1970 UTC. Every cost is an integer too, in
-- 1e-12 USD, so that sums and corrections are exact. Ids are lower-case UUID text with hyphens.

CREATE TABLE migrations (
    name       TEXT PRIMARY KEY,
    applied_at INTEGER NOT NULL
);

CREATE TABLE datasets (
    id                     TEXT PRIMARY KEY,
    name                   TEXT NOT NULL UNIQUE,
    description            TEXT,
    data_type              TEXT NOT NULL DEFAULT 'kv',
    created_at             INTEGER NOT NULL,
    modified_at            INTEGER NOT NULL,
    baseline_experiment_id TEXT,
    externally_managed     INTEGER NOT NULL DEFAULT 0,
    metadata               TEXT,          -- JSON object or NULL
    body                   TEXT NOT NULL  -- JSON: inputs_schema_definition, outputs_schema_definition, transformations, extra
);

-- One row per version of an example: the current one has ended_at NULL, and an example whose last version has
-- ended is deleted. "As of T" is modified_at <= T AND (ended_at IS NULL OR ended_at > T).
CREATE TABLE examples (
    version       INTEGER PRIMARY KEY,
    id            TEXT NOT NULL,
    dataset_id    TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    position      INTEGER NOT NULL,  -- 1, 2, ... in the order the dataset received them; the same in every version
    created_at    INTEGER NOT NULL,
    modified_at   INTEGER NOT NULL,
    ended_at      INTEGER,
    source_run_id TEXT,
    inputs        TEXT NOT NULL,     -- JSON object
    outputs       TEXT,              -- JSON object or NULL: the reference
    metadata      TEXT NOT NULL      -- JSON object; dataset_split is the list of splits
);
CREATE UNIQUE INDEX examples_now ON examples (id) WHERE ended_at IS NULL;
CREATE INDEX examples_of_dataset_now ON examples (dataset_id, position, id) WHERE ended_at IS NULL;
CREATE INDEX examples_of_dataset ON examples (dataset_id, position, modified_at);
CREATE INDEX examples_history ON examples (id, modified_at);
CREATE INDEX examples_of_run ON examples (source_run_id) WHERE source_run_id IS NOT NULL;

CREATE TABLE dataset_tags (  -- names for points in a dataset's history, usable as as_of
    dataset_id TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    tag        TEXT NOT NULL,
    as_of      INTEGER NOT NULL,
    PRIMARY KEY (dataset_id, tag)
) WITHOUT ROWID;

-- An experiment when reference_dataset_id is set, else a project.
CREATE TABLE sessions (
    id                   TEXT PRIMARY KEY,
    name                 TEXT NOT NULL UNIQUE,
    reference_dataset_id TEXT REFERENCES datasets (id) ON DELETE CASCADE,
    default_dataset_id   TEXT,
    test_run_number      INTEGER,  -- 1, 2, ... within the dataset
    start_time           INTEGER NOT NULL,
    end_time             INTEGER,
    created_at           INTEGER NOT NULL,
    description          TEXT,
    trace_tier           TEXT,
    extra                TEXT      -- JSON object or NULL; extra.metadata holds the experiment's metadata
);
CREATE INDEX sessions_of_dataset ON sessions (reference_dataset_id, start_time);
CREATE INDEX sessions_by_start ON sessions (start_time);

CREATE TABLE runs (
    seq                  INTEGER PRIMARY KEY,
    id                   TEXT NOT NULL UNIQUE,
    session_id           TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    trace_id             TEXT NOT NULL,
    parent_run_id        TEXT,              -- its row may arrive later
    is_root              INTEGER NOT NULL,  -- 1 or 0
    reference_example_id TEXT,              -- may name an example that is not (or no longer) here
    dotted_order         TEXT NOT NULL,     -- a run's descendants are those whose dotted_order starts with its own and '.'
    name                 TEXT NOT NULL,
    run_type             TEXT NOT NULL,
    status               TEXT NOT NULL,     -- success, error, pending
    start_time           INTEGER NOT NULL,
    end_time             INTEGER,
    latency              INTEGER GENERATED ALWAYS AS (end_time - start_time) VIRTUAL,  -- NULL while pending
    own_prompt_tokens     INTEGER NOT NULL DEFAULT 0,  -- of this run itself, read from llm runs only
    own_completion_tokens INTEGER NOT NULL DEFAULT 0,
    own_total_tokens      INTEGER NOT NULL DEFAULT 0,
    own_prompt_cost       INTEGER NOT NULL DEFAULT 0,
    own_completion_cost   INTEGER NOT NULL DEFAULT 0,
    own_total_cost        INTEGER NOT NULL DEFAULT 0,
    prompt_tokens        INTEGER NOT NULL DEFAULT 0,   -- with all descendants, kept right by every write
    completion_tokens    INTEGER NOT NULL DEFAULT 0,
    total_tokens         INTEGER NOT NULL DEFAULT 0,
    prompt_cost          INTEGER NOT NULL DEFAULT 0,
    completion_cost      INTEGER NOT NULL DEFAULT 0,
    total_cost           INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_of_session ON runs (session_id, start_time);
CREATE INDEX runs_of_trace ON runs (trace_id, dotted_order);
CREATE INDEX runs_of_example ON runs (reference_example_id, session_id) WHERE reference_example_id IS NOT NULL;
CREATE INDEX runs_of_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
-- Everything a session's statistics need, so that they read this index alone.
CREATE INDEX roots_of_session ON runs (
    session_id, latency, status, start_time,
    prompt_tokens, completion_tokens, total_tokens, prompt_cost, completion_cost, total_cost
) WHERE is_root = 1;

-- The wide part of a run, apart from the columns above so that scanning those stays cheap.
CREATE TABLE run_bodies (
    seq     INTEGER PRIMARY KEY REFERENCES runs (seq) ON DELETE CASCADE,
    inputs  TEXT,          -- JSON object or NULL
    outputs TEXT,          -- JSON object or NULL
    error   TEXT,          -- plain text or NULL
    extra   TEXT,          -- JSON object or NULL; extra.metadata
    tags    TEXT,          -- JSON list of text or NULL
    rest    TEXT           -- JSON object or NULL: events, serialized and whatever else was sent
);

CREATE TABLE early_updates (  -- updates that overtook the run they belong to; applied when it arrives
    seq    INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    body   TEXT NOT NULL  -- JSON as received
);
CREATE INDEX early_updates_of_run ON early_updates (run_id);

CREATE TABLE attachments (
    owner_id  TEXT NOT NULL,     -- a run, or an example
    name      TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (owner_id, name)
);

CREATE TABLE comparative_experiments (
    id                   TEXT PRIMARY KEY,
    reference_dataset_id TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    name                 TEXT,
    description          TEXT,
    created_at           INTEGER NOT NULL,
    modified_at          INTEGER NOT NULL,
    extra                TEXT  -- JSON object or NULL
);
CREATE INDEX comparative_of_dataset ON comparative_experiments (reference_dataset_id, created_at);

CREATE TABLE comparative_members (
    comparative_experiment_id TEXT NOT NULL REFERENCES comparative_experiments (id) ON DELETE CASCADE,
    session_id                TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    position                  INTEGER NOT NULL,
    PRIMARY KEY (comparative_experiment_id, session_id)
) WITHOUT ROWID;
CREATE INDEX comparative_of_session ON comparative_members (session_id);

CREATE TABLE feedback (
    seq                       INTEGER PRIMARY KEY,
    id                        TEXT NOT NULL UNIQUE,
    run_id                    TEXT,  -- NULL: feedback on the session as a whole
    session_id                TEXT REFERENCES sessions (id) ON DELETE CASCADE,  -- NULL only until its run arrives
    trace_id                  TEXT,
    comparative_experiment_id TEXT,
    feedback_group_id         TEXT,
    key                       TEXT NOT NULL,
    score                     REAL,  -- NULL: not scored; true and false are 1 and 0
    value                     TEXT,  -- JSON or NULL
    comment                   TEXT,
    correction                TEXT,  -- JSON or NULL
    error                     INTEGER NOT NULL DEFAULT 0,  -- 1: the evaluator failed
    source_type               TEXT,  -- api, model, app, auto_eval
    created_at                INTEGER NOT NULL,
    modified_at               INTEGER NOT NULL,
    received                  TEXT NOT NULL  -- canonical JSON of what created it: the same again is no conflict
);
CREATE INDEX feedback_of_run ON feedback (run_id, key);
CREATE INDEX feedback_of_session ON feedback (session_id, key, run_id, score);
CREATE INDEX feedback_values ON feedback (session_id, key, value) WHERE value IS NOT NULL;
CREATE INDEX feedback_of_key ON feedback (key);
CREATE INDEX feedback_without_session ON feedback (run_id) WHERE session_id IS NULL;
CREATE INDEX feedback_of_comparison ON feedback (comparative_experiment_id, key, run_id) WHERE comparative_experiment_id IS NOT NULL;

CREATE TABLE evaluators (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    type       TEXT NOT NULL,    -- code or llm
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    body       TEXT NOT NULL     -- JSON: code_evaluator or llm_evaluator as received
);

CREATE TABLE rules (
    id            TEXT PRIMARY KEY,
    display_name  TEXT NOT NULL,
    dataset_id    TEXT REFERENCES datasets (id) ON DELETE CASCADE,
    session_id    TEXT REFERENCES sessions (id) ON DELETE CASCADE,
    evaluator_id  TEXT REFERENCES evaluators (id) ON DELETE CASCADE,
    is_enabled    INTEGER NOT NULL DEFAULT 1,
    sampling_rate REAL NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    body          TEXT NOT NULL  -- JSON: every other field as received
);
CREATE INDEX rules_of_dataset ON rules (dataset_id);
CREATE INDEX rules_of_session ON rules (session_id);

CREATE TABLE evaluator_jobs (  -- runs that the code of a rule has yet to score; a row goes when its scores are stored
    rule_id    TEXT NOT NULL REFERENCES rules (id) ON DELETE CASCADE,
    run_id     TEXT NOT NULL,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    queued_at  INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,  -- how often a server began it and did not come to an end
    PRIMARY KEY (rule_id, run_id)
) WITHOUT ROWID;
CREATE INDEX evaluator_jobs_by_time ON evaluator_jobs (queued_at);
CREATE INDEX evaluator_jobs_of_session ON evaluator_jobs (session_id);
CREATE INDEX evaluator_jobs_of_run ON evaluator_jobs (run_id);
