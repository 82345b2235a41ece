//! `chancery serve`: the gateway, with the signer as a child if the configuration has no `[signer]`.

use super::reload::Reload;
use super::{ConfigFile, fail, load, log_lines};
use crate::clock::{Clock, ClockChange, TOLERANCE, TimeSource};
use crate::config::{Config, Process, SignerMode};
use crate::door::{Link, SignerClient, SignerState, keep_child, keep_separate};
use crate::exit::{self, Status};
use crate::memory::{Lag, LogMemory};
use crate::store::{Kept, Store};
use crate::{http, systemd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Limit of time for the signer, or the connection to it, to end.
const SIGNER_END: Duration = Duration::from_secs(30);

/// Limit of time for the threads of the runtime to end after that.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Longest time from a request to stop to the end: the unit's timeout is a little longer.
pub const LONGEST_END: Duration =
    Duration::from_secs(http::LONGEST_END.as_secs() + SIGNER_END.as_secs() + RUNTIME_END.as_secs());

/// Runs the command.
pub fn run(args: &ConfigFile) -> Status {
    let config = match load(args, Process::Gateway) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let _flush = match log_lines(config.log) {
        Ok(guard) => guard,
        Err(status) => return status,
    };
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    allow_open_files(config.http.limits.connections);
    let store = match Store::open(&config.store.path) {
        Ok(store) => store,
        Err(error) => return fail(&error, exit::IO),
    };
    let runtime = match runtime(config.http.threads) {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, exit::OS),
    };
    let file = std::path::absolute(&args.config).unwrap_or_else(|_| args.config.clone());
    let status = runtime.block_on(gateway(config, file, store));
    runtime.shutdown_timeout(RUNTIME_END);
    status
}

/// Raises the limit of open files to the number of connections: with the usual 1,024, a full pool would leave none for
/// a new connection to the signer.
fn allow_open_files(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = (connections as u64).saturating_add(512);
    // None has no limit.
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let hard = maximum.unwrap_or(u64::MAX);
    let raised = match current {
        Some(soft) if soft < wanted => {
            setrlimit(Resource::Nofile, Rlimit { current: Some(wanted.min(hard)), maximum })
        }
        _ => Ok(()),
    };
    match raised {
        Ok(()) if hard >= wanted => {}
        Ok(()) => tracing::warn!(
            wanted,
            hard,
            "the limit of open files is lower than connections need; raise it or lower http.limits.connections"
        ),
        Err(error) => tracing::warn!(%error, wanted, "the limit of open files could not be raised"),
    }
}

/// One thread needs no work-stealing scheduler.
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    if threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    }
}

async fn gateway(config: Arc<Config>, file: PathBuf, store: Store) -> Status {
    // Before anything listens: from then on a signal ends the gateway in order.
    let signals = asked_to_stop().and_then(|stop| Ok((stop, signal(SignalKind::hangup())?)));
    let (asked_to_stop, asked_to_reload) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&error, exit::OS),
    };
    let kept = match store.checkpoint(&config.audit.origin) {
        Ok(kept) => kept.unwrap_or_default(),
        Err(error) => return fail(&error, exit::IO),
    };
    // Before anything listens: compares the clock with the last time that this gateway stored.
    let clock = match store.clock() {
        Ok(last) => Clock::start(TimeSource::system(), last.as_ref()),
        Err(error) => return fail(&error, exit::IO),
    };
    let memory = match LogMemory::new(&config.audit.origin, kept.note, &kept.keys) {
        Ok(memory) => memory,
        Err(error) => return fail(&error, exit::DATA),
    };
    let (checkpoints, _) = watch::channel(memory);
    // The order of an end: first the requests, then the signer.
    let (stop_http, http_stopped) = watch::channel(false);
    let (stop_signer, signer_stopped) = watch::channel(false);
    let (current, live) = watch::channel(Arc::clone(&config));
    let (disagreement, disagrees) = watch::channel(None);
    let client = SignerClient::new(config.http.limits.signer_wait);
    let origin = config.audit.origin.clone();
    let memory = Lag::default();
    let kept = tokio::spawn(keep_checkpoints(store.clone(), origin, checkpoints.subscribe(), memory.clone()));
    tokio::spawn(watch_clock(clock.clone(), store.clone(), client.clone()));
    tokio::spawn(forget_expired(store.clone(), clock.clone()));
    let (listening, listens) = oneshot::channel();
    tokio::spawn(tell_systemd(client.clone(), listens));
    let link = Link {
        client: client.clone(),
        config: live.clone(),
        checkpoints,
        disagreement,
        stop: signer_stopped,
    };
    let mut link = match &config.signer {
        SignerMode::Child => tokio::spawn(keep_child(link, file.clone())),
        SignerMode::Separate { socket, signer_user, .. } => {
            tokio::spawn(keep_separate(link, socket.clone(), signer_user.clone()))
        }
    };
    let (ask_for_a_restart, restart) = oneshot::channel();
    let (taken_over, is_taken_over) = watch::channel(None);
    let reload = Reload { file, client: client.clone(), current, is_taken_over };
    tokio::spawn(reload.run(disagrees, asked_to_reload, ask_for_a_restart));
    let gateway = http::Gateway {
        config: live,
        store,
        signer: client,
        memory,
        clock,
        sockets: systemd::sockets(),
        listening,
        taken_over,
    };
    let mut served = std::pin::pin!(http::serve(gateway, http_stopped));
    let mut status = tokio::select! {
        result = &mut served => {
            stop_signer.send_replace(true);
            let status = result.map_or_else(|error| fail(&error, exit::OS), |()| 0);
            let _ = link.await;
            let _ = kept.await;
            return status;
        }
        // Unreachable: the link ends only after its stop.
        _ = &mut link => exit::SOFTWARE,
        Ok(()) = restart => exit::TEMPORARY,
        () = asked_to_stop => 0,
    };
    systemd::stopping();
    tracing::info!("stopping: requests in flight are finished");
    stop_http.send_replace(true);
    if let Err(error) = served.await {
        status = fail(&error, exit::OS);
    }
    stop_signer.send_replace(true);
    if !link.is_finished() && tokio::time::timeout(SIGNER_END, &mut link).await.is_err() {
        tracing::error!("the signer did not end in {} seconds", SIGNER_END.as_secs());
        // Kills a child too.
        link.abort();
        let _ = link.await;
        return status;
    }
    // Ends with the link, which received the last checkpoint: if it were not stored, the log could be rolled back to
    // the one before.
    let _ = kept.await;
    status
}

