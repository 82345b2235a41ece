-- Version 3 as it changed the rows of before.
CREATE TABLE token_3 (
  id INTEGER PRIMARY KEY,
  hash BLOB UNIQUE CHECK (length(hash) = 32),
  jti TEXT NOT NULL UNIQUE,
  format TEXT NOT NULL CHECK (format IN ('opaque', 'at+jwt')),
  granted TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  not_before INTEGER,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  CHECK ((format = 'opaque') = (hash IS NOT NULL))
) STRICT;
INSERT INTO token_3 SELECT id, hash, jti, format,
  '{"subject":' || json_quote(subject) || ',"client_id":' || json_quote(client_id)
  || ',"origin":' || iif(grant_issuer IS NULL, '"own-right"', '{"assertion":' || json_quote(grant_issuer) || '}')
  || ',"audience":' || audience || ',"scope":' || json_quote(scope) || ',"authorization_details":' || authorization_details
  || ',"authentication":{"acr":' || json_quote(acr) || ',"amr":' || amr || ',"auth_time":' || json_quote(auth_time)
  || '},"extra":' || extra || '}',
  issued_at, not_before, expires_at, revoked_at FROM token;
DROP TABLE token;
ALTER TABLE token_3 RENAME TO token;
CREATE INDEX token_expires_at ON token (expires_at);
INSERT INTO schema_version (version) VALUES (3);
