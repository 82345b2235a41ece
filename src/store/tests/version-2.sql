-- What version 2 added, as it was, with rows.
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), time INTEGER NOT NULL, boot INTEGER, boot_id TEXT) STRICT;
ALTER TABLE checkpoint ADD COLUMN keys TEXT NOT NULL DEFAULT '';
CREATE TABLE replaced_checkpoint (
  origin TEXT NOT NULL,
  note TEXT NOT NULL,
  decision TEXT NOT NULL,
  PRIMARY KEY (origin, note)
) STRICT, WITHOUT ROWID;
INSERT INTO schema_version (version) VALUES (2);
UPDATE checkpoint SET keys = 'key of note';
INSERT INTO replaced_checkpoint (origin, note, decision) VALUES ('log', 'older', 'decision');
INSERT INTO clock (id, time, boot, boot_id) VALUES (1, 300000000000, 7, 'boot');
