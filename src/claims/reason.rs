//! Why something was refused or withheld: the names that stand in records, each in one place.

use serde::{Deserialize, Serialize};

macro_rules! named {
    ($(#[$about:meta])* $enum:ident: $($variant:ident $(($data:ty))? = $name:literal, $doc:literal;)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $enum {
            $(#[doc = $doc] #[serde(rename = $name)] $variant $(($data))?,)*
        }

        impl $enum {
            /// Its name in records, messages and lines.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }
        }
    };
}

named! {
    /// Why an answer is inactive or says less than the grant, why a caller was refused, or which rule of the signer an ask
    /// breaks. It stands in records and log lines; no caller is told.
    Reason:
    // Of an introspection answer.
    UnknownToken = "unknown-token", "No token of ours.";
    Revoked = "revoked", "A revocation stands.";
    ClientNotRegistered = "client-not-registered", "The configuration has no entry of its client any more.";
    Expired = "expired", "It has ended.";
    NotYetValid = "not-yet-valid", "It has not begun.";
    WrongAudience = "wrong-audience", "Its audience does not hold the caller.";
    AudienceWithoutGrant = "audience-without-grant", "Nothing of the grant belongs to a resource server of its audience.";
    ScopeWithheld = "scope-withheld", "A scope belongs to another resource server.";
    DetailTypeWithheld = "detail-type-withheld", "A detail has a type of another resource server.";
    DetailOwnerAmbiguous = "detail-owner-ambiguous", "Several of the audience own the type of a detail without locations.";
    DetailLocationWithheld = "detail-location-withheld", "A detail names another location.";
    ClaimWithheld(Claim) = "claim-withheld", "The caller's entry does not name the claim.";
    // Of a refusal.
    AssertionReplayed = "assertion-replayed", "The assertion was used before.";
    // Of the signer: the gateway has a defect or is not itself.
    ActiveAndUnknown = "active-and-unknown", "An active answer about no token of ours.";
    AnswerMustBeSigned = "answer-must-be-signed", "The caller's entry requires a signed answer.";
    AudienceIsNotTheCaller = "audience-is-not-the-caller", "The answer is for another resource server.";
    CallerIsNoClient = "caller-is-no-client", "Expected a client.";
    CallerIsNoResourceServer = "caller-is-no-resource-server", "Expected a resource server.";
    ClaimNotConfigured = "claim-not-configured", "No entry that may name the claim does.";
    ClaimReserved = "claim-reserved", "A further claim has the name of another member.";
    ClaimsTooLarge = "claims-too-large", "More claims than a grant holds.";
    ClientIsNotTheCaller = "client-is-not-the-caller", "The grant is of another client.";
    DetailsNotValid = "details-not-valid", "Details that are no list of RFC 9396.";
    FormatNotTaken = "format-not-taken", "A resource server of the audience does not take the form of the token.";
    GrantTypeNotRegistered = "grant-type-not-registered", "The client's entry does not name the grant type.";
    IatAwayFromClock = "iat-away-from-clock", "`iat` is not the time of the signer.";
    LifetimeTooLong = "lifetime-too-long", "The client's entry allows a shorter life, or there is none.";
    LocationOfAnother = "location-of-another", "A detail names a location outside of the audience.";
    MethodNotRegistered = "method-not-registered", "The caller's entry names another method of authentication.";
    NoAudience = "no-audience", "A token for no resource server.";
    NobodySignedIn = "nobody-signed-in", "A grant in the client's own right says something of a resource owner.";
    RecordTooLarge = "record-too-large", "The record would be larger than one can be.";
    ResourceNotOfIssuer = "resource-not-of-issuer", "The entry of the grant's issuer does not name a resource.";
    ResourceNotRegistered = "resource-not-registered", "The client's entry does not name a resource.";
    ScopeNotRegistered = "scope-not-registered", "The client's entry does not name a scope.";
    ScopeOfAnother = "scope-of-another", "A scope belongs to no resource server of the audience.";
    SeveralAudiences = "several-audiences", "An `at+jwt` for several resource servers.";
    SubjectIsNotTheClient = "subject-is-not-the-client", "A client in its own right has another subject.";
    TokenNotInForce = "token-not-in-force", "The active token is not valid at `iat`.";
    TokenOfUnknownClient = "token-of-unknown-client", "The configuration has no entry of the token's client.";
    TooManyReasons = "too-many-reasons", "More reasons than an answer can have.";
    TypeNotOfIssuer = "type-not-of-issuer", "The entry of the grant's issuer does not name the type of a detail.";
    TypeNotRegistered = "type-not-registered", "The client's entry does not name the type of a detail.";
    TypeOfAnother = "type-of-another", "The type of a detail belongs to no resource server of the audience.";
    UnknownCaller = "unknown-caller", "The configuration has no entry of the caller.";
    UnknownGrantIssuer = "unknown-grant-issuer", "The configuration has no entry of the grant's issuer.";
    UnknownResource = "unknown-resource", "The configuration has no entry of the resource.";
}

named! {
    /// A claim that a resource server sees only where its entry names it.
    Claim:
    Sub = "sub", "The subject.";
    ClientId = "client_id", "The client.";
    Acr = "acr", "Authentication context class.";
    Amr = "amr", "Authentication methods.";
    AuthTime = "auth_time", "Time of the authentication.";
    Extra = "extra", "Any further claim: its name may tell what it holds.";
}

impl Reason {
    /// The claim that is meant, if it is one.
    pub const fn claim(self) -> Option<Claim> {
        match self {
            Self::ClaimWithheld(claim) => Some(claim),
            _ => None,
        }
    }
}
