//! The requests, and the order of a run.

use super::appliance::{Appliance, Prepared, Verified};
use super::awake::Awake;
use super::cost::{Cost, Pace, float};
use super::load::{self, Asks, Done};
use super::process::{self, Usage};
use super::reference::Reference;
use super::report::{Alone, Load, Report, Thread, Threads};
use super::samples::Verifiers;
use super::{Outcome, Plan, disk, http, verification};
use chancery::jose::Algorithm;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Opaque tokens that are asked about in turn.
const TOKENS: usize = 256;

/// About as long as everything of an answer but signature and verification takes with one connection.
const REST: Duration = Duration::from_micros(300);

/// Parts of a crowded load, and how many connections make one: what is compared with its processor time is measured
/// between them, because a shared machine is faster in one second than in the next.
const PARTS: u32 = 4;
const CROWDED: usize = 64;

/// One kind of signed answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Introspection of an opaque token, signed with ES256
    Es256,
    /// The same with RS256 and a key of 2048 bits
    Rs256,
    /// A new at+jwt for `client_credentials`, signed with ES256
    AtJwt,
}

impl Scenario {
    /// All, in the order of a run.
    pub(crate) const ALL: [Self; 3] = [Self::Es256, Self::Rs256, Self::AtJwt];

    /// In tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "introspection ES256",
            Self::Rs256 => "introspection RS256",
            Self::AtJwt => "at+jwt ES256",
        }
    }

    pub(crate) const fn algorithm(self) -> Algorithm {
        match self {
            Self::Es256 | Self::AtJwt => Algorithm::ES256,
            Self::Rs256 => Algorithm::RS256,
        }
    }

    /// `typ` of the signed answers.
    pub(crate) const fn typ(self) -> &'static str {
        match self {
            Self::Es256 | Self::Rs256 => "token-introspection+jwt",
            Self::AtJwt => "at+jwt",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Es256 | Self::Rs256 => "application/token-introspection+jwt",
            Self::AtJwt => "application/json",
        }
    }

    const fn caller(self) -> &'static str {
        match self {
            Self::Es256 => "es256",
            Self::Rs256 => "rs256",
            Self::AtJwt => "at-jwt",
        }
    }

    fn requests(self, appliance: &Appliance, tokens: &[String]) -> Vec<Vec<u8>> {
        let (caller, accept) = (self.caller(), self.content_type());
        let secret = appliance.secret(caller);
        if self == Self::AtJwt {
            let form = "grant_type=client_credentials&resource=https%3A%2F%2Fes256.bench.example";
            return vec![http::post("/token", caller, &secret, accept, form)];
        }
        let ask =
            |token: &String| http::post("/introspect", caller, &secret, accept, &format!("token={token}"));
        tokens.iter().map(ask).collect()
    }
}

/// A run under way.
struct Run<'p> {
    plan: &'p Plan,
    appliance: Appliance,
    reference: Reference,
    keys: Verifiers,
    tokens: Vec<String>,
    samples: Vec<String>,
    /// `C_Sign` and verification with two threads, between the parts of the loads of one scenario.
    pairs: Vec<[Cost; 2]>,
}

/// Makes the daemon in `dir`, measures, and verifies its log.
pub(crate) fn run(plan: &Plan, dir: &Path) -> Outcome<Report> {
    let others = process::load_average()?;
    let awake = if plan.asleep { None } else { Awake::ask() };
    eprintln!("making token, keys and log in {}", dir.display());
    let prepared = Prepared::make(dir, plan)?;
    let reference = prepared.reference()?;
    let appliance = prepared.start()?;
    eprintln!("gateway {}, signer {}", appliance.gateway.pid(), appliance.signer.pid());
    let keys = Verifiers::read(&appliance.jwks()?)?;
    let tokens = (0..TOKENS).map(|_| appliance.opaque_token()).collect::<Outcome<Vec<_>>>()?;
    let mut run = Run { plan, appliance, reference, keys, tokens, samples: Vec::new(), pairs: Vec::new() };
    std::thread::sleep(plan.pause);

    let fdatasync_us = disk::fdatasync(run.appliance.directory())?;
    let (mut alone, mut loads) = (BTreeMap::new(), Vec::new());
    for &scenario in &plan.scenarios {
        let before = run.alone(scenario)?;
        for &connections in &plan.connections {
            // New tokens have goals under the largest load alone.
            if scenario != Scenario::AtJwt
                || connections == plan.connections.iter().copied().max().unwrap_or(1)
            {
                loads.push(run.load(scenario, connections)?);
            }
        }
        let after = run.alone(scenario)?;
        alone.insert(scenario, before.between(&after, &std::mem::take(&mut run.pairs)));
    }
    let Run { appliance, samples, .. } = run;
    eprintln!("stopping, exporting and verifying the log");
    let verified = appliance.verify(&samples)?;
    let issued = loads.iter().map(|load: &Load| load.answers).sum::<u64>();
    check(&verified, issued)?;
    Ok(Report {
        others,
        awake: awake.is_some(),
        fdatasync_us,
        alone,
        loads,
        verified,
        samples: samples.len(),
    })
}

