//! Account, bank and currency of payments, checked against the ISO registries.

use super::words::{WordError, word};
use iban::{IbanLike, ParseBaseIbanError, ParseIbanError};

word!(
    /// An account number (ISO 13616) in electronic form: a country of the IBAN registry, its structure, valid check
    /// digits, capital letters, no spaces.
    Iban, check_iban
);
word!(
    /// A bank (ISO 9362): four letters of the party, two of an ISO 3166 country, two of the location, and three of a
    /// branch or none; capitals or digits.
    Bic, check_bic
);
word!(
    /// A currency for payments (ISO 4217): three capital letters; no historic currency, fund or metal.
    CurrencyCode, check_currency
);

fn check_iban(text: &str) -> Result<(), WordError> {
    let expected = "an IBAN (ISO 13616) in capital letters and digits without spaces";
    match text.parse::<iban::Iban>() {
        Ok(iban) if iban.electronic_str() == text => Ok(()),
        Ok(_) => Err(WordError::new(expected, "one with spaces")),
        Err(ParseIbanError::InvalidBaseIban { source: ParseBaseIbanError::InvalidChecksum }) => {
            Err(WordError::new(expected, "wrong check digits"))
        }
        Err(ParseIbanError::InvalidBaseIban { .. }) => Err(WordError::new(expected, "another form")),
        Err(ParseIbanError::UnknownCountry(_)) => Err(WordError::new(expected, "a country without IBANs")),
        Err(ParseIbanError::InvalidBban(_)) => {
            Err(WordError::new(expected, "another form than its country has"))
        }
    }
}

/// No well-kept library implements ISO 9362. No BIC in use has digits in the party's prefix.
fn check_bic(text: &str) -> Result<(), WordError> {
    let expected = "a BIC (ISO 9362): 8 or 11 capital letters and digits";
    let other = || WordError::new(expected, "another form");
    let (party, rest) = text.split_at_checked(4).ok_or_else(other)?;
    let (country, rest) = rest.split_at_checked(2).ok_or_else(other)?;
    let right = party.bytes().all(|b| b.is_ascii_uppercase())
        && matches!(rest.len(), 2 | 5)
        && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !right {
        return Err(other());
    }
    // Kosovo has BICs, but no code of ISO 3166.
    if country != "XK" && country.parse::<iso_country::Country>().is_err() {
        return Err(WordError::new(expected, "a country that ISO 3166 does not know"));
    }
    Ok(())
}

fn check_currency(text: &str) -> Result<(), WordError> {
    let expected = "a currency of ISO 4217 in three capital letters";
    let currency = iso_currency::Currency::from_code(text)
        .ok_or_else(|| WordError::new(expected, "a code that it does not have"))?;
    // Gold, the code for tests, the code for no currency; units of account such as the Swiss WIR.
    if currency.is_special() || currency.is_fund() {
        return Err(WordError::new(expected, "a code that is no money"));
    }
    // ISO 4217 has two codes for the bolivar, VES and VED; the library treats the first as superseded.
    if currency.is_superseded().is_some() && currency != iso_currency::Currency::VES {
        return Err(WordError::new(expected, "a currency that has ended"));
    }
    Ok(())
}

impl CurrencyCode {
    /// Decimals of amounts: 0 for the yen, 3 for the Kuwaiti dinar.
    pub(super) fn decimals(&self) -> Option<u16> {
        iso_currency::Currency::from_code(self.as_str()).and_then(iso_currency::Currency::exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iban_has_right_check_digits_and_the_structure_of_its_country() {
        for good in [
            "DE02100100109307118603",
            "NO9386011117947",
            "XK051212012345678906",
            "MT84MALT011000012345MTLCAST001S",
        ] {
            assert!(good.parse::<Iban>().is_ok(), "{good}");
        }
        for (bad, found) in [
            ("DE02100100109307118604", "wrong check digits"),
            ("DE02 1001 0010 9307 1186 03", "spaces"),
            ("de02100100109307118603", "another form"),
            ("D\u{415}02100100109307118603", "another form"),
            ("", "another form"),
            ("ZZ32100100109307118603", "a country without IBANs"),
            // Valid check digits, but shorter than any German account.
            ("DE95100000000000", "another form than its country has"),
            ("US64SVBKUS6S3300958879", "a country without IBANs"),
        ] {
            let error = bad.parse::<Iban>().unwrap_err().to_string();
            assert!(error.contains(found), "{bad}: {error}");
        }
    }

    #[test]
    fn a_bic_names_a_party_a_country_a_place_and_perhaps_a_branch() {
        for good in ["DEUTDEFF", "DEUTDEFF500", "PBNKDEFFXXX", "NCBVXKPR", "BNORPHMM"] {
            assert!(good.parse::<Bic>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "DEUT",
            "DEUTDEF",
            "DEUTDEFF50",
            "DEUTDEFF5000",
            "deutdeff",
            "DEUTZZFF",
            "DE1TDEFF",
            "DEUTD\u{415}FF",
            "DEUTDEF\u{e9}",
            "12345678",
            "\u{20ac}\u{20ac}\u{20ac}\u{20ac}",
        ] {
            assert!(bad.parse::<Bic>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_currency_is_one_that_payments_are_made_in() {
        for good in ["EUR", "USD", "JPY", "XOF", "XPF", "CHF", "KWD", "VES", "VED"] {
            assert!(good.parse::<CurrencyCode>().is_ok(), "{good}");
        }
        for bad in ["", "eur", "EU", "EURO", "ZZZ", "XXX", "XTS", "XAU", "HRK", "CHE", "BOV", "\u{415}UR"] {
            assert!(bad.parse::<CurrencyCode>().is_err(), "{bad}");
        }
    }
}
