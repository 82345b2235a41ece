//! `authorization_details` (RFC 9396): the two supported types.
//!
//! Unknown types, unknown members, wrong types, bad values and missing members are refused (§5). Texts are compared
//! code point by code point; amounts are texts and stay unchanged (§12). Every text that a person approves is a
//! [`ShownText`].

use super::{Bic, CurrencyCode, Iban, Resource, ShownText};
use serde::{Deserialize, Serialize};

/// Limit of objects in one request.
const MAX_DETAILS: usize = 16;

/// Why `authorization_details` are refused. For the caller: `invalid_authorization_details`.
#[derive(Debug, thiserror::Error)]
#[error("authorization_details: {0}")]
pub struct DetailsError(pub String);

/// The type of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetailType {
    /// A payment (RFC 9396 §2).
    PaymentInitiation,
    /// Use of a signing key for given documents (Cloud Signature Consortium API v2 §8.4.2).
    Credential,
}

impl DetailType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::PaymentInitiation, Self::Credential];

    /// The value of `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PaymentInitiation => "payment_initiation",
            Self::Credential => "credential",
        }
    }
}

/// One object, tagged by its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthorizationDetail {
    /// A payment.
    PaymentInitiation(PaymentInitiation),
    /// Use of a signing key.
    Credential(CredentialDetail),
}

impl AuthorizationDetail {
    /// Its type.
    pub const fn detail_type(&self) -> DetailType {
        match self {
            Self::PaymentInitiation(_) => DetailType::PaymentInitiation,
            Self::Credential(_) => DetailType::Credential,
        }
    }

    /// Its locations; empty means every resource server that owns the type.
    pub fn locations(&self) -> &[Resource] {
        match self {
            Self::PaymentInitiation(p) => &p.locations,
            Self::Credential(c) => &c.locations,
        }
    }

    /// A copy with other locations.
    #[must_use]
    pub fn with_locations(&self, locations: Vec<Resource>) -> Self {
        let mut detail = self.clone();
        match &mut detail {
            Self::PaymentInitiation(p) => p.locations = locations,
            Self::Credential(c) => c.locations = locations,
        }
        detail
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::PaymentInitiation(p) => p.check(),
            Self::Credential(c) => c.check(),
        }
    }
}

/// `payment_initiation` (RFC 9396 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PaymentInitiation {
    /// Allowed actions: one or more, without duplicates.
    pub actions: Vec<PaymentAction>,
    /// Resources that it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Resource>,
    /// The amount.
    pub instructed_amount: InstructedAmount,
    /// The payee: 1 to 140 characters.
    pub creditor_name: ShownText,
    /// The payee's account.
    pub creditor_account: Account,
    /// The payer's account, once the payer has chosen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debtor_account: Option<DebtorAccount>,
    /// Purpose of the payment: 1 to 140 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remittance_information_unstructured: Option<ShownText>,
}

/// An action on a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentAction {
    /// Start the payment.
    Initiate,
    /// Read its status.
    Status,
    /// Cancel it.
    Cancel,
}

/// An amount; a text, since `123.5` and `123.50` differ (RFC 9396 §12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstructedAmount {
    /// In what.
    pub currency: CurrencyCode,
    /// Digits, then optionally a point and at most as many digits as the currency has decimals; more than zero, no
    /// sign, no exponent, no leading zero.
    pub amount: String,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its number.
    pub iban: Iban,
    /// Its bank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bic: Option<Bic>,
}

/// The payer's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebtorAccount {
    /// As in [`Account`].
    pub iban: Iban,
    /// The payer's role, for example `owner`: 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_role: Option<ShownText>,
}

/// `credential`: the documents to sign, and the signing key (CSC API v2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialDetail {
    /// The key; either this or `signatureQualifier`.
    #[serde(rename = "credentialID", default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<ShownText>,
    /// The kind of signature, by which the signing service selects the key.
    #[serde(rename = "signatureQualifier", default, skip_serializing_if = "Option::is_none")]
    pub signature_qualifier: Option<ShownText>,
    /// The documents, in order: 1 to 100.
    #[serde(rename = "documentDigests")]
    pub document_digests: Vec<DocumentDigest>,
    /// The OID of the digests' algorithm: SHA-256, SHA-384 or SHA-512.
    #[serde(rename = "hashAlgorithmOID")]
    pub hash_algorithm_oid: String,
    /// Resources that it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Resource>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentDigest {
    /// The digest in base64 or base64url, unchanged; its length fits the algorithm.
    pub hash: String,
    /// The document's label for the person who approves: 1 to 255 characters.
    pub label: ShownText,
}

