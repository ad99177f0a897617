BEGIN TRANSACTION;
CREATE TABLE checkpoints (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        job INTEGER NOT NULL REFERENCES jobs (seq),
        created_at INTEGER NOT NULL,
        step INTEGER NOT NULL,
        model TEXT NOT NULL,
        metrics TEXT NOT NULL,
        UNIQUE (job, step)
    );
INSERT INTO "checkpoints" VALUES(1,'ftckpt_aU2FzixCIdfJNXynuhUHn3SA',1,1796042911,2,'ft:gpt-4o-mini:local:tickets:bGjK5MVr:ckpt-step-2','{"step": 2, "train_loss": 0.4381378220083813, "train_mean_token_accuracy": 0.9166666666666666, "valid_loss": 0.1871871209921355, "valid_mean_token_accuracy": 0.9361702127659575, "full_valid_loss": 0.17789130352069565, "full_valid_mean_token_accuracy": 0.9382716049382716}');
CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints (id),
        event TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        status TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_at REAL NOT NULL,
        last_status INTEGER,
        last_error TEXT,
        delivered_at INTEGER
    );
CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        job INTEGER NOT NULL REFERENCES jobs (seq),
        created_at INTEGER NOT NULL,
        level TEXT NOT NULL,
        type TEXT NOT NULL,
        message TEXT NOT NULL,
        data TEXT,
        mark TEXT
    );
