//! Typed claims of tokens, validated when parsed, so that no other room checks them again.
//!
//! Every type parses untrusted text through one checked constructor, also from JSON.

mod account;
mod details;
mod grant;
mod names;
mod reason;
mod scope;
mod shown;
mod token;
mod value;
mod visible;
mod words;

pub use account::{Bic, CurrencyCode, Iban};
pub use details::{
    Account, AuthorizationDetail, CredentialDetail, DebtorAccount, DetailType, DetailsError, DocumentDigest,
    InstructedAmount, PaymentAction, PaymentInitiation, check_authorization_details,
    parse_authorization_details,
};
pub use grant::{Authentication, Grant, Origin};
pub use names::ClaimKind;
pub use reason::{Claim, Reason};
pub use scope::{Scope, ScopeError, ScopePattern, ScopePatterns, ScopeToken};
pub use shown::ShownText;
pub use token::{ActiveToken, AnswerFormat, Purpose, TokenFacts, TokenFormat, TokenHash, TokenType};
pub use value::{ClaimValue, ExtraClaims};
pub use words::{
    Acr, ClaimName, ClientId, Issuer, Jti, NumericDate, RequestId, Resource, Subject, WordError,
};
