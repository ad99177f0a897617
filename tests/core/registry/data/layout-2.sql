CREATE TABLE events ( name TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (name, seq)) WITHOUT ROWID;
CREATE TABLE files ( sha256 TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, role TEXT NOT NULL, PRIMARY KEY (sha256, name, version, role)) WITHOUT ROWID;
CREATE TABLE versions ( name TEXT NOT NULL, version INTEGER NOT NULL, job_id TEXT NOT NULL, model_id TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (name, version), UNIQUE (name, job_id, model_id));
CREATE INDEX versions_by_job ON versions (job_id);
CREATE INDEX versions_by_model ON versions (model_id);
