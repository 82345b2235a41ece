//! From a library on disk to a token that is logged in.

use super::access::Access;
use super::token::{self, NotFound};
use super::{Hsm, HsmError, Pin, PinProblem, TokenUri};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Which token behind which library.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The PKCS#11 module: a shared library, best with its whole path.
    pub module: PathBuf,
    /// The one token in it.
    pub token: TokenUri,
}

/// Why there is no token to sign with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The library cannot be loaded or is no PKCS#11 module.
    #[error(
        "the PKCS#11 module {module} cannot be loaded ({reason}); check hsm.module and the libraries that it needs"
    )]
    Load {
        /// Its path.
        module: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// Nothing fits the URI.
    #[error("no token fits {wanted}; the module {module} shows: {seen}")]
    NoToken {
        /// The token's URI.
        wanted: String,
        /// Its path.
        module: PathBuf,
        /// Every slot and what it holds.
        seen: String,
    },
    /// The URI fits more than one.
    #[error("{count} tokens fit {wanted}, but exactly one may; add serial= to the URI")]
    Ambiguous {
        /// The token's URI.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// Never to be tried again without an operator: end with a status that nobody restarts.
    #[error("no login to the token: {0}")]
    Pin(PinProblem),
    /// Any other failure of the module, after all attempts.
    #[error("the token cannot be opened: {0}")]
    Call(HsmError),
}

impl OpenError {
    /// Whether another attempt can help. When several processes start at once, SoftHSM shows no token, no PIN or a
    /// failed login for a moment, because each login rewrites the token's file.
    const fn may_pass(&self) -> bool {
        match self {
            Self::NoToken { .. } | Self::Call(_) | Self::Pin(PinProblem::NotInitialized) => true,
            Self::Load { .. } | Self::Ambiguous { .. } | Self::Pin(_) => false,
        }
    }
}

impl From<HsmError> for OpenError {
    fn from(error: HsmError) -> Self {
        match error {
            HsmError::Pin(problem) => Self::Pin(problem),
            call @ HsmError::Call { .. } => Self::Call(call),
        }
    }
}

/// Attempts, with pauses of 20, 40, 80, 160 ms and up to as much again between them: 0.6 s at most.
const ATTEMPTS: u32 = 5;

/// One opening at a time in a process: only so can [`attempt`] know that a module which it initialized itself is used by
/// nobody else and may be finalized again.
static OPENING: Mutex<()> = Mutex::new(());

/// See [`Hsm::open`].
pub(super) fn open(settings: &Settings, pin: &Pin) -> Result<Hsm, OpenError> {
    let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let module = Pkcs11::new(&settings.module).map_err(|error| OpenError::Load {
        module: settings.module.clone(),
        reason: match error {
            Error::Pkcs11(..) => HsmError::from(error).to_string(),
            other => other.to_string(),
        },
    })?;
    // Never unloaded: a library that started threads or registered exit handlers would leave them without their code.
    std::mem::forget(module.clone());
    let mut tried = 0;
    loop {
        tried += 1;
        match attempt(&module, settings, pin) {
            Err(error) if error.may_pass() && tried < ATTEMPTS => pause(tried),
            outcome => return outcome,
        }
    }
}

fn attempt(module: &Pkcs11, settings: &Settings, pin: &Pin) -> Result<Hsm, OpenError> {
    let ours = match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => true,
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => false,
        Err(error) => return Err(HsmError::from(error).into()),
    };
    let outcome = log_in(module, settings, pin);
    if ours && outcome.is_err() {
        // Safe here and nowhere else: this call initialized the module under the lock, so no other Hsm can be using
        // it, and its own sessions were closed with the failed outcome. Without it the module would never look for
        // new tokens again. If it fails, the error before it is the one to tell.
        let _ = module.clone().finalize();
    }
    outcome
}

fn log_in(module: &Pkcs11, settings: &Settings, pin: &Pin) -> Result<Hsm, OpenError> {
    let found = token::search(module, &settings.token).map_err(|error| match error {
        NotFound::None { seen } => {
            OpenError::NoToken { wanted: settings.token.to_string(), module: settings.module.clone(), seen }
        }
        NotFound::Several { count } => OpenError::Ambiguous { wanted: settings.token.to_string(), count },
        NotFound::Call(error) => error.into(),
    })?;
    Ok(Hsm::new(Access::log_in(module.clone(), found, pin)?))
}

/// Doubles with each attempt, and adds up to as much again, so that processes that collided do not meet again.
fn pause(tried: u32) {
    let base = 10_u64 << tried.min(6);
    let jitter = u64::from(u16::from_le_bytes(crate::random::bytes())) % base;
    std::thread::sleep(Duration::from_millis(base + jitter));
}
