//! # Decisions
//!
//! Choices where specifications disagree or leave one. Comments and tests cite a decision by its number; the numbers have
//! one gap. `tests/conformance.md` lists the requirements with their tests; they are cited as "row 31". Features that "come
//! later" are not implemented; this page then names the present behaviour.
//!
//! ## D1
//!
//! RS256 is mandatory in RFC 9068 §2.1 and the default in RFC 9701 §6; FAPI 2.0 §5.4.1 forbids it. The profile `generic`
//! offers it where a key for it is configured, and `config check` notes a missing one. The profile `fapi2`, to come later,
//! has no RS256 and refuses a resource server without `introspection_signed_response_alg`.
//!
//! ## D2
//!
//! A caller without credentials gets 400 `invalid_request` (RFC 9701 §5), one with wrong credentials 401 `invalid_client`
//! (RFC 7662 §2.3, RFC 6749 §5.2), with `WWW-Authenticate` where it used the `Authorization` header. The order of checks
//! is: authentication, required parameters, `Accept`, token.
//!
//! ## D3
//!
//! `aud` of an assertion names this server and no other: the issuer or the URL of the token endpoint, as a string or a list
//! of one. Client assertions come later: `fapi2` then takes the issuer alone, as a string (row 153).
//!
//! ## D4
//!
//! `aud` of an introspection answer is one string: the `client_id` of the resource server, or its resource indicator with
//! `response_audience = "resource"`.
//!
//! ## D5
//!
//! A token of another audience is 200 and a signed `{"active":false}`, like an unknown token in content, size and work. A
//! caller that is no resource server gets 403 `unauthorized_client`.
//!
//! ## D6
//!
//! The Cloud Signature Consortium wants 204 from revocation and 400 for wrong client secrets. That comes later, as the
//! profile `csc` for some clients, on paths of its own.
//!
//! ## D7
//!
//! RFC 8725 §3.2 recommends deterministic ECDSA. `CKM_ECDSA` does not offer it: the token chooses the nonce.
//!
//! ## D8
//!
//! RFC 8414 §2 requires `response_types_supported`, and §3.2 forbids an empty list. It is `["none"]`, and there is no
//! `authorization_endpoint`.
//!
//! ## D9
//!
//! A token is bound to one key (RFC 7800 §3.1): `cnf` has `jkt` or `x5t#S256`, never both. With both presented DPoP wins,
//! and `token_type` is `DPoP` or `Bearer` accordingly. Both come later; meanwhile a grant with `cnf` is refused.
//!
//! ## D10
//!
//! A revocation takes effect at once, so no answer may be cached: every response has `Cache-Control: no-store`. Resource
//! servers should accept an `iat` of the last 60 seconds.
//!
//! ## D11
//!
//! Chancery sends media types without parameters, and accepts them with parameters.
//!
//! ## D12
//!
//! An introspection answer has a top-level `jti`, the name of its record; `response_jti = false` leaves it out for one
//! resource server. It never has a top-level `exp`, `sub` or `nbf` (RFC 9701 §5).
//!
//! ## D13
//!
//! `iss` and `aud` are not repeated in the header of an encrypted answer (RFC 7519 §5.3). Encryption comes later.
//!
//! ## D14
//!
//! The outer header of an encrypted answer has `typ` `token-introspection+jwt` and `cty` `JWT`; the inner one always has
//! `typ`. Encryption comes later.
//!
//! ## D16
//!
//! In a token exchange with DPoP one proof covers the submitted and the new token; a bound subject token needs `ath`. Token
//! exchange comes later.
//!
//! ## D17
//!
//! A bearer token authorizes introspection only where its client is a resource server and its scope holds `introspect`,
//! else 401. That comes later; meanwhile every bearer token gets 401 `invalid_token`.
//!
//! ## D18
//!
//! A client introspects its own token only where a setting of that client allows it. The setting comes later; meanwhile
//! every client gets 403.
//!
//! ## D19
//!
//! Authorization, pushed authorization and refresh tokens are not hosted. Sign-in and consent belong to the front server,
//! which hands the approved grant over as an assertion (RFC 7523), later also as a subject token (RFC 8693).
//!
//! ## D20
//!
//! One `at+jwt` for two resources would show each the details of the other (RFC 9068 §3, RFC 8707). So an `at+jwt` has
//! exactly one audience. Several resources in one token mean an opaque token, else `invalid_target`, which says so.
//!
//! ## D21
//!
//! Resource servers must not be able to link their answers about one token. The inner `aud` is the caller's own resource
//! alone; the `jti` of the token is left out; no other resource, scope or type is named. Pairwise `sub` comes later.
//!
//! ## D22
//!
//! Shown without configuration: `active`, `iss`, `exp`, `iat`, `nbf`, `token_type`, `aud`, the narrowed `scope`, the
//! resource server's own `authorization_details`, and `cnf` once tokens can be bound. Every other member (`sub`,
//! `client_id`, `acr`, …) is shown where `claims` of the resource server names it.
//!
//! ## D23
//!
//! Without a `resource` parameter the audience follows from the scopes. Scopes of several resources are refused for an
//! `at+jwt` with `invalid_target`, as by [D20](#d20) (RFC 9068 §3 suggests `invalid_scope`), and mean several audiences for
//! an opaque token. With one, or with a `resource` claim in the grant, each named resource must own a scope or a detail that
//! is given: naming it narrows a grant and gives nothing. Else `invalid_target`, or `invalid_scope` where nothing is left.
//!
//! ## D24
//!
//! `Accept` that is absent, empty or a wildcard gets JSON. A resource server with `require_signed_response` gets the JWT
//! then, the only representation that it has; an explicit list without the JWT gets it 406. Of equal weights the JWT wins.
//!
//! ## D25
//!
//! Details without `locations` whose type two of the audience own are refused at issuance, with
//! `invalid_authorization_details`. If the configuration makes them ambiguous later, neither is shown them.
//!
//! ## D26
//!
//! `client_credentials` with details of the type `credential` is allowed where the client's entry lists the type: for
//! services that sign with a credential of their own. The credential of a person needs a grant.
//!
//! ## D27
//!
//! The resource server lists the formats of access tokens that it takes; the first is the default. A client may choose one
//! of them.