INSERT INTO "events" VALUES(1,'ftevent-zZdQSjx7gPUilYGzFQPBtjzc',1,1796042911,'info','message','Created fine-tuning job: ftjob-bGjK5MVrTIx7KsL3Vhv5L4Iy',NULL,NULL);
INSERT INTO "events" VALUES(2,'ftevent-wu2DTZoGandXl3IaJdgoewHL',1,1796042911,'info','message','Validating training file: file-quKQRNzMHLYaLgWIqgkk724f and validation file: file-S22obmpEb8Hz9TWkBeeyzgo7',NULL,NULL);
INSERT INTO "events" VALUES(3,'ftevent-9ZchcteKV2K52ocQwrvYfsvx',1,1796042911,'info','message','Files validated, moving job to queued state',NULL,NULL);
INSERT INTO "events" VALUES(4,'ftevent-aeTaUtrd5FZlzpV9JWSHdhHV',1,1796042911,'info','message','Fine-tuning job started',NULL,NULL);
INSERT INTO "events" VALUES(5,'ftevent-IH0slFPO2LzfSLMnqRqetv5c',1,1796042911,'info','message','Training on the local trainer ''bytes'': A small local learner, not a language model and not a hosted model. It learns short answers that follow from words of the question; it knows nothing else.',NULL,'training');
INSERT INTO "events" VALUES(6,'ftevent-cWr02d1x2YVRgJzWfnTaLPRj',1,1796042911,'warn','message','Weights & Biases isn''t installed here (pip install ''tuneway[wandb]''): not logged there',NULL,'wandb:missing');
INSERT INTO "events" VALUES(8,'ftevent-54COXSNjRJas0nnD2RwPw47n',1,1796042911,'info','metrics','Step 2/2: training loss=0.4381, validation loss=0.1872, full validation loss=0.1779','{"step": 2, "total_steps": 2, "train_loss": 0.4381378220083813, "train_mean_token_accuracy": 0.9166666666666666, "valid_loss": 0.1871871209921355, "valid_mean_token_accuracy": 0.9361702127659575, "full_valid_loss": 0.17789130352069565, "full_valid_mean_token_accuracy": 0.9382716049382716}','step:2');
INSERT INTO "events" VALUES(9,'ftevent-MKpU3yNIGjJrgQ1cLX3QaNWs',1,1796042911,'info','message','Checkpoint created at step 2: ft:gpt-4o-mini:local:tickets:bGjK5MVr:ckpt-step-2',NULL,'checkpoint:2');
INSERT INTO "events" VALUES(10,'ftevent-rgigys1rFYwDl7ViJpqnsvBU',1,1796042911,'info','message','New fine-tuned model created: ft:gpt-4o-mini:local:tickets:bGjK5MVr',NULL,'model');
INSERT INTO "events" VALUES(11,'ftevent-dAWgAhzjsC34pty7QVzmIjYH',1,1796042911,'info','message','The job has successfully completed',NULL,NULL);
INSERT INTO "events" VALUES(12,'ftevent-bFrQF86QYB7QpOnisVPLdsZv',2,1796042911,'info','message','Created fine-tuning job: ftjob-Vj5De9FnljVKZ8bbByuUpZVU',NULL,NULL);
INSERT INTO "events" VALUES(13,'ftevent-lGU93oyUVdSmZaS0ll0BUhBz',2,1796042911,'info','message','Validating training file: file-QpG1OIBWPQruFDRdGO0VMdL9',NULL,NULL);
INSERT INTO "events" VALUES(14,'ftevent-ugP5EjxlznNK8qPpYyTuanF7',2,1796042911,'error','message','The job failed: Training file has 2 example(s), but must have at least 10 examples',NULL,NULL);
INSERT INTO "events" VALUES(15,'ftevent-c94aGPb4mQHUUusfnzVPWxur',3,1796042911,'info','message','Created fine-tuning job: ftjob-LAKrpd1Q7h4z1qteu4J0OZuq',NULL,NULL);
INSERT INTO "events" VALUES(16,'ftevent-XQH8ZzEZZYv3p31IyGTPhEL8',3,1796042911,'info','message','Validating training file: file-zt0AZw76vopJt8gDBWWQx5J2',NULL,NULL);
INSERT INTO "events" VALUES(17,'ftevent-ee9BWSkJmalubYuI69ov0CGX',3,1796042911,'info','message','Files validated, moving job to queued state',NULL,NULL);
INSERT INTO "events" VALUES(18,'ftevent-GY6AXZi2eBjguNULHGYNx2Uk',3,1796042911,'info','message','Fine-tuning job started',NULL,NULL);
INSERT INTO "events" VALUES(19,'ftevent-QjjHSO9oXQRmfAAJJ6tMSjBt',3,1796042911,'info','message','Pausing the job',NULL,NULL);
INSERT INTO "events" VALUES(20,'ftevent-c32r8sjabzYHtfQJvNbhiLNZ',3,1796042911,'info','message','Training on the local trainer ''bytes'': A small local learner, not a language model and not a hosted model. It learns short answers that follow from words of the question; it knows nothing else.',NULL,'training');
INSERT INTO "events" VALUES(21,'ftevent-44dudaGpPIdu6RLSesnfe05B',3,1796042912,'info','metrics','Step 1/1000: training loss=5.5491','{"step": 1, "total_steps": 1000, "train_loss": 5.549076080322266, "train_mean_token_accuracy": 0.0}','step:1');
INSERT INTO "events" VALUES(22,'ftevent-TDcAjIeYnyuxZZQ21JFZML4e',3,1796042912,'info','message','The training is stopped; its state is saved',NULL,NULL);
INSERT INTO "events" VALUES(23,'ftevent-DvTYXVWe16WeO4WeXpRNUYF4',4,1796042912,'info','message','Created fine-tuning job: ftjob-kqpiUyWFUmpsF83D0tzQmA7c',NULL,NULL);
INSERT INTO "events" VALUES(24,'ftevent-tL72jitWqWwUKk0j5Z1byysE',4,1796042912,'info','message','Validating training file: file-quKQRNzMHLYaLgWIqgkk724f',NULL,NULL);
INSERT INTO "events" VALUES(25,'ftevent-JsJ9i7EM7K0atMJdZuE4vHMp',4,1796042912,'info','message','The job was cancelled',NULL,NULL);
CREATE TABLE files (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        deleted_at INTEGER,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    );
INSERT INTO "files" VALUES(1,'file-quKQRNzMHLYaLgWIqgkk724f',1796042911,NULL,NULL,'train.jsonl','fine-tune',1628,'b9e9669acbce1bc84562378f6595edfdc375875aa8249e7373615f1ca6b76bee');
INSERT INTO "files" VALUES(2,'file-S22obmpEb8Hz9TWkBeeyzgo7',1796042911,NULL,NULL,'valid.jsonl','fine-tune',1368,'22d9ffe9dfb0bb0f673e3306940c9733edaabee2d5b962f4bd48e2e1fc3c8563');
INSERT INTO "files" VALUES(3,'file-QpG1OIBWPQruFDRdGO0VMdL9',1796042911,NULL,NULL,'few.jsonl','fine-tune',268,'9bf56634ea1278276b8291eeabb4e45c59165d30568291136f5b8cac834c3cc3');
INSERT INTO "files" VALUES(4,'file-CGFCketdFOBHMlUIU92qy9UB',1796042911,NULL,NULL,'step_metrics.csv','fine-tune-results',304,'84d770504f896fcb573b733044a820cb23bb11e25db0a2d319838491d9d64cca');
INSERT INTO "files" VALUES(5,'file-zt0AZw76vopJt8gDBWWQx5J2',1796042911,NULL,NULL,'slow.jsonl','fine-tune',2720,'08c67b621f03fcdaebf56a8f5b876fcfcb477051f48ef56536536a899fb7a666');
CREATE TABLE idempotency (
        key TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        reply TEXT NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE job_metadata (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        job INTEGER NOT NULL REFERENCES jobs (seq),
        PRIMARY KEY (key, value, job)
    ) WITHOUT ROWID;
INSERT INTO "job_metadata" VALUES('team','support',1);
INSERT INTO "job_metadata" VALUES('ü','ß',1);
CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        finished_at INTEGER,
        status TEXT NOT NULL,
        trainer TEXT NOT NULL,
        plain INTEGER NOT NULL,
        body TEXT NOT NULL,
        hyperparameters TEXT,
        error TEXT,
        fine_tuned_model TEXT,
        result_file TEXT,
        trained_tokens INTEGER,
        estimated_finish INTEGER,
        usage TEXT,
        -- a worker may be alive; how often one was started, and how often it was lost without getting further
        occupied INTEGER NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        -- the last step that a worker told of, that of the last start, and how far its journal has been read
        step INTEGER NOT NULL DEFAULT 0,
        step_at_start INTEGER NOT NULL DEFAULT 0,
        journal_read INTEGER NOT NULL DEFAULT 0
    );
