//! The part of a token that a resource server may see (RFC 7662 §2.2, RFC 9701 §5), or `{"active":false}`.

use super::assertion::CLOCK_SKEW;
use super::narrow;
use crate::claims::{ActiveToken, NumericDate, Reason, TokenFacts};
use crate::config::{Config, ResourceServer};

/// One answer before it is signed.
#[derive(Debug)]
pub struct View {
    /// `None`: exactly `{"active":false}`.
    pub active: Option<ActiveToken>,
    /// Why the token is inactive or something was withheld, each reason once. For the record, never for the caller.
    pub reasons: Vec<Reason>,
}

/// The answer for `rs` at `now` about the token with these `facts`; `None` for an unknown token.
///
/// Tokens that are unknown, revoked, expired, not yet valid, for another audience, or without a part for `rs` give
/// equal answers ([D5](crate::manual::decisions#d5)). An active token shows `rs` as its only audience
/// ([D21](crate::manual::decisions#d21)) and otherwise only members that the configuration gives `rs`
/// ([D22](crate::manual::decisions#d22)).
pub fn view(rs: &ResourceServer, owners: &Config, facts: Option<&TokenFacts>, now: NumericDate) -> View {
    let Some(facts) = facts else {
        return View { active: None, reasons: vec![Reason::UnknownToken] };
    };
    let end = end(owners, facts);
    let mut reasons = inactive(rs, facts, end, now);
    if !reasons.is_empty() {
        return View { active: None, reasons };
    }
    let active = narrow::grant(owners, rs, &facts.grant, &mut reasons).map(|grant| ActiveToken {
        iat: facts.issued_at,
        // Without an end the token is inactive.
        exp: end.unwrap_or(facts.expires_at),
        nbf: facts.not_before,
        grant,
    });
    View { active, reasons }
}

/// End of the token by the current configuration: a lifetime that was shortened since the issue applies from the next
/// answer on (RFC 9701 §9), and a removed client has no tokens (`None`). The signer checks the same.
fn end(config: &Config, facts: &TokenFacts) -> Option<NumericDate> {
    let lifetime = config.client(&facts.grant.client_id)?.access_token_lifetime.as_secs();
    let latest = facts.issued_at.0.saturating_add_unsigned(lifetime);
    Some(NumericDate(facts.expires_at.0.min(latest)))
}

