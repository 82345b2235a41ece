//! Failures of the token, classed by the action that they require of the caller.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use std::fmt;

/// The action after a failure. The source of [`HsmError::class`] lists the codes of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request cannot be done by this key or token: an error and an alarm, no retry.
    Request,
    /// The session is lost: a new one, one retry (done inside this room).
    Session,
    /// The login or the handle is lost: log in, find again, one retry (done inside this room).
    LoginOrHandle,
    /// The module or its device is broken: end the process and start a new one, with back-off and jitter.
    Module,
    /// The token refused the PIN, which must not be tried again: end with a status that is not restarted, and alarm.
    Pin,
    /// The token has no more sessions: use fewer threads.
    SessionCount,
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => {
                "the token cannot do this with this key; look at the key's attributes and mechanisms"
            }
            Self::Session => "the session is lost",
            Self::LoginOrHandle => "the login or the key is lost",
            Self::Module => "the module or its device is broken; only a new process can recover",
            Self::Pin => "the PIN must not be tried again",
            Self::SessionCount => "the token has no session left; use fewer signing threads",
        })
    }
}

/// Why the PIN is not tried. An operator has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinProblem {
    /// `CKR_PIN_INCORRECT`, `CKR_PIN_INVALID`, `CKR_PIN_LEN_RANGE`.
    #[error(
        "the token refused the PIN (it was tried once and will not be tried again); put the right PIN in place, and log in once with it by another tool to clear the token's warning"
    )]
    Incorrect,
    /// `CKR_PIN_LOCKED` or its flag.
    #[error("the token's user PIN is locked; its security officer has to set a new one")]
    Locked,
    /// `CKR_PIN_EXPIRED`.
    #[error("the token's user PIN has expired; set a new one with the token's own tool")]
    Expired,
    /// `CKF_USER_PIN_COUNT_LOW`: a wrong PIN was tried since the last login.
    #[error(
        "a wrong PIN was tried on this token since the last login (CKF_USER_PIN_COUNT_LOW), so none is tried now; log in once by another tool, for example pkcs11-tool --login --list-objects, which clears the warning"
    )]
    CountLow,
    /// `CKF_USER_PIN_FINAL_TRY`: one more wrong PIN locks the token.
    #[error(
        "one more wrong PIN locks this token (CKF_USER_PIN_FINAL_TRY), so none is tried now; log in once by another tool, which clears the warning"
    )]
    FinalTry,
    /// `CKR_USER_PIN_NOT_INITIALIZED` or its flag.
    #[error("the token has no user PIN yet; set one with the token's own tool")]
    NotInitialized,
    /// The token refused it earlier in this process, which has wiped it since.
    #[error(
        "the token refused the PIN earlier, so this process has forgotten it; put the right PIN in place and start again"
    )]
    Forgotten,
}

impl PinProblem {
    /// Whether the token refused this PIN. Otherwise its flags warned before any try, and reading them again costs no
    /// try.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Incorrect | Self::Locked | Self::Expired | Self::Forgotten)
    }
}

/// A call into the module that failed. The text holds the `CKR_` name and never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HsmError {
    /// Any code that is not about the PIN.
    #[error("the token answered {code} to {call}: {class}{}", if *.again { ", and a new one did not help" } else { "" })]
    Call {
        /// Required action.
        class: ErrorClass,
        /// For example `C_Sign`.
        call: String,
        /// For example `CKR_DEVICE_ERROR`.
        code: String,
        /// The failure came again after a new session or login.
        again: bool,
    },
    /// The PIN; every login after a refused one fails with [`PinProblem::Forgotten`].
    #[error(transparent)]
    Pin(#[from] PinProblem),
}

impl HsmError {
    /// The required action.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Call { class, .. } => *class,
            Self::Pin(problem) if problem.is_refusal() => ErrorClass::Pin,
            Self::Pin(_) => ErrorClass::Module,
        }
    }

    /// The same failure after a recovery that did not help.
    pub(super) fn came_again(self) -> Self {
        match self {
            Self::Call { class, call, code, .. } => Self::Call { class, call, code, again: true },
            pin @ Self::Pin(_) => pin,
        }
    }

    /// For a condition that the token did not report itself, with the code that it would have.
    pub(super) fn lost(code: RvError, function: Function) -> Self {
        Self::from(Error::Pkcs11(code, function))
    }
}

impl From<Error> for HsmError {
    fn from(error: Error) -> Self {
        let Error::Pkcs11(code, function) = error else {
            // No code of the token: a missing function, or an answer that violates the standard.
            return Self::Call {
                class: ErrorClass::Module,
                call: "a call".to_owned(),
                code: format!("no PKCS#11 code ({error})"),
                again: false,
            };
        };
        match pin_problem(code) {
            Some(problem) => Self::Pin(problem),
            None => Self::Call {
                class: class(code),
                call: format!("C_{function:?}"),
                code: code_name(code),
                again: false,
            },
        }
    }
}