INSERT INTO "jobs" VALUES(1,'ftjob-bGjK5MVrTIx7KsL3Vhv5L4Iy',1796042911,1796042911,'succeeded','bytes',0,'{"model": "gpt-4o-mini", "training_file": "file-quKQRNzMHLYaLgWIqgkk724f", "validation_file": "file-S22obmpEb8Hz9TWkBeeyzgo7", "method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 6, "n_epochs": 1}}}, "seed": 7, "suffix": "tickets", "metadata": {"team": "support", "\u00fc": "\u00df"}, "integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["t"], "run_id": "ofywcyik"}}]}','{"n_epochs": 1, "batch_size": 6, "learning_rate_multiplier": 1.0}',NULL,'ft:gpt-4o-mini:local:tickets:bGjK5MVr','file-CGFCketdFOBHMlUIU92qy9UB',96,NULL,'{"seconds": 0.258, "cpu_seconds": 0.444}',0,1,0,2,0,1389);
INSERT INTO "jobs" VALUES(2,'ftjob-Vj5De9FnljVKZ8bbByuUpZVU',1796042911,1796042911,'failed','bytes',1,'{"model": "gpt-4o-mini", "training_file": "file-QpG1OIBWPQruFDRdGO0VMdL9", "validation_file": null, "method": {"type": "supervised", "supervised": {"hyperparameters": {}}}, "seed": 1844927453, "suffix": null, "metadata": null, "integrations": []}',NULL,'{"code": "invalid_n_examples", "message": "Training file has 2 example(s), but must have at least 10 examples", "param": "training_file"}',NULL,NULL,NULL,NULL,NULL,0,0,0,0,0,0);
INSERT INTO "jobs" VALUES(3,'ftjob-LAKrpd1Q7h4z1qteu4J0OZuq',1796042911,NULL,'paused','bytes',1,'{"model": "gpt-4o-mini", "training_file": "file-zt0AZw76vopJt8gDBWWQx5J2", "validation_file": null, "method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 1, "n_epochs": 50}}}, "seed": 1168420233, "suffix": null, "metadata": null, "integrations": []}','{"n_epochs": 50, "batch_size": 1, "learning_rate_multiplier": 1.0}',NULL,NULL,NULL,NULL,NULL,NULL,0,1,0,1,0,433);
INSERT INTO "jobs" VALUES(4,'ftjob-kqpiUyWFUmpsF83D0tzQmA7c',1796042912,1796042912,'cancelled','bytes',1,'{"model": "gpt-4o-mini", "training_file": "file-quKQRNzMHLYaLgWIqgkk724f", "validation_file": null, "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}, "seed": 458335231, "suffix": null, "metadata": null, "integrations": []}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,0,0);
CREATE TABLE models (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        deleted_at INTEGER,
        job_id TEXT NOT NULL REFERENCES jobs (id),
        trainer TEXT NOT NULL,
        folder TEXT NOT NULL
    );
INSERT INTO "models" VALUES(1,'ft:gpt-4o-mini:local:tickets:bGjK5MVr:ckpt-step-2',1796042911,NULL,'ftjob-bGjK5MVrTIx7KsL3Vhv5L4Iy','bytes','checkpoints/2');
INSERT INTO "models" VALUES(2,'ft:gpt-4o-mini:local:tickets:bGjK5MVr',1796042911,NULL,'ftjob-bGjK5MVrTIx7KsL3Vhv5L4Iy','bytes','model');
CREATE TABLE permissions (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        model TEXT NOT NULL,
        project_id TEXT NOT NULL,
        UNIQUE (model, project_id)
    );
CREATE TABLE upload_parts (
        id TEXT PRIMARY KEY,
        upload_id TEXT NOT NULL REFERENCES uploads (id),
        created_at INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        file_expires_after INTEGER,
        status TEXT NOT NULL,
        file_id TEXT REFERENCES files (id)
    ) WITHOUT ROWID;
CREATE TABLE webhook_endpoints (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        deleted_at INTEGER,
        name TEXT NOT NULL,
        url TEXT NOT NULL,
        event_types TEXT NOT NULL,
        secret TEXT NOT NULL,
        old_secret TEXT,
        old_secret_until INTEGER
    );
CREATE INDEX files_by_purpose ON files (purpose, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_by_expiry ON files (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX uploads_by_expiry ON uploads (expires_at) WHERE status = 'pending';
CREATE INDEX parts_by_upload ON upload_parts (upload_id);
CREATE INDEX jobs_by_status ON jobs (status, seq);
CREATE INDEX jobs_occupied ON jobs (seq) WHERE occupied;
CREATE INDEX jobs_plain ON jobs (seq) WHERE plain;
CREATE INDEX events_by_job ON events (job, seq);
CREATE UNIQUE INDEX events_once ON events (job, mark) WHERE mark IS NOT NULL;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE status = 'pending';
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, seq);
COMMIT;
PRAGMA user_version = 1;
