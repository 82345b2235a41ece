-- Version 1 as it was, with rows. Never changed.
CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
CREATE TABLE token (
  id INTEGER PRIMARY KEY,
  hash BLOB UNIQUE CHECK (length(hash) = 32),
  jti TEXT NOT NULL UNIQUE,
  format TEXT NOT NULL CHECK (format IN ('opaque', 'at+jwt')),
  client_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  grant_issuer TEXT,
  audience TEXT NOT NULL,
  scope TEXT NOT NULL,
  authorization_details TEXT NOT NULL,
  acr TEXT,
  amr TEXT NOT NULL,
  auth_time INTEGER,
  extra TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  not_before INTEGER,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  CHECK ((format = 'opaque') = (hash IS NOT NULL))
) STRICT;
CREATE INDEX token_expires_at ON token (expires_at);
CREATE TABLE used_assertion (
  issuer TEXT NOT NULL,
  jti TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_assertion_expires_at ON used_assertion (expires_at);
CREATE TABLE checkpoint (origin TEXT PRIMARY KEY, note TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO schema_version (version) VALUES (1);
INSERT INTO token (hash, jti, format, client_id, subject, grant_issuer, audience, scope,
  authorization_details, acr, amr, auth_time, extra, issued_at, not_before, expires_at, revoked_at) VALUES
(x'5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9', 'jti-0', 'opaque', 'shop', 'customer-1',
  'https://login.bank.example', '["https://payments.bank.example","https://sign.example"]',
  'payments:initiate payments:status',
  '[{"type":"payment_initiation","actions":["initiate","status"],
    "locations":["https://payments.bank.example"],
    "instructedAmount":{"currency":"EUR","amount":"123.50"},"creditorName":"Merchant A",
    "creditorAccount":{"iban":"DE02100100109307118603"}},
   {"type":"credential","credentialID":"GX0112348","hashAlgorithmOID":"2.16.840.1.101.3.4.2.1",
    "documentDigests":[{"hash":"sTOgwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=","label":"Contract"}]}]', 'urn:sca', '["pwd","otp"]', 90,
  '{"given_name":"Zoë \"x\""}', 100, NULL, 1000, NULL),
(NULL, 'jwt', 'at+jwt', 'shop', 'shop', NULL, '["https://payments.bank.example"]', '', '[]', NULL, '[]', NULL, '{}',
  101, 102, 1001, 500);
INSERT INTO used_assertion (issuer, jti, expires_at) VALUES ('https://login.bank.example', 'a', 1000);
INSERT INTO checkpoint (origin, note) VALUES ('log', 'note');