/// SIGTERM or SIGINT, received from this call on.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Stores the log's newest checkpoint, which the gateway shows the signer at the next handshake. Retries each second;
/// `lag` has the time since the last success.
async fn keep_checkpoints(
    store: Store,
    origin: String,
    mut checkpoints: watch::Receiver<LogMemory>,
    lag: Lag,
) {
    let mut failing = false;
    loop {
        let ended = if failing {
            let changed = tokio::time::timeout(Duration::from_secs(1), checkpoints.changed()).await;
            changed.is_ok_and(|changed| changed.is_err())
        } else {
            checkpoints.changed().await.is_err()
        };
        if ended && !failing {
            return;
        }
        let kept = {
            let memory = checkpoints.borrow_and_update();
            let (note, keys) = (memory.note().to_owned(), memory.keys());
            Kept { note, keys, replaced: memory.replaced().to_vec() }
        };
        lag.begins();
        match store.keep_checkpoint(origin.clone(), kept).await {
            Ok(()) => {
                lag.ends();
                if std::mem::take(&mut failing) {
                    tracing::info!("the gateway's memory of the log is written again");
                }
            }
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::error!(%error, "the newest checkpoint was not kept; trying every second");
            }
            Err(_) => {}
        }
        if ended {
            return;
        }
    }
}

/// Logs when the clock is in doubt and when it is trusted again, and stores the time for the next start: at each change
/// and twice a minute, which is finer than the tolerance of the next start.
async fn watch_clock(clock: Clock, store: Store, client: SignerClient) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut kept = 0_u32;
    let mut apart = false;
    loop {
        every.tick().await;
        let change = clock.look();
        match change {
            Some(change @ ClockChange::Lost(_)) => tracing::error!("{change}; until then nothing is decided"),
            Some(change) => tracing::warn!("{change}"),
            None => {}
        }
        let theirs = client.status().and_then(|status| status.clock);
        match (clock.settled_distance(), theirs) {
            // A doubt that does not end by itself; and only a time that this process sees as well: a signer cannot set it.
            (None, Some(theirs)) if change.is_none() && clock.now().is_err() && clock.accept(theirs) => {
                tracing::warn!("the signer trusts the time of the system's clock, so does the gateway");
            }
            (Some(ours), Some(theirs)) => {
                let are = u128::from(ours.abs_diff(theirs)) > 2 * TOLERANCE.as_nanos();
                if are && !apart {
                    tracing::error!("gateway and signer go by clocks that differ: run both on one machine");
                }
                apart = are;
            }
            _ => {}
        }
        if (change.is_some() || kept.is_multiple_of(30))
            && let Some(mark) = clock.mark()
            && let Err(error) = store.keep_clock(mark).await
        {
            tracing::warn!(%error, "the time was not kept for the next start");
        }
        kept = kept.wrapping_add(1);
    }
}

/// Purges rows of tokens and assertions that expired an hour ago: an unknown token is inactive too. A clock that is in
/// doubt or settles purges nothing.
async fn forget_expired(store: Store, clock: Clock) {
    let mut every = tokio::time::interval(Duration::from_secs(60));
    loop {
        every.tick().await;
        let Some(now) = clock.settled() else { continue };
        if let Err(error) = store.forget_expired(now).await {
            tracing::warn!(%error, "expired rows were not forgotten");
        }
    }
}

/// READY=1 once both listeners are bound: without a signer requests are answered with 503. STATUS= has the signer's
/// state. Then the pings of the watchdog.
async fn tell_systemd(client: SignerClient, listens: oneshot::Receiver<()>) {
    if listens.await.is_err() {
        return;
    }
    systemd::ready();
    let mut state = client.watch();
    let mut said = String::new();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        let status = match &*state.borrow_and_update() {
            SignerState::Ready(_) => "ready".to_owned(),
            SignerState::Down(outage) => format!("answering 503: {}", outage.reason),
        };
        if status != said {
            systemd::status(&status);
            said = status;
        }
        tokio::select! {
            _ = every.tick() => systemd::watchdog(),
            _ = state.changed() => {}
        }
    }
}
