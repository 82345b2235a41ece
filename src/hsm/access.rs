//! The login and its epoch, shared by all sessions of one token.

use super::error::HsmError;
use super::token::{self, FoundToken};
use super::{
    ErrorClass, FindError, GenerateError, Key, KeySpec, OpenError, Pin, PinProblem, Settings, SigningSession,
    TokenInfo, find, generate, open,
};
use crate::jose::Algorithm;
use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Number of the login that made a handle. In a later epoch the same handle may name another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// A token that is logged in. Cheap to clone; all clones share the login, which lasts until the process ends.
#[derive(Clone)]
pub struct Hsm(Arc<Access>);

/// See [`Hsm`].
pub(super) struct Access {
    module: Pkcs11,
    slot: Slot,
    info: TokenInfo,
    epoch: AtomicU64,
    login: Mutex<Login>,
    refused: PinRefused,
}

/// Called first of all when the token has refused the PIN.
pub type PinRefused = Box<dyn Fn(PinProblem) + Send + Sync>;

struct Login {
    /// `None` for good once the token refused it.
    pin: Option<Pin>,
    /// Keeps the login: it ends with an application's last session (PKCS#11 3.1 §5.6.4).
    anchor: Session,
}

impl Hsm {
    /// Loads the module, finds the token and logs in.
    ///
    /// A token that cannot be found is searched again four times within 0.6 s. A login that failed for another reason
    /// than the PIN is tried once more. The PIN is not given to a token whose flags warn, and never again after a
    /// refusal: `refused` is called then, from this call and from every later login. When this process is logged in to
    /// the token already, PKCS#11 does not check the PIN.
    pub fn open(settings: &Settings, pin: &Pin, refused: PinRefused) -> Result<Self, OpenError> {
        open::open(settings, pin, refused)
    }

    pub(super) fn new(access: Access) -> Self {
        Self(Arc::new(access))
    }

    /// The token's own description when it was opened.
    pub fn token_info(&self) -> TokenInfo {
        self.0.info.clone()
    }

    /// The labels of all private keys of the token, sorted; labels that are not UTF-8 are left out.
    pub fn labels(&self) -> Result<Vec<String>, HsmError> {
        self.0.with_session(find::labels)
    }

    /// Makes a key pair in the token, proves its attributes and one signature, and returns it.
    ///
    /// Refuses a label or an id that is in use. If a later step fails, the pair stays in the token.
    pub fn generate(&self, spec: &KeySpec) -> Result<Key, GenerateError> {
        generate::generate(self, spec)
    }

    /// The one key with this label, after its attributes, its public key and one signature were proved.
    pub fn find(&self, label: &str, algorithm: Algorithm) -> Result<Key, FindError> {
        find::find(self, label, algorithm)
    }

    /// A session for one thread to sign with.
    pub fn session(&self) -> Result<SigningSession, HsmError> {
        SigningSession::open(self.clone())
    }

    pub(super) fn access(&self) -> &Access {
        &self.0
    }

    /// Whether both share one login.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Access {
    /// After the first login, whose session is the anchor.
    pub(super) fn new(
        module: Pkcs11,
        found: FoundToken,
        pin: &Pin,
        anchor: Session,
        refused: PinRefused,
    ) -> Self {
        let login = Mutex::new(Login { pin: Some(pin.share()), anchor });
        Self { module, slot: found.slot, info: found.info, epoch: AtomicU64::new(0), login, refused }
    }

    /// Read it before the session call that returns the handle: a login in between then only makes the handle look
    /// older.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Logs in again, unless another thread did so since `lost`.
    ///
    /// After a refusal of the PIN, later calls fail without asking the token.
    pub(super) fn log_in_again(&self, lost: Epoch) -> Result<(), HsmError> {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != lost {
            return Ok(());
        }
        let pin = login.pin.as_ref().ok_or(PinProblem::Forgotten)?;
        match log_in(&self.module, self.slot, pin, &self.refused) {
            Ok(anchor) => {
                drop(std::mem::replace(&mut login.anchor, anchor));
                self.epoch.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => {
                if error.class() == ErrorClass::Pin {
                    login.pin = None;
                }
                Err(error)
            }
        }
    }

    pub(super) fn open_session(&self) -> Result<Session, HsmError> {
        Ok(self.module.open_ro_session(self.slot)?)
    }

    pub(super) fn open_writing_session(&self) -> Result<Session, HsmError> {
        Ok(self.module.open_rw_session(self.slot)?)
    }

    /// Runs `work`, which only reads, in a new session, with the recovery that its errors require.
    pub(super) fn with_session<T>(
        &self,
        work: impl Fn(&Session) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        let mut recovery = Recovery::default();
        loop {
            let epoch = self.epoch();
            let done = self.open_session().and_then(|session| {
                // Without a login a search returns CKR_OK and no private key: that must not mean that there is none.
                match session.get_session_info()?.session_state() {
                    SessionState::RoUser | SessionState::RwUser => work(&session),
                    _ if recovery.logged_in_again => work(&session),
                    _ => Err(HsmError::lost(RvError::UserNotLoggedIn, Function::GetSessionInfo)),
                }
            });
            match done {
                Err(error) => recovery.after(error, || self.log_in_again(epoch))?,
                done => return done,
            }
        }
    }
}

/// One new session and one new login for one operation.
#[derive(Default)]
pub(super) struct Recovery {
    new_session: bool,
    logged_in_again: bool,
}

impl Recovery {
    /// `Ok` when the operation may be tried once more, in a new session.
    pub(super) fn after(
        &mut self,
        error: HsmError,
        log_in_again: impl FnOnce() -> Result<(), HsmError>,
    ) -> Result<(), HsmError> {
        match error.class() {
            ErrorClass::Session if !self.new_session => self.new_session = true,
            ErrorClass::LoginOrHandle if !self.logged_in_again => {
                self.logged_in_again = true;
                log_in_again()?;
            }
            ErrorClass::Session | ErrorClass::LoginOrHandle => return Err(error.came_again()),
            _ => return Err(error),
        }
        Ok(())
    }
}

/// One `C_Login`, if the token's flags allow one: the only call that gives the PIN to the token.
pub(super) fn log_in(
    module: &Pkcs11,
    slot: Slot,
    pin: &Pin,
    refused: &PinRefused,
) -> Result<Session, HsmError> {
    token::pin_may_be_tried(module, slot)?;
    let session = module.open_ro_session(slot)?;
    match session.login_with_raw(UserType::User, pin.as_raw()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(error) => {
            let error = HsmError::from(error);
            if let HsmError::Pin(problem) = &error
                && problem.is_refusal()
            {
                refused(*problem);
            }
            Err(error)
        }
    }
}