const fn pin_problem(code: RvError) -> Option<PinProblem> {
    match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => Some(PinProblem::Incorrect),
        RvError::PinLocked => Some(PinProblem::Locked),
        RvError::PinExpired => Some(PinProblem::Expired),
        RvError::UserPinNotInitialized => Some(PinProblem::NotInitialized),
        _ => None,
    }
}

/// Unknown codes end the process: a new one is always safe.
const fn class(code: RvError) -> ErrorClass {
    use RvError as R;
    match code {
        R::DataLenRange
        | R::DataInvalid
        | R::MechanismInvalid
        | R::MechanismParamInvalid
        | R::KeyFunctionNotPermitted
        | R::KeyTypeInconsistent
        | R::KeySizeRange
        | R::ArgumentsBad
        | R::AttributeReadOnly
        | R::AttributeSensitive
        | R::AttributeTypeInvalid
        | R::AttributeValueInvalid
        | R::TemplateIncomplete
        | R::TemplateInconsistent
        | R::CurveNotSupported
        | R::DomainParamsInvalid
        | R::FunctionNotSupported => ErrorClass::Request,
        R::SessionHandleInvalid | R::SessionClosed | R::OperationActive | R::OperationNotInitialized => {
            ErrorClass::Session
        }
        R::UserNotLoggedIn | R::ObjectHandleInvalid | R::KeyHandleInvalid => ErrorClass::LoginOrHandle,
        R::SessionCount => ErrorClass::SessionCount,
        _ => ErrorClass::Module,
    }
}

/// The name of the code; cryptoki's own text is a paragraph of the standard.
pub(super) fn code_name(code: RvError) -> String {
    match code {
        RvError::VendorDefined(number) => format!("CKR_VENDOR_DEFINED {number:#x}"),
        RvError::UnknownErrorCode(number) => format!("CKR {number:#x}, which PKCS#11 does not name"),
        named => {
            let mut name = "CKR".to_owned();
            for letter in format!("{named:?}").chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: RvError) -> HsmError {
        HsmError::from(Error::Pkcs11(code, Function::Sign))
    }

    #[test]
    fn a_failure_names_its_call_its_code_and_the_remedy() {
        assert_eq!(
            of(RvError::DeviceError).to_string(),
            "the token answered CKR_DEVICE_ERROR to C_Sign: the module or its device is broken; only a new process can recover"
        );
        assert_eq!(
            of(RvError::UserNotLoggedIn).came_again().to_string(),
            "the token answered CKR_USER_NOT_LOGGED_IN to C_Sign: the login or the key is lost, and a new one did not help"
        );
        assert_eq!(code_name(RvError::RandomNoRng), "CKR_RANDOM_NO_RNG");
        assert_eq!(code_name(RvError::VendorDefined(0x8000_0001)), "CKR_VENDOR_DEFINED 0x80000001");
    }

    #[test]
    fn every_code_has_the_class_that_decides_the_recovery() {
        let table = [
            (RvError::DataLenRange, ErrorClass::Request),
            (RvError::KeyFunctionNotPermitted, ErrorClass::Request),
            (RvError::SessionHandleInvalid, ErrorClass::Session),
            (RvError::OperationActive, ErrorClass::Session),
            (RvError::UserNotLoggedIn, ErrorClass::LoginOrHandle),
            (RvError::KeyHandleInvalid, ErrorClass::LoginOrHandle),
            (RvError::ObjectHandleInvalid, ErrorClass::LoginOrHandle),
            (RvError::SessionCount, ErrorClass::SessionCount),
            (RvError::PinIncorrect, ErrorClass::Pin),
            (RvError::PinLocked, ErrorClass::Pin),
            (RvError::PinExpired, ErrorClass::Pin),
            (RvError::TokenNotPresent, ErrorClass::Module),
            (RvError::SlotIdInvalid, ErrorClass::Module),
            (RvError::GeneralError, ErrorClass::Module),
            (RvError::CryptokiNotInitialized, ErrorClass::Module),
            (RvError::VendorDefined(0x8000_0000), ErrorClass::Module),
            (RvError::UnknownErrorCode(0x7fff), ErrorClass::Module),
        ];
        for (code, class) in table {
            assert_eq!(of(code).class(), class, "{code:?}");
        }
    }

    #[test]
    fn only_a_pin_that_the_token_refused_needs_an_operator_before_another_start() {
        for (problem, class) in [
            (PinProblem::Incorrect, ErrorClass::Pin),
            (PinProblem::Locked, ErrorClass::Pin),
            (PinProblem::Expired, ErrorClass::Pin),
            (PinProblem::Forgotten, ErrorClass::Pin),
            (PinProblem::CountLow, ErrorClass::Module),
            (PinProblem::FinalTry, ErrorClass::Module),
            (PinProblem::NotInitialized, ErrorClass::Module),
        ] {
            assert_eq!(HsmError::Pin(problem).class(), class, "{problem:?}");
        }
    }
}