/// All reasons why the token is not active for `rs` (RFC 7662 §4). Every reason is evaluated, so that the record has
/// them all and none answers sooner than another.
fn inactive(
    rs: &ResourceServer,
    facts: &TokenFacts,
    end: Option<NumericDate>,
    now: NumericDate,
) -> Vec<Reason> {
    // A clock that was set back by more than the skew shows the token as issued in the future.
    let unborn = facts.issued_at.0 > now.0.saturating_add(CLOCK_SKEW);
    let reasons = [
        (facts.revoked, Reason::Revoked),
        (end.is_none(), Reason::ClientNotRegistered),
        (end.is_some_and(|end| now >= end), Reason::Expired),
        (unborn || facts.not_before.is_some_and(|begin| now < begin), Reason::NotYetValid),
        (!facts.grant.audience.contains(&rs.resource), Reason::WrongAudience),
    ];
    reasons.into_iter().filter(|(applies, _)| *applies).map(|(_, reason)| reason).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, PAYMENTS, SIGNING, bank, contract, facts, payment, server};
    use super::*;
    use crate::claims::{Authentication, Claim, DetailType};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn told(rs: &str, change: impl Fn(&mut TokenFacts)) -> (Value, Vec<Reason>) {
        let config = bank();
        let rs = config.resource_server(&rs.parse().unwrap()).unwrap();
        let mut facts = facts();
        change(&mut facts);
        let view = view(rs, &config, Some(&facts), NOW);
        (serde_json::to_value(view.active).unwrap(), view.reasons)
    }

    #[test]
    fn each_resource_server_sees_its_own_part_of_one_token() {
        let (payments, rules) = told("payments-api", |_| ());
        assert_eq!(
            payments,
            json!({"iat": NOW.0 - 10, "exp": NOW.0 + 290, "grant": {
                "subject": "alice", "client_id": "shop", "origin": {"assertion": "https://login.bank.example"},
                "audience": [PAYMENTS], "scope": "payments:initiate", "authorization_details": [payment()],
                "authentication": {"acr": "psd2_sca", "auth_time": NOW.0 - 60}, "extra": {"consent_id": "c-1"}}})
        );
        assert_eq!(
            rules,
            [
                Reason::ScopeWithheld,
                Reason::DetailTypeWithheld,
                Reason::ClaimWithheld(Claim::Amr),
                Reason::ClaimWithheld(Claim::Extra)
            ]
        );
        let (signing, rules) = told("signing-api", |_| ());
        assert_eq!(
            signing,
            json!({"iat": NOW.0 - 10, "exp": NOW.0 + 290, "grant": {
                "subject": "alice", "client_id": "shop", "origin": {"assertion": "https://login.bank.example"},
                "audience": [SIGNING], "scope": "sign:contracts", "authorization_details": [contract()],
                "authentication": {"amr": ["pwd", "otp"]}, "extra": {"given_name": "Alice"}}})
        );
        for name in [Claim::Sub, Claim::Acr, Claim::ClientId] {
            assert!(rules.contains(&Reason::ClaimWithheld(name)), "{name:?}");
        }
        for word in ["payment", "jti", "consent", "psd2", "DE02"] {
            assert!(!signing.to_string().contains(word), "{word} is not its business");
        }
    }

    #[test]
    fn an_inactive_token_is_null_and_its_reasons_stay_inside() {
        type Change = fn(&mut TokenFacts);
        let table: [(Change, &[Reason]); 8] = [
            (|f| f.revoked = true, &[Reason::Revoked]),
            (|f| f.expires_at = NOW, &[Reason::Expired]),
            (|f| f.expires_at = NumericDate(NOW.0 - 1), &[Reason::Expired]),
            (|f| f.not_before = Some(NumericDate(NOW.0 + 1)), &[Reason::NotYetValid]),
            (
                |f| f.grant.audience.retain(|r| r.as_str() == "https://sign.bank.example"),
                &[Reason::WrongAudience],
            ),
            (|f| f.grant.audience.clear(), &[Reason::WrongAudience]),
            (
                |f| f.grant.audience = vec!["https://payments.bank.example/".parse().unwrap()],
                &[Reason::WrongAudience],
            ),
            (
                |f| {
                    f.revoked = true;
                    f.grant.audience.clear();
                },
                &[Reason::Revoked, Reason::WrongAudience],
            ),
        ];
        for (change, rules) in table {
            assert_eq!(told("payments-api", change), (Value::Null, rules.to_vec()));
        }
        let config = bank();
        let unknown = view(&config.resource_servers[0], &config, None, NOW);
        assert!(unknown.active.is_none());
        assert_eq!(unknown.reasons, [Reason::UnknownToken]);
    }

    #[test]
    fn a_token_is_active_until_the_second_before_its_end_and_from_its_beginning() {
        let (answer, _) = told("payments-api", |f| {
            f.expires_at = NumericDate(NOW.0 + 1);
            f.not_before = Some(NOW);
        });
        assert_eq!(answer["nbf"], NOW.0);
    }

    #[test]
    fn a_change_of_the_clients_entry_holds_from_the_next_answer_on() {
        let mut config = bank();
        let client = std::sync::Arc::get_mut(&mut config.clients[0]).unwrap();
        client.access_token_lifetime = std::time::Duration::from_secs(60);
        let rs = &config.resource_servers[0];
        // Issued ten seconds ago for five minutes.
        let told = |now| view(rs, &config, Some(&facts()), NumericDate(now));
        assert_eq!(told(NOW.0).active.unwrap().exp, NumericDate(NOW.0 + 50));
        assert_eq!(told(NOW.0 + 50).reasons, [Reason::Expired]);
        config.clients.clear();
        let gone = view(&config.resource_servers[0], &config, Some(&facts()), NOW);
        assert!(gone.active.is_none());
        assert_eq!(gone.reasons, [Reason::ClientNotRegistered]);
    }

    #[test]
    fn a_clock_that_was_set_back_within_the_skew_has_no_effect() {
        let (answer, _) = told("payments-api", |f| f.issued_at = NumericDate(NOW.0 + CLOCK_SKEW));
        assert_eq!(answer["iat"], NOW.0 + CLOCK_SKEW);
        let (answer, rules) = told("payments-api", |f| f.issued_at = NumericDate(NOW.0 + CLOCK_SKEW + 1));
        assert_eq!((answer, rules), (Value::Null, vec![Reason::NotYetValid]));
    }

    #[test]
    fn locations_are_cut_to_the_caller() {
        let locate = |places: &'static [&'static str]| {
            move |f: &mut TokenFacts| {
                let places = places.iter().map(|p| p.parse().unwrap()).collect();
                f.grant.authorization_details = vec![f.grant.authorization_details[0].with_locations(places)];
            }
        };
        let both = &["https://sign.bank.example", "https://payments.bank.example"];
        let (answer, rules) = told("payments-api", locate(both));
        assert_eq!(
            answer["grant"]["authorization_details"][0]["locations"],
            json!(["https://payments.bank.example"])
        );
        assert!(rules.contains(&Reason::DetailLocationWithheld));
        let (answer, rules) = told("payments-api", locate(&["https://sign.bank.example"]));
        assert_eq!(answer["grant"].get("authorization_details"), None);
        assert!(rules.contains(&Reason::DetailLocationWithheld));
        let (answer, rules) = told("signing-api", locate(both));
        assert_eq!(answer["grant"].get("authorization_details"), None, "a location does not give a type");
        assert!(rules.contains(&Reason::DetailTypeWithheld));
    }

    #[test]
    fn a_type_that_two_of_the_audience_own_by_now_is_shown_to_neither() {
        let mut config = bank();
        server(&mut config, 1).authorization_details_types = DetailType::ALL.into();
        let facts = facts();
        for (rs, kept) in config.resource_servers.iter().zip([0, 1]) {
            let view = view(rs, &config, Some(&facts), NOW);
            assert!(view.reasons.contains(&Reason::DetailOwnerAmbiguous));
            assert_eq!(view.active.unwrap().grant.authorization_details.len(), kept);
        }
    }

    #[test]
    fn a_resource_server_of_the_audience_without_a_scope_or_a_detail_of_its_own_sees_no_token() {
        let only_payments: fn(&mut TokenFacts) = |f| {
            f.grant.scope = "payments:initiate".parse().unwrap();
            f.grant.authorization_details.truncate(1);
        };
        let (answer, rules) = told("signing-api", only_payments);
        assert_eq!(answer, Value::Null);
        assert_eq!(rules, [Reason::ScopeWithheld, Reason::DetailTypeWithheld, Reason::AudienceWithoutGrant]);
        assert_ne!(told("payments-api", only_payments).0, Value::Null);
        // The entry loses its scopes after the token was issued.
        let mut config = bank();
        let rs = server(&mut config, 0);
        rs.scopes = crate::claims::ScopePatterns::default();
        rs.authorization_details_types.clear();
        let view = view(&config.resource_servers[0], &config, Some(&facts()), NOW);
        assert!(view.active.is_none());
        assert!(view.reasons.contains(&Reason::AudienceWithoutGrant));
    }

    #[test]
    fn a_resource_server_that_may_see_no_claim_learns_only_its_scope_and_details() {
        let mut config = bank();
        server(&mut config, 0).claims.clear();
        let view = view(&config.resource_servers[0], &config, Some(&facts()), NOW);
        let grant = view.active.unwrap().grant;
        assert_eq!(grant.authentication, Authentication::default());
        assert!(grant.extra.is_empty() && !grant.scope.is_empty() && !grant.authorization_details.is_empty());
    }

    proptest! {
        /// For any row, caller and configuration: no scope, type, location or claim of another resource server is
        /// shown.
        #[test]
        fn nothing_of_another_resource_server_is_ever_shown(
            caller in 0..2_usize,
            owned in proptest::sample::subsequence(vec!["payments:initiate", "payments:status", "sign:contracts"], 0..=3),
            claims in proptest::sample::subsequence(vec!["sub", "client_id", "acr", "amr", "auth_time", "given_name"], 0..=6),
            types in proptest::sample::subsequence(DetailType::ALL.to_vec(), 0..=2),
            audience in proptest::sample::subsequence(vec![PAYMENTS, SIGNING], 0..=2),
            places in proptest::sample::subsequence(vec![PAYMENTS, SIGNING], 0..=2),
        ) {
            let mut config = bank();
            let own = server(&mut config, caller);
            own.scopes = owned.join(" ").parse().unwrap();
            own.claims = claims.iter().map(|c| c.parse().unwrap()).collect();
            own.authorization_details_types = types.iter().copied().collect();
            let mut facts = facts();
            facts.grant.audience = audience.iter().map(|r| r.parse().unwrap()).collect();
            let places: Vec<crate::claims::Resource> = places.iter().map(|r| r.parse().unwrap()).collect();
            facts.grant.authorization_details =
                facts.grant.authorization_details.iter().map(|d| d.with_locations(places.clone())).collect();
            let rs = &config.resource_servers[caller];
            let view = view(rs, &config, Some(&facts), NOW);
            let Some(told) = view.active else {
                prop_assert!(!facts.grant.audience.contains(&rs.resource) || view.reasons.contains(&Reason::AudienceWithoutGrant));
                return Ok(());
            };
            prop_assert!(!told.grant.scope.is_empty() || !told.grant.authorization_details.is_empty());
            prop_assert!(facts.grant.audience.contains(&rs.resource) && told.grant.audience == [rs.resource.clone()]);
            prop_assert!(told.grant.scope.iter().all(|s| rs.scopes.contains(s) && facts.grant.scope.contains(s)));
            for detail in &told.grant.authorization_details {
                prop_assert!(rs.authorization_details_types.contains(&detail.detail_type()));
                prop_assert!(detail.locations().iter().all(|place| *place == rs.resource));
                prop_assert_eq!(detail.locations().is_empty(), places.is_empty());
            }
            let named = |name: &str| claims.contains(&name);
            let authentication = &told.grant.authentication;
            prop_assert_eq!(authentication.acr.is_some(), named("acr"));
            prop_assert_eq!(!authentication.amr.is_empty(), named("amr"));
            prop_assert_eq!(authentication.auth_time.is_some(), named("auth_time"));
            prop_assert!(told.grant.extra.keys().all(|name| named(name.as_str())));
        }
    }
}
