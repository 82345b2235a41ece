//! Cost of one operation that runs alone.

use super::Outcome;
use nix::time::ClockId;
use serde::{Deserialize, Serialize};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Rate of an operation, and its processor time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Operations of all threads together in a second.
    pub per_second: f64,
    /// Processor time of one operation in microseconds.
    pub cpu_us: f64,
}

impl Cost {
    /// Of several measurements of the same operation, before, between and after the compared ones.
    pub(crate) fn mean(of: &[Self]) -> Self {
        let mean = |part: fn(&Self) -> f64| of.iter().map(part).sum::<f64>() / float(of.len().max(1) as u64);
        Self { per_second: mean(|cost| cost.per_second), cpu_us: mean(|cost| cost.cpu_us) }
    }
}

/// Processor time that this thread has used.
pub(crate) fn thread_cpu() -> Outcome<Duration> {
    Ok(Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?))
}

/// A count as a factor; counts of a benchmark are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "a benchmark counts far less than 2^52 of anything")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// How operations follow each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// One after the other.
    Busy,
    /// With rests of this length, in no figure, as between the requests of one caller: caches are colder then.
    Rested(Duration),
}

/// Runs each of `operations` on a thread of its own, over and over for `time`, all starting together.
pub(crate) fn measure<O>(operations: Vec<O>, time: Duration, pace: Pace) -> Outcome<Cost>
where
    O: FnMut() -> Outcome<()> + Send,
{
    let start = Barrier::new(operations.len());
    let one = |mut operation: O| -> Outcome<(u64, Duration, Duration)> {
        // Warms up caches and lazily built state of libraries.
        let warm = (0..8).try_for_each(|_| operation());
        start.wait();
        warm?;
        let (began, cpu) = (Instant::now(), thread_cpu()?);
        let mut count = 0;
        let Pace::Rested(rest) = pace else {
            while began.elapsed() < time {
                operation()?;
                count += 1;
            }
            return Ok((count, thread_cpu()?.saturating_sub(cpu), began.elapsed()));
        };
        let (mut used, mut took) = (Duration::ZERO, Duration::ZERO);
        while began.elapsed() < time {
            std::thread::sleep(rest);
            let (began, cpu) = (Instant::now(), thread_cpu()?);
            operation()?;
            count += 1;
            used += thread_cpu()?.saturating_sub(cpu);
            took += began.elapsed();
        }
        Ok((count, used, took))
    };
    let one = &one;
    let counted: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            operations.into_iter().map(|operation| scope.spawn(move || one(operation))).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let (mut per_second, mut count, mut cpu) = (0.0, 0, Duration::ZERO);
    for thread in counted {
        let (done, used, took) = thread.map_err(|_| "a measuring thread panicked")??;
        per_second += float(done) / took.as_secs_f64();
        count += done;
        cpu += used;
    }
    if count == 0 {
        return Err("nothing was done in the time of a measurement; give more --seconds".into());
    }
    Ok(Cost { per_second, cpu_us: cpu.as_secs_f64() * 1e6 / float(count) })
}
