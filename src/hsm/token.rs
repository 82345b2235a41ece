//! Finds the slot of the token, and reads the token's description.

use super::{HsmError, PinProblem, TokenUri};
use cryptoki::context::Pkcs11;
use cryptoki::slot::Slot;

/// A token's description of itself. None of it is proof: a key is identified by its public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// `CK_TOKEN_INFO.label`; here as in all texts the padding of blanks and NULs is cut.
    pub label: String,
    /// `serialNumber`.
    pub serial: String,
    /// `manufacturerID`.
    pub manufacturer: String,
    /// `model`.
    pub model: String,
    /// `firmwareVersion` as `major.minor`.
    pub firmware: String,
    /// The slot's number, which may change with every start.
    pub slot_id: u64,
}

/// A token that was found.
pub(super) struct FoundToken {
    pub(super) slot: Slot,
    pub(super) info: TokenInfo,
}

/// Why not exactly one token was found.
pub(super) enum NotFound {
    None { seen: String },
    Several { count: usize },
    Call(HsmError),
}

/// The one token that the URI selects.
///
/// A slot whose token information cannot be read is skipped: one faulty device must not hide the others.
pub(super) fn search(module: &Pkcs11, uri: &TokenUri) -> Result<FoundToken, NotFound> {
    let slots = module.get_slots_with_token().map_err(|e| NotFound::Call(e.into()))?;
    let mut fitting = Vec::new();
    let mut seen = Vec::new();
    for slot in slots {
        match module.get_token_info(slot) {
            Ok(info) if info.token_initialized() => {
                let info = describe(slot, &info);
                seen.push(format!("slot {} holds {:?} (serial {})", slot.id(), info.label, info.serial));
                if uri.fits(&info) {
                    fitting.push(FoundToken { slot, info });
                }
            }
            Ok(_) => seen.push(format!("slot {} holds a token that is not initialized", slot.id())),
            Err(error) => seen.push(format!("slot {}: {}", slot.id(), HsmError::from(error))),
        }
    }
    let count = fitting.len();
    match fitting.pop() {
        Some(found) if count == 1 => Ok(found),
        Some(_) => Err(NotFound::Several { count }),
        None if seen.is_empty() => Err(NotFound::None { seen: "no slot holds a token".to_owned() }),
        None => Err(NotFound::None { seen: seen.join("; ") }),
    }
}

fn describe(slot: Slot, info: &cryptoki::slot::TokenInfo) -> TokenInfo {
    let text = |padded: &str| padded.trim_end_matches([' ', '\0']).to_owned();
    TokenInfo {
        label: text(info.label()),
        serial: text(info.serial_number()),
        manufacturer: text(info.manufacturer_id()),
        model: text(info.model()),
        firmware: info.firmware_version().to_string(),
        slot_id: slot.id(),
    }
}

/// The token's flags about its user PIN (PKCS#11 3.1 §3.2, `CKF_USER_PIN_*`).
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "the token's own flags, one for one")]
struct PinFlags {
    initialized: bool,
    count_low: bool,
    final_try: bool,
    locked: bool,
}

impl PinFlags {
    /// The worst first: a condition that needs the security officer must not read like a warning.
    const fn check(self) -> Result<(), PinProblem> {
        if self.locked {
            return Err(PinProblem::Locked);
        }
        if !self.initialized {
            return Err(PinProblem::NotInitialized);
        }
        if self.final_try {
            return Err(PinProblem::FinalTry);
        }
        if self.count_low {
            return Err(PinProblem::CountLow);
        }
        Ok(())
    }
}

/// Whether the PIN may be tried; called before every login.
pub(super) fn pin_may_be_tried(module: &Pkcs11, slot: Slot) -> Result<(), HsmError> {
    let info = module.get_token_info(slot)?;
    let flags = PinFlags {
        initialized: info.user_pin_initialized(),
        count_low: info.user_pin_count_low(),
        final_try: info.user_pin_final_try(),
        locked: info.user_pin_locked(),
    };
    Ok(flags.check()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pin_is_tried_on_a_token_that_warns_of_a_wrong_one() {
        let calm = PinFlags { initialized: true, count_low: false, final_try: false, locked: false };
        assert_eq!(calm.check(), Ok(()));
        assert_eq!(PinFlags { count_low: true, ..calm }.check(), Err(PinProblem::CountLow));
        assert_eq!(PinFlags { count_low: true, final_try: true, ..calm }.check(), Err(PinProblem::FinalTry));
        let locked = PinFlags { count_low: true, final_try: true, locked: true, ..calm };
        assert_eq!(locked.check(), Err(PinProblem::Locked));
        assert_eq!(PinFlags { initialized: false, ..calm }.check(), Err(PinProblem::NotInitialized));
    }
}
