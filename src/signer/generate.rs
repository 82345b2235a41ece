//! `chancery key generate`.

use super::calls::{Caller, Calls, Doing};
use super::kept::Memory;
use super::keyring::{find_key, find_series};
use super::known::KnownKeys;
use super::login::open_token;
use super::offline::open_without_token;
use super::record;
use super::start::{StartError, log_settings, unproved};
use super::state::StateDirectory;
use super::unproved::Unproved;
use crate::audit::{Event, LogLock};
use crate::config::{Config, KeySeries};
use crate::hsm::{GenerateError, Hsm, Key, KeyLabel, KeySpec};

/// Deadlines for making a key: RSA in a small device takes minutes.
const CALLS_TO_MAKE: u32 = 12;

/// Makes the first generation of each series that the token lacks; or, for the series of `after` alone, the generation
/// after it. Records the keys if there is a log. `made` is called for each key with its label, its `kid`, and whether
/// it is new.
pub fn generate_keys(
    config: &Config,
    after: Option<&str>,
    operator: &str,
    calls: &Calls,
    made: &mut dyn FnMut(&str, &str, bool),
) -> Result<(), StartError> {
    let state = StateDirectory::of(config);
    let mut known = KnownKeys::read(state.clone())?;
    // Opened before a key is made that could not be recorded, and before the token is used.
    let log = if config.audit.directory.join("segments").exists() {
        let lock = LogLock::take(log_settings(config))?;
        let memory = Memory::of(state);
        let from = known.missing_from(memory.records()?);
        let (log, recovery) = open_without_token(config, lock.reading_from(from))?;
        // A key that a rolled-back log records would lose its record when the newest copy is restored.
        let _shown = memory.compare(&log)?;
        for key in recovery.recorded_keys {
            known.learn(key);
        }
        Some(log)
    } else {
        None
    };
    let caller = calls.caller();
    let hsm = open_token(config, &caller)?;
    let mut unproved = unproved(config)?;
    let labels = caller.run(1, Doing::call("C_FindObjects"), || hsm.labels())?;
    let mut new = Vec::new();
    for (series, task) in tasks(config, &labels, &known, after)? {
        let (key, is_new) = match task {
            Task::Prove(label) => (find_key(&hsm, &caller, &unproved, &label)?, false),
            Task::Make(label) => (make_key(&hsm, &caller, &mut unproved, series, label)?, true),
        };
        known.check_same(&key)?;
        made(key.label(), key.public().kid(), is_new);
        if is_new {
            new.push((series.purpose, key));
        }
    }
    let Some(log) = log else { return Ok(()) };
    if !new.is_empty() {
        // Before their records. A new log gets them from `audit init`.
        for (_, key) in &new {
            known.enter(key, None);
        }
        known.keep()?;
    }
    for (purpose, key) in new {
        let token = hsm.token_info();
        let _ =
            log.record(record::key(Event::KeyGenerated, purpose.name(), &key, &token, Some(operator))?)?;
    }
    Ok(log.close()?)
}

/// The task for one series.
enum Task {
    /// Its newest generation exists.
    Prove(KeyLabel),
    /// Make a generation with this label.
    Make(String),
}

fn tasks<'c>(
    config: &'c Config,
    labels: &[String],
    known: &KnownKeys,
    after: Option<&str>,
) -> Result<Vec<(&'c KeySeries, Task)>, StartError> {
    // Includes generations that the token lacks: a label is never given to a second key.
    let newest = |series: &KeySeries| {
        let known = known.of(series).map(|known| known.label.clone());
        find_series(labels, series).into_iter().chain(known).max()
    };
    if let Some(asked) = after {
        let named = asked.parse::<KeyLabel>().ok();
        let of = |series: &&KeySeries| {
            named.as_ref().is_some_and(|label| {
                (label.purpose(), label.algorithm()) == (series.purpose.name(), series.algorithm)
            })
        };
        let series = config.keys.iter().find(of);
        let newest = series.and_then(newest);
        return match (series, &newest) {
            (Some(series), Some(label)) if Some(label) == named.as_ref() => {
                Ok(vec![(series, Task::Make(label.next().to_string()))])
            }
            _ => Err(StartError::After {
                asked: asked.to_owned(),
                newest: newest.map(|newest| newest.to_string()),
            }),
        };
    }
    let task = |series: &'c KeySeries| {
        let there = find_series(labels, series).pop();
        known.check_newest(series, there.as_ref())?;
        let make = || newest(series).map_or_else(|| series.label(1), |newest| newest.next().to_string());
        Ok((series, there.map_or_else(|| Task::Make(make()), Task::Prove)))
    };
    config.keys.iter().map(task).collect()
}

/// Makes one key. Its label is in `keys-unproved` from before it is made until its proof has passed.
fn make_key(
    hsm: &Hsm,
    caller: &Caller,
    unproved: &mut Unproved,
    series: &KeySeries,
    label: String,
) -> Result<Key, StartError> {
    let spec = KeySpec {
        label,
        algorithm: series.algorithm,
        rsa_bits: series.rsa_bits,
        id: crate::random::bytes::<8>().to_vec(),
    };
    let path = unproved.path();
    let kept =
        |result: std::io::Result<()>| result.map_err(|error| StartError::State { path: path.clone(), error });
    kept(unproved.add(&spec.label, "the run that made it ended before its proof"))?;
    let doing = Doing::with("C_GenerateKeyPair or the proof of the new key", &spec.label.as_str().into());
    let made = caller.run(CALLS_TO_MAKE, doing, || hsm.generate(&spec));
    match &made {
        Ok(_) | Err(GenerateError::Exists { .. } | GenerateError::Spec(_)) => {
            kept(unproved.remove(&spec.label))?;
        }
        // The key may have been made.
        Err(GenerateError::Call { .. }) => {}
        Err(GenerateError::Unproved { error, .. }) => kept(unproved.add(&spec.label, &error.to_string()))?,
    }
    Ok(made?)
}
