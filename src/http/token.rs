//! `POST …/token` (RFC 6749 §3.2): `client_credentials` and the assertions of front servers (RFC 7523 §2.1).

use super::front::{Admitted, Front};
use super::gate::{Gate, Permit, reply_by};
use super::reply::{IssuedToken, Reply};
use super::router::Handler;
use super::visit::Visit;
use crate::claims::{Grant, Jti, NumericDate, Reason, TokenFacts, TokenFormat, TokenHash};
use crate::client::Party;
use crate::clock::Clock;
use crate::config::{Client, Config};
use crate::door::Recorded;
use crate::door::message::{Ask, Context, RefusalAsk, TokenAsk};
use crate::jose::base64url;
use crate::protocol::{
    ErrorCode, Issue, OAuthError, Parameters, TokenRequest, at_jwt_grant, client_credentials, jwt_bearer,
    verify_assertion,
};
use crate::random;
use crate::store::{InsertError, Store, TokenKey, UsedAssertion};
use axum::body::Body;
use axum::http::Request;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What issuing tokens needs.
pub(super) struct Issuance {
    front: Arc<Front>,
    config: Arc<Config>,
    store: Store,
    gate: Arc<Gate>,
    clock: Clock,
}

impl Issuance {
    /// By this configuration.
    pub(super) fn new(
        front: Arc<Front>,
        config: Arc<Config>,
        store: Store,
        gate: Arc<Gate>,
        clock: Clock,
    ) -> Self {
        Self { front, config, store, gate, clock }
    }
}

/// A grant that the rules allow, and the assertion that it uses up.
struct Granted {
    issue: Issue,
    used: Option<UsedAssertion>,
}

impl Handler for Issuance {
    async fn answer(&self, visit: &mut Visit, request: Request<Body>) -> Result<Reply, Reply> {
        // Caller: a client; a resource server's credentials serve introspection alone (RFC 9701 §3).
        let most = self.config.http.limits.body_bytes;
        let Admitted { caller, parameters, permits, .. } = self.front.admit(visit, request, most).await?;
        let Party::Client(client) = caller.party() else { return Err(Reply::not_a_client()) };

        // Facts and rule: the assertion carries the facts of its grant.
        let now = NumericDate::from(self.clock.now().map_err(|_| Reply::unavailable("clock-in-doubt"))?);
        let granted = self.grant(client, &parameters, now).map_err(|error| Reply::refused(&error))?;

        // Store, sign and record, in a task of its own: an assertion that is used up must be followed by its record,
        // also when the client closes its connection in between. A signer that is known to be down is noticed before
        // anything is used up.
        let (permit, _) = self.gate.enter(&permits).await?;
        let due = permit.due();
        let effects = Effects {
            config: Arc::clone(&self.config),
            store: self.store.clone(),
            gate: Arc::clone(&self.gate),
            permit,
            context: visit.context(&caller),
        };

        // Reply.
        reply_by(due, tokio::spawn(effects.run(granted))).await
    }
}

impl Issuance {
    fn grant(
        &self,
        client: &Client,
        parameters: &Parameters,
        now: NumericDate,
    ) -> Result<Granted, OAuthError> {
        let depth = self.config.http.limits.json_depth;
        match TokenRequest::parse(client, parameters, depth)? {
            TokenRequest::ClientCredentials(wanted) => {
                let issue = client_credentials(&self.config, client, &wanted, new_jti(), now)?;
                Ok(Granted { issue, used: None })
            }
            TokenRequest::JwtBearer { assertion, wanted } => {
                let assertion = verify_assertion(&self.config, &client.client_id, &assertion, now)?;
                let issue = jwt_bearer(&self.config, client, &assertion, &wanted, new_jti(), now)?;
                let used = UsedAssertion {
                    issuer: assertion.issuer,
                    jti: assertion.jti,
                    expires_at: assertion.expires_at,
                };
                Ok(Granted { issue, used: Some(used) })
            }
        }
    }
}

/// The order of effects: assertion used up and row, record, answer.
struct Effects {
    config: Arc<Config>,
    store: Store,
    gate: Arc<Gate>,
    permit: Permit,
    context: Context,
}

impl Effects {
    async fn run(self, Granted { issue, used }: Granted) -> Result<Reply, Reply> {
        let facts = &issue.facts;
        match facts.format {
            TokenFormat::Opaque => {
                let token = Zeroizing::new(base64url(random::bytes::<32>()));
                let hash = TokenHash::of(&token);
                self.keep(TokenKey::Opaque(hash), &issue, used).await?;
                let receipt = self.record(facts, Some(hash), facts.grant.clone()).await?;
                Ok(Reply::token(&issue, IssuedToken::Opaque(token, receipt)))
            }
            TokenFormat::AtJwt => {
                let grant = at_jwt_grant(&self.config, &facts.grant).ok_or_else(Reply::our_fault)?;
                self.keep(TokenKey::AtJwt(facts.jti.clone()), &issue, used).await?;
                let recorded = self.record(facts, None, grant).await?;
                Ok(Reply::token(&issue, IssuedToken::AtJwt(recorded)))
            }
        }
    }

    async fn record(
        &self,
        facts: &TokenFacts,
        opaque: Option<TokenHash>,
        grant: Grant,
    ) -> Result<Recorded, Reply> {
        let (jti, iat, exp) = (facts.jti.clone(), facts.issued_at, facts.expires_at);
        let ask = TokenAsk { context: self.context.clone(), opaque, jti, iat, exp, grant };
        self.gate.ask(&self.permit, Ask::Token(ask)).await
    }

    /// The assertion's `jti` is used up and the row stands, in one transaction.
    ///
    /// Point of no return: after it, a crash or a signer that fails leaves a row whose token never left, and an
    /// assertion that cannot be used again. Its front server has to hand over another: that is the price of never
    /// honouring one twice.
    async fn keep(&self, key: TokenKey, issue: &Issue, used: Option<UsedAssertion>) -> Result<(), Reply> {
        let jti = used.as_ref().map(|used| used.jti.clone());
        match self.store.insert(key, issue.facts.clone(), used).await {
            Ok(()) => Ok(()),
            Err(InsertError::Replayed) => Err(self.replayed(jti).await),
            Err(error) => {
                tracing::error!(%error, "a token cannot be stored");
                Err(Reply::unavailable("store-unwritable"))
            }
        }
    }

    /// A second use may be an attack: it is recorded before it is refused (`tests/conformance.md`, row B18).
    async fn replayed(&self, jti: Option<Jti>) -> Reply {
        let reason = Reason::AssertionReplayed;
        let record = RefusalAsk { context: self.context.clone(), reason, jti };
        match self.gate.ask(&self.permit, Ask::Refusal(record)).await {
            Ok(_receipt) => {
                let text = "the assertion was used before; each one is good for one token";
                Reply::refused(&OAuthError::new(ErrorCode::InvalidGrant, reason.name(), text))
            }
            Err(unrecorded) => unrecorded,
        }
    }
}

/// 128 random bits.
#[expect(clippy::expect_used, reason = "22 characters of base64url are a Jti")]
fn new_jti() -> Jti {
    base64url(random::bytes::<16>()).try_into().expect("the grammar of Jti")
}