impl PaymentInitiation {
    fn check(&self) -> Result<(), String> {
        if self.actions.is_empty() {
            return Err("actions: expected at least one, found none".to_owned());
        }
        for (i, action) in self.actions.iter().enumerate() {
            if self.actions.iter().skip(i + 1).any(|other| other == action) {
                return Err("actions: one stands twice".to_owned());
            }
        }
        check_locations(&self.locations)?;
        check_amount(&self.instructed_amount)?;
        check_length("creditorName", Some(&self.creditor_name), 140)?;
        let role = self.debtor_account.as_ref().and_then(|debtor| debtor.user_role.as_ref());
        check_length("debtorAccount.user_role", role, 64)?;
        let text = self.remittance_information_unstructured.as_ref();
        check_length("remittanceInformationUnstructured", text, 140)
    }
}

impl CredentialDetail {
    fn check(&self) -> Result<(), String> {
        if self.credential_id.is_none() && self.signature_qualifier.is_none() {
            return Err("expected credentialID or signatureQualifier, found neither".to_owned());
        }
        check_locations(&self.locations)?;
        let length = match self.hash_algorithm_oid.as_str() {
            "2.16.840.1.101.3.4.2.1" => 32,
            "2.16.840.1.101.3.4.2.2" => 48,
            "2.16.840.1.101.3.4.2.3" => 64,
            _ => return Err("hashAlgorithmOID: expected the OID of SHA-256, SHA-384 or SHA-512".to_owned()),
        };
        if self.document_digests.is_empty() || self.document_digests.len() > 100 {
            return Err("documentDigests: expected 1 to 100".to_owned());
        }
        for digest in &self.document_digests {
            if decoded_length(&digest.hash) != Some(length) {
                return Err(format!("documentDigests.hash: expected base64 of {length} bytes"));
            }
        }
        Ok(())
    }
}

/// base64 with padding (CSC API v2 §8.4.2) or base64url without.
fn decoded_length(text: &str) -> Option<usize> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok().map(|bytes| bytes.len())
}

fn check_length(name: &str, text: Option<&ShownText>, most: usize) -> Result<(), String> {
    if text.is_some_and(|text| text.as_str().chars().nth(most).is_some()) {
        return Err(format!("{name}: expected 1 to {most} characters, found more"));
    }
    Ok(())
}

fn check_locations(locations: &[Resource]) -> Result<(), String> {
    if locations.len() > 16 {
        return Err("locations: expected at most 16".to_owned());
    }
    Ok(())
}

fn check_amount(amount: &InstructedAmount) -> Result<(), String> {
    let (whole, fraction) = match amount.amount.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (amount.amount.as_str(), None),
    };
    let digits =
        |text: &str, most| !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 18)
        || (whole.len() > 1 && whole.starts_with('0'))
        || fraction.is_some_and(|f| !digits(f, 4))
    {
        return Err("instructedAmount.amount: expected a decimal text like \"123.50\"".to_owned());
    }
    let decimals = usize::from(amount.currency.decimals().unwrap_or(0));
    if fraction.is_some_and(|f| f.len() > decimals) {
        let currency = &amount.currency;
        return Err(format!(
            "instructedAmount.amount: expected at most {decimals} decimals, as {currency} has"
        ));
    }
    if amount.amount.bytes().all(|b| matches!(b, b'0' | b'.')) {
        return Err("instructedAmount.amount: expected more than zero".to_owned());
    }
    Ok(())
}

/// Parses the parameter or claim: a JSON array of 1 to 16 objects of the supported types.
pub fn parse_authorization_details(json: &str) -> Result<Vec<AuthorizationDetail>, DetailsError> {
    let details: Vec<AuthorizationDetail> =
        serde_json::from_str(json).map_err(|e| DetailsError(e.to_string()))?;
    check_authorization_details(&details)?;
    Ok(details)
}

/// Checks beyond the JSON structure.
pub fn check_authorization_details(details: &[AuthorizationDetail]) -> Result<(), DetailsError> {
    if details.is_empty() || details.len() > MAX_DETAILS {
        return Err(DetailsError(format!("expected 1 to {MAX_DETAILS} objects, found {}", details.len())));
    }
    for (i, detail) in details.iter().enumerate() {
        detail
            .check()
            .map_err(|e| DetailsError(format!("object {i} ({}): {e}", detail.detail_type().name())))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "details_tests.rs"]
mod tests;
