//! `authorization_details` (RFC 9396): the two types that we know, in full, and nothing else.
//!
//! Unknown types, unknown members, wrong types, bad values and missing members are refused (§5). Texts are compared
//! code point by code point; amounts are texts and stay as they were written (§12).

use super::Resource;
use serde::{Deserialize, Serialize};

/// The most objects in one request.
const MAX_DETAILS: usize = 16;

/// Why some JSON is no `authorization_details` that we accept. For the caller: `invalid_authorization_details`.
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

/// One object, told by its `type`.
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

    /// Where it is meant for; empty means "whoever owns the type".
    pub fn locations(&self) -> &[Resource] {
        match self {
            Self::PaymentInitiation(p) => &p.locations,
            Self::Credential(c) => &c.locations,
        }
    }

    /// The same with other locations.
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
    /// What may be done: one or more, none twice.
    pub actions: Vec<PaymentAction>,
    /// Where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Resource>,
    /// How much.
    pub instructed_amount: InstructedAmount,
    /// To whom: 1 to 140 characters.
    pub creditor_name: String,
    /// To which account.
    pub creditor_account: Account,
    /// From which account, once the payer has chosen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debtor_account: Option<DebtorAccount>,
    /// For what: 1 to 140 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remittance_information_unstructured: Option<String>,
}

/// What may be done with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentAction {
    /// Start it.
    Initiate,
    /// Ask how it stands.
    Status,
    /// Call it off.
    Cancel,
}

/// An amount; a text, because `123.5` and `123.50` are two things (RFC 9396 §12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstructedAmount {
    /// ISO 4217: three capital letters.
    pub currency: String,
    /// Digits, then at most one point with one to five digits; no sign, no exponent, no leading zero.
    pub amount: String,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// ISO 13616, capital letters and digits, check digits right.
    pub iban: String,
    /// ISO 9362: 8 or 11 capital letters and digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bic: Option<String>,
}

/// The payer's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebtorAccount {
    /// As in [`Account`].
    pub iban: String,
    /// The payer's part: `owner`, say. 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_role: Option<String>,
}

/// `credential`: which documents may be signed with which key (CSC API v2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialDetail {
    /// The key; this or `signatureQualifier`.
    #[serde(rename = "credentialID", default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// The kind of signature, from which the signing service finds the key.
    #[serde(rename = "signatureQualifier", default, skip_serializing_if = "Option::is_none")]
    pub signature_qualifier: Option<String>,
    /// The documents, in this order: 1 to 100.
    #[serde(rename = "documentDigests")]
    pub document_digests: Vec<DocumentDigest>,
    /// How the digests were made: the OID of SHA-256, SHA-384 or SHA-512.
    #[serde(rename = "hashAlgorithmOID")]
    pub hash_algorithm_oid: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Resource>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentDigest {
    /// base64 or base64url of the digest, as it was given; as long as its algorithm makes it.
    pub hash: String,
    /// What the signer is shown: 1 to 255 characters.
    pub label: String,
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
        check_text("creditorName", &self.creditor_name, 140)?;
        check_iban("creditorAccount.iban", &self.creditor_account.iban)?;
        if let Some(bic) = &self.creditor_account.bic {
            check_bic(bic)?;
        }
        if let Some(debtor) = &self.debtor_account {
            check_iban("debtorAccount.iban", &debtor.iban)?;
            if let Some(role) = &debtor.user_role {
                check_text("debtorAccount.user_role", role, 64)?;
            }
        }
        match &self.remittance_information_unstructured {
            Some(text) => check_text("remittanceInformationUnstructured", text, 140),
            None => Ok(()),
        }
    }
}

impl CredentialDetail {
    fn check(&self) -> Result<(), String> {
        if self.credential_id.is_none() && self.signature_qualifier.is_none() {
            return Err("expected credentialID or signatureQualifier, found neither".to_owned());
        }
        for (name, value) in
            [("credentialID", &self.credential_id), ("signatureQualifier", &self.signature_qualifier)]
        {
            if let Some(value) = value {
                check_text(name, value, 255)?;
            }
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
            check_text("documentDigests.label", &digest.label, 255)?;
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

fn check_text(name: &str, text: &str, most: usize) -> Result<(), String> {
    if text.is_empty() || text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(format!("{name}: expected 1 to {most} characters without control characters"));
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
    if amount.currency.len() != 3 || !amount.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err("instructedAmount.currency: expected three capital letters".to_owned());
    }
    let (whole, fraction) = match amount.amount.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (amount.amount.as_str(), None),
    };
    let digits =
        |text: &str, most| !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 18)
        || (whole.len() > 1 && whole.starts_with('0'))
        || fraction.is_some_and(|f| !digits(f, 5))
    {
        return Err("instructedAmount.amount: expected a decimal text like \"123.50\"".to_owned());
    }
    Ok(())
}

fn check_iban(name: &str, iban: &str) -> Result<(), String> {
    let shape = (15..=34).contains(&iban.len())
        && iban.bytes().take(2).all(|b| b.is_ascii_uppercase())
        && iban.bytes().skip(2).take(2).all(|b| b.is_ascii_digit())
        && iban.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    // ISO 7064 MOD 97-10 over the text with its first four characters moved to the end.
    let rest = iban.bytes().skip(4).chain(iban.bytes().take(4)).fold(0_u32, |rest, b| match b {
        b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
        b'A'..=b'Z' => (rest * 100 + u32::from(b - b'A') + 10) % 97,
        _ => rest,
    });
    if shape && rest == 1 { Ok(()) } else { Err(format!("{name}: expected an IBAN in capital letters")) }
}

fn check_bic(bic: &str) -> Result<(), String> {
    let shape =
        matches!(bic.len(), 8 | 11) && bic.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if shape {
        Ok(())
    } else {
        Err("creditorAccount.bic: expected 8 or 11 capital letters and digits".to_owned())
    }
}

/// Reads the parameter or claim: a JSON array of 1 to 16 objects, each of a type that we know.
pub fn parse_authorization_details(json: &str) -> Result<Vec<AuthorizationDetail>, DetailsError> {
    let details: Vec<AuthorizationDetail> =
        serde_json::from_str(json).map_err(|e| DetailsError(e.to_string()))?;
    check_authorization_details(&details)?;
    Ok(details)
}

/// The checks that the shape alone does not make.
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