fn check(verified: &Verified, answers: u64) -> Outcome<()> {
    if verified.signed < answers {
        let recorded = verified.signed;
        return Err(format!("{answers} signed answers were received, {recorded} are in the log").into());
    }
    Ok(())
}

impl Run<'_> {
    /// The parts of a signed answer alone.
    fn alone(&mut self, scenario: Scenario) -> Outcome<Alone> {
        let (algorithm, time) = (scenario.algorithm(), self.plan.time / 2);
        eprintln!("{algorithm}: C_Sign and verification alone");
        let jwt = self.sample(scenario)?;
        let paces = [(1, Pace::Rested(REST)), (1, Pace::Busy), (2, Pace::Busy)];
        let mut sign = |(threads, pace)| self.reference.measure(algorithm, threads, time, pace);
        let [rested, one, two] = paces;
        let sign = [sign(rested)?, sign(one)?, sign(two)?];
        let verify = |(threads, pace)| verification::measure(&self.keys, &jwt, threads, time, pace);
        let verify = [verify(rested)?, verify(one)?, verify(two)?];
        let alone = Alone { sign, verify };
        self.samples.push(jwt);
        Ok(alone)
    }

    /// One answer.
    fn sample(&self, scenario: Scenario) -> Outcome<String> {
        let requests = scenario.requests(&self.appliance, &self.tokens);
        let request = requests.first().ok_or("nothing to ask")?;
        self.keys.check(scenario, &load::once(self.appliance.server, request)?)
    }

    /// The parts with two threads, once more.
    fn pair(&mut self, scenario: Scenario) -> Outcome<()> {
        let (time, jwt) = (self.plan.time / (2 * PARTS), self.sample(scenario)?);
        let sign = self.reference.measure(scenario.algorithm(), 2, time, Pace::Busy)?;
        let verify = verification::measure(&self.keys, &jwt, 2, time, Pace::Busy)?;
        self.pairs.push([sign, verify]);
        Ok(())
    }

    /// The whole daemon.
    fn load(&mut self, scenario: Scenario, connections: usize) -> Outcome<Load> {
        eprintln!("{} over {connections} connections", scenario.name());
        let requests = scenario.requests(&self.appliance, &self.tokens);
        let asks = Asks { requests: &requests, content_type: scenario.content_type().as_bytes() };
        let Appliance { gateway, signer, server, .. } = self.appliance;
        let parts = if connections < CROWDED { 1 } else { PARTS };
        let (mut done, mut gateway_used, mut signer_used) = Default::default();
        for _ in 0..parts {
            if parts > 1 {
                self.pair(scenario)?;
            }
            let mut marks: Vec<[Usage; 2]> = Vec::new();
            let mut mark = || {
                marks.push([gateway.usage()?, signer.usage()?]);
                Ok(())
            };
            done = Done::and(done, load::run(server, connections, &asks, self.plan.time / parts, &mut mark)?);
            let [[gateway_before, signer_before], [gateway_after, signer_after]] = marks.as_slice() else {
                return Err("a load has a beginning and an end".into());
            };
            gateway_used = Usage::and(gateway_used, gateway_after.since(gateway_before));
            signer_used = Usage::and(signer_used, signer_after.since(signer_before));
        }
        if parts > 1 {
            self.pair(scenario)?;
        }
        for body in &done.samples {
            self.samples.push(self.keys.check(scenario, body)?);
        }
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / float(done.answers);
        let threads = |used: &Usage| -> Threads {
            let each = used.threads.iter().map(|(name, ran)| {
                (
                    name.clone(),
                    Thread { cpu_us: micros(ran.cpu), switches: float(ran.switches) / float(done.answers) },
                )
            });
            if self.plan.threads { each.collect() } else { Threads::new() }
        };
        let (gateway_kib, signer_kib) = (gateway.memory()?, signer.memory()?);
        Ok(Load {
            scenario,
            connections,
            answers: done.answers,
            per_second: float(done.answers) / done.time.as_secs_f64(),
            p50_us: done.latencies.quantile(0.5),
            p99_us: done.latencies.quantile(0.99),
            gateway_us: micros(gateway_used.cpu),
            signer_us: micros(signer_used.cpu),
            generator_us: done.generator_us,
            switches: [&gateway_used, &signer_used].map(|used| float(used.switches()) / float(done.answers)),
            resident_kib: [gateway_kib.0, signer_kib.0],
            peak_kib: [gateway_kib.1, signer_kib.1],
            threads: [threads(&gateway_used), threads(&signer_used)],
        })
    }
}
