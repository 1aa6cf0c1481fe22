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
CREATE INDEX examples_of_dataset_now ON examples (dataset_id, position, id) WHERE ended_at IS NULL;
CREATE INDEX examples_of_dataset ON examples (dataset_id, position, modified_at);
CREATE INDEX examples_recent ON examples (dataset_id, modified_at DESC, position) WHERE ended_at IS NULL;
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

CREATE TABLE experiment_numbers (  -- the last number given in a dataset, which may be of an experiment that is deleted
    dataset_id TEXT PRIMARY KEY REFERENCES datasets (id) ON DELETE CASCADE,
    last       INTEGER NOT NULL
) WITHOUT ROWID;

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
CREATE INDEX steps_of_trace ON runs (trace_id, dotted_order) WHERE is_root = 0;  -- a root is found by its id
CREATE INDEX runs_of_example ON runs (reference_example_id, session_id) WHERE reference_example_id IS NOT NULL;
CREATE INDEX runs_of_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX roots_of_session ON runs (session_id, latency, start_time) WHERE is_root = 1;  -- for percentiles

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

CREATE TABLE early_usage (  -- what runs add to ancestors that are not here yet
    run_id            TEXT PRIMARY KEY,  -- the ancestor
    session_id        TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens      INTEGER NOT NULL,
    prompt_cost       INTEGER NOT NULL,
    completion_cost   INTEGER NOT NULL,
    total_cost        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX early_usage_of_session ON early_usage (session_id);

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
    is_root                   INTEGER,  -- of its run; NULL without a run, and until its run arrives
    trace_id                  TEXT,
    comparative_experiment_id TEXT,
    feedback_group_id         TEXT,
    key                       TEXT NOT NULL,
    score                     REAL,  -- NULL: not scored; true and false are 1 and 0
    units                     INTEGER GENERATED ALWAYS AS (  -- the score in 1/10000; NULL where that is not exact
        CASE WHEN abs(score) < 1e6 AND round(score * 10000) / 10000.0 = score
        THEN CAST(round(score * 10000) AS INTEGER) END
    ) VIRTUAL,
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
-- In the order of arrival: new rows go to the end of a key instead of everywhere.
CREATE INDEX feedback_of_session ON feedback (session_id, key, seq, run_id, score);
CREATE INDEX feedback_values ON feedback (session_id, key, value, is_root, run_id)
    WHERE value IS NOT NULL AND comparative_experiment_id IS NULL;
CREATE INDEX feedback_recent ON feedback (session_id, created_at);
CREATE INDEX feedback_waiting ON feedback (run_id) WHERE is_root IS NULL AND run_id IS NOT NULL;
CREATE INDEX feedback_of_comparison ON feedback (comparative_experiment_id, key, run_id) WHERE comparative_experiment_id IS NOT NULL;

-- What a session's root runs and their feedback add up to. New rows are counted by the request that brings them, many
-- at a time (migrations.py); triggers count changes and deletes, of which there are few. `changes` grows with every
-- write: what was made of the rest is as good as before while it stays.
CREATE TABLE run_totals (
    session_id        TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    runs              INTEGER NOT NULL,
    finished          INTEGER NOT NULL,
    errors            INTEGER NOT NULL,
    last_start        INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens      INTEGER NOT NULL,
    prompt_cost       INTEGER NOT NULL,
    completion_cost   INTEGER NOT NULL,
    total_cost        INTEGER NOT NULL,
    changes           INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER run_changed AFTER UPDATE ON runs WHEN NEW.is_root = 1 BEGIN
    UPDATE run_totals SET
        finished = finished + (NEW.end_time IS NOT NULL) - (OLD.end_time IS NOT NULL),
        errors = errors + (NEW.status = 'error') - (OLD.status = 'error'),
        prompt_tokens = prompt_tokens + NEW.prompt_tokens - OLD.prompt_tokens,
        completion_tokens = completion_tokens + NEW.completion_tokens - OLD.completion_tokens,
        total_tokens = total_tokens + NEW.total_tokens - OLD.total_tokens,
        prompt_cost = prompt_cost + NEW.prompt_cost - OLD.prompt_cost,
        completion_cost = completion_cost + NEW.completion_cost - OLD.completion_cost,
        total_cost = total_cost + NEW.total_cost - OLD.total_cost,
        changes = changes + 1
    WHERE session_id = NEW.session_id;
END;

CREATE TRIGGER run_removed AFTER DELETE ON runs WHEN OLD.is_root = 1 BEGIN
    UPDATE run_totals SET
        runs = runs - 1, finished = finished - (OLD.end_time IS NOT NULL), errors = errors - (OLD.status = 'error'),
        prompt_tokens = prompt_tokens - OLD.prompt_tokens,
        completion_tokens = completion_tokens - OLD.completion_tokens,
        total_tokens = total_tokens - OLD.total_tokens,
        prompt_cost = prompt_cost - OLD.prompt_cost,
        completion_cost = completion_cost - OLD.completion_cost,
        total_cost = total_cost - OLD.total_cost,
        changes = changes + 1
    WHERE session_id = OLD.session_id;
END;

-- By metric; preferences of pairwise comparisons, which mean nothing outside of them, are not in it, nor is
-- feedback on child runs.
CREATE TABLE feedback_totals (
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    key        TEXT NOT NULL,
    overall    INTEGER NOT NULL,  -- 1: feedback on the session as a whole, 0: on its root runs
    items      INTEGER NOT NULL,
    scored     INTEGER NOT NULL,
    inexact    INTEGER NOT NULL,  -- of these, how many have no units
    units      INTEGER NOT NULL,  -- the sum of the others
    valued     INTEGER NOT NULL,  -- how many have a value
    changes    INTEGER NOT NULL,
    PRIMARY KEY (session_id, key, overall)
) WITHOUT ROWID;

CREATE TRIGGER feedback_removed AFTER DELETE ON feedback
WHEN OLD.session_id IS NOT NULL AND OLD.comparative_experiment_id IS NULL AND (OLD.is_root = 1 OR OLD.run_id IS NULL)
BEGIN
    UPDATE feedback_totals SET
        items = items - 1, scored = scored - (OLD.score IS NOT NULL),
        inexact = inexact - (OLD.score IS NOT NULL AND OLD.units IS NULL), units = units - coalesce(OLD.units, 0),
        valued = valued - (OLD.value IS NOT NULL), changes = changes + 1
    WHERE session_id = OLD.session_id AND key = OLD.key AND overall = (OLD.run_id IS NULL);
END;

-- A change of a score, or a run that arrives after its feedback: out with the old, in with the new.
CREATE TRIGGER feedback_changed_from AFTER UPDATE ON feedback
WHEN OLD.session_id IS NOT NULL AND OLD.comparative_experiment_id IS NULL AND (OLD.is_root = 1 OR OLD.run_id IS NULL)
BEGIN
    UPDATE feedback_totals SET
        items = items - 1, scored = scored - (OLD.score IS NOT NULL),
        inexact = inexact - (OLD.score IS NOT NULL AND OLD.units IS NULL), units = units - coalesce(OLD.units, 0),
        valued = valued - (OLD.value IS NOT NULL), changes = changes + 1
    WHERE session_id = OLD.session_id AND key = OLD.key AND overall = (OLD.run_id IS NULL);
END;

CREATE TRIGGER feedback_changed_to AFTER UPDATE ON feedback
WHEN NEW.session_id IS NOT NULL AND NEW.comparative_experiment_id IS NULL AND (NEW.is_root = 1 OR NEW.run_id IS NULL)
BEGIN
    INSERT INTO feedback_totals VALUES (
        NEW.session_id, NEW.key, NEW.run_id IS NULL, 1, NEW.score IS NOT NULL,
        NEW.score IS NOT NULL AND NEW.units IS NULL, coalesce(NEW.units, 0), NEW.value IS NOT NULL, 1
    ) ON CONFLICT (session_id, key, overall) DO UPDATE SET
        items = items + 1, scored = scored + excluded.scored, inexact = inexact + excluded.inexact,
        units = units + excluded.units, valued = valued + excluded.valued, changes = changes + 1;
END;

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

CREATE TABLE annotation_queues (  -- what people are to review
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    body       TEXT NOT NULL  -- JSON: every other field as received, the rubric too
);

CREATE TABLE queue_items (
    seq                        INTEGER PRIMARY KEY,
    id                         TEXT NOT NULL UNIQUE,
    queue_id                   TEXT NOT NULL REFERENCES annotation_queues (id) ON DELETE CASCADE,
    session_id                 TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    run_id                     TEXT,     -- of an item of type RUN
    thread_id                  TEXT,     -- of an item of type THREAD
    start_time                 INTEGER,  -- of the run
    added_at                   INTEGER NOT NULL,
    last_reviewed_time         INTEGER,
    source_proposed_example_id TEXT
);
CREATE UNIQUE INDEX queue_items_once ON queue_items (queue_id, session_id, coalesce(run_id, thread_id));
CREATE INDEX queue_items_of_session ON queue_items (session_id);
CREATE INDEX queue_items_of_run ON queue_items (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE queue_reviews (  -- how far each reviewer is with an item
    item_id           TEXT NOT NULL REFERENCES queue_items (id) ON DELETE CASCADE,
    reviewer          TEXT NOT NULL,
    status            TEXT,              -- viewed, which reserves it for a while; completed; NULL: shown again
    changed_at        INTEGER NOT NULL,
    override_added_at INTEGER,           -- where the item stands for this reviewer instead of added_at
    PRIMARY KEY (item_id, reviewer)
) WITHOUT ROWID;

CREATE TABLE pair_reviews (  -- which reviewer looks at which pair of a comparison, or has put it off
    comparative_experiment_id TEXT NOT NULL REFERENCES comparative_experiments (id) ON DELETE CASCADE,
    example_id                TEXT NOT NULL,
    reviewer                  TEXT NOT NULL,
    viewed_at                 INTEGER,  -- which reserves the pair for a while
    put_off_at                INTEGER,  -- since then, it comes after the others for this reviewer
    PRIMARY KEY (comparative_experiment_id, example_id, reviewer)
) WITHOUT ROWID;

CREATE TABLE feedback_configs (  -- what the scores of a key mean
    feedback_key          TEXT PRIMARY KEY,
    id                    TEXT NOT NULL,
    is_lower_score_better INTEGER NOT NULL DEFAULT 0,
    modified_at           INTEGER NOT NULL,
    body                  TEXT NOT NULL  -- JSON: the feedback_config as received
) WITHOUT ROWID;
