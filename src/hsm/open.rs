//! Loads the module, finds the token and logs in.

use super::access::{Access, PinRefused, log_in};
use super::error::code_name;
use super::token::{self, FoundToken, NotFound};
use super::{Hsm, HsmError, Pin, PinProblem, TokenUri};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::Session;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A token and its module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The PKCS#11 module: a shared library, best with its whole path.
    pub module: PathBuf,
    /// The one token in it.
    pub token: TokenUri,
}

/// Why no token could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The library cannot be loaded or is no PKCS#11 module.
    #[error(
        "the PKCS#11 module {module} cannot be loaded ({reason}); check hsm.module and the libraries that it needs"
    )]
    Load {
        /// Its path.
        module: PathBuf,
        /// The loader's message.
        reason: String,
    },
    /// `C_Initialize` failed.
    #[error("the PKCS#11 module {module} answered {code} to C_Initialize: {advice}")]
    Initialize {
        /// Its path.
        module: PathBuf,
        /// For example `CKR_ARGUMENTS_BAD`.
        code: String,
        /// Advice to the operator.
        advice: &'static str,
    },
    /// No token matches the URI.
    #[error("no token fits {wanted}; the module {module} shows: {seen}")]
    NoToken {
        /// The token's URI.
        wanted: String,
        /// Its path.
        module: PathBuf,
        /// Every slot and its token.
        seen: String,
    },
    /// Several tokens match the URI.
    #[error("{count} tokens fit {wanted}, but exactly one may; add serial= to the URI")]
    Ambiguous {
        /// The token's URI.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// The PIN: see [`PinProblem::is_refusal`].
    #[error("no login to the token: {0}")]
    Pin(PinProblem),
    /// Any other failure of the module, after all attempts.
    #[error("the token cannot be opened: {0}")]
    Call(HsmError),
}

impl OpenError {
    /// Whether another attempt can help. When several processes start at once, each login rewrites SoftHSM's token
    /// file, and the others may see no token, no PIN or a failed login.
    const fn may_pass(&self) -> bool {
        match self {
            Self::NoToken { .. }
            | Self::Initialize { .. }
            | Self::Call(_)
            | Self::Pin(PinProblem::NotInitialized) => true,
            Self::Load { .. } | Self::Ambiguous { .. } | Self::Pin(_) => false,
        }
    }
}

fn initialize_error(settings: &Settings, error: Error) -> OpenError {
    let module = settings.module.clone();
    match error {
        // The only argument asks for the system's locks.
        Error::Pkcs11(RvError::ArgumentsBad, _) => OpenError::Initialize {
            module,
            code: code_name(RvError::ArgumentsBad),
            advice: "it wants arguments of its own (pReserved), as NSS does, which this daemon does not give; put                      p11-kit-proxy.so before it, with x-init-reserved in the module's p11-kit configuration",
        },
        Error::Pkcs11(code, _) => OpenError::Initialize {
            module,
            code: code_name(code),
            advice: "look at the module's own configuration and log, and at the device behind it",
        },
        other => HsmError::from(other).into(),
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

/// Attempts that may reach a login: a token may count failed logins, whatever the reason.
const LOGINS: u32 = 2;

/// One opening at a time in a process: only then may [`attempt`] finalize a module that it initialized itself, since
/// nothing else uses it yet.
static OPENING: Mutex<()> = Mutex::new(());

/// See [`Hsm::open`].
pub(super) fn open(settings: &Settings, pin: &Pin, refused: PinRefused) -> Result<Hsm, OpenError> {
    let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let module = Pkcs11::new(&settings.module).map_err(|error| OpenError::Load {
        module: settings.module.clone(),
        reason: match error {
            Error::Pkcs11(..) => HsmError::from(error).to_string(),
            other => other.to_string(),
        },
    })?;
    // Never unloaded: threads and exit handlers of the library would lose their code.
    std::mem::forget(module.clone());
    let (mut tried, mut logins) = (0, 0);
    loop {
        tried += 1;
        match attempt(&module, settings, pin, &refused, &mut logins) {
            Ok((found, anchor)) => return Ok(Hsm::new(Access::new(module, found, pin, anchor, refused))),
            Err(error) if error.may_pass() && tried < ATTEMPTS && logins < LOGINS => pause(tried),
            Err(error) => return Err(error),
        }
    }
}

fn attempt(
    module: &Pkcs11,
    settings: &Settings,
    pin: &Pin,
    refused: &PinRefused,
    logins: &mut u32,
) -> Result<(FoundToken, Session), OpenError> {
    let ours = match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => true,
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => false,
        Err(error) => return Err(initialize_error(settings, error)),
    };
    let outcome = search(module, settings).and_then(|found| {
        *logins += 1;
        let anchor = log_in(module, found.slot, pin, refused)?;
        Ok((found, anchor))
    });
    if ours && outcome.is_err() {
        // Safe only here: this call initialized the module under the lock, so no other Hsm uses it, and its own
        // sessions are closed. Without it the module would never look for new tokens again. The error before this one
        // matters more.
        let _ = module.clone().finalize();
    }
    outcome
}

fn search(module: &Pkcs11, settings: &Settings) -> Result<FoundToken, OpenError> {
    token::search(module, &settings.token).map_err(|error| match error {
        NotFound::None { seen } => {
            OpenError::NoToken { wanted: settings.token.to_string(), module: settings.module.clone(), seen }
        }
        NotFound::Several { count } => OpenError::Ambiguous { wanted: settings.token.to_string(), count },
        NotFound::Call(error) => error.into(),
    })
}

/// Doubles with each attempt, plus jitter, so that colliding processes do not collide again.
fn pause(tried: u32) {
    let base = 10_u64 << tried.min(6);
    let jitter = u64::from(u16::from_le_bytes(crate::random::bytes())) % base;
    std::thread::sleep(Duration::from_millis(base + jitter));
}
