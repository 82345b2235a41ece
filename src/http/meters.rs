//! Numbers for the operator: every counter is made once and kept, so that a request looks up no name.
//!
//! The recorder belongs to one [`Meters`] and is no global, so that two gateways in one process count apart.

use super::limits::Floods;
use super::pool::Census;
use super::progress::Phase;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

const REQUESTS: &str = "chancery_http_requests_total";
const SECONDS: &str = "chancery_http_request_seconds";
const REFUSED: &str = "chancery_refused_total";
const ABANDONED: &str = "chancery_http_requests_abandoned_total";
const INACTIVE: &str = "chancery_introspection_inactive_total";
const INACTIVE_BYTES: &str = "chancery_introspection_inactive_log_bytes_total";
const CONNECTIONS: &str = "chancery_http_connections";
const CONNECTIONS_LIMIT: &str = "chancery_http_connections_limit";
const CONNECTIONS_REFUSED: &str = "chancery_http_connections_refused_total";
const CONNECTIONS_CLOSED: &str = "chancery_http_connections_closed_for_room_total";
const ACCEPT_FAILURES: &str = "chancery_http_accept_failures_total";
const SIGNER_CONNECTIONS: &str = "chancery_signer_connections_total";
const SIGNER_FAILURES: &str = "chancery_signer_refused_total";
const INFO: &str = "chancery_info";

/// What a scraper reads about each of them; README.md lists them all.
const HELP: [(&str, &str); 11] = [
    (REQUESTS, "Requests by endpoint and status."),
    (REFUSED, "Requests refused, by the rule that refused them."),
    (ABANDONED, "Requests whose client went away before the reply."),
    (INACTIVE, "Introspection answers that said no more than inactive."),
    (INACTIVE_BYTES, "Bytes of the log that inactive answers were charged for, by resource server."),
    (CONNECTIONS_REFUSED, "Connections refused, because a request was being answered on every open one."),
    (CONNECTIONS_CLOSED, "Connections closed, idle for longest, to make room for others."),
    (ACCEPT_FAILURES, "Times that no connection could be accepted, for want of open files above all."),
    (
        SIGNER_CONNECTIONS,
        "Signers that were connected: more than one since the start is a restart of the signer.",
    ),
    (SIGNER_FAILURES, "Signers that refused the gateway or ended before they were connected."),
    (SECONDS, "Seconds from the end of a request's head to its reply."),
];

/// Numbers that are set when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    InFlight,
    SignerUp,
    LogBytes,
    LogFreeBytes,
    CheckpointRecords,
    CheckpointAge,
    OldestRecordAge,
    CertificateExpiry,
    ClockTrusted,
    SignerMemoryLag,
    GatewayMemoryLag,
}

/// Each with its name and help, in the order of [`Figure`].
const FIGURES: [(Figure, &str, &str); 11] = [
    (Figure::InFlight, "chancery_signer_requests_in_flight", "Open requests at the signer."),
    (Figure::SignerUp, "chancery_signer_up", "1 when answers are signed and recorded."),
    (Figure::LogBytes, "chancery_log_bytes", "Bytes of the segments of the audit log."),
    (
        Figure::LogFreeBytes,
        "chancery_log_free_bytes",
        "Bytes that the file system of the audit log has left.",
    ),
    (Figure::CheckpointRecords, "chancery_checkpoint_records", "Records under the newest checkpoint."),
    (
        Figure::CheckpointAge,
        "chancery_checkpoint_age_seconds",
        "Seconds since the newest checkpoint: it grows while nothing is recorded.",
    ),
    (
        Figure::OldestRecordAge,
        "chancery_oldest_record_age_seconds",
        "Seconds that the oldest record has waited which is not durable yet.",
    ),
    (
        Figure::CertificateExpiry,
        "chancery_certificate_expiry_timestamp_seconds",
        "When the certificate of the public listener ends, in seconds since 1970.",
    ),
    (Figure::ClockTrusted, "chancery_clock_trusted", "0 while the clock is in doubt."),
    (
        Figure::SignerMemoryLag,
        "chancery_signer_memory_lag_seconds",
        "Seconds for which the signer has not kept the newest checkpoint in its state directory; 0 while it has.",
    ),
    (
        Figure::GatewayMemoryLag,
        "chancery_gateway_memory_lag_seconds",
        "Seconds for which the gateway has not kept the newest checkpoint in its store; 0 while it has.",
    ),
];

/// Seconds; from a few signatures in software to a token on the other side of a network.
const BUCKETS: [f64; 16] = [
    0.000_1, 0.000_2, 0.000_4, 0.000_7, 0.001, 0.002, 0.004, 0.007, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0,
    10.0,
];

/// The statuses that `reply.rs` gives.
const STATUSES: [u16; 16] = [200, 400, 401, 403, 404, 405, 406, 408, 413, 414, 415, 429, 431, 500, 503, 0];

const METADATA: Metadata<'static> = Metadata::new("chancery", Level::INFO, None);

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// RFC 7662 and RFC 9701.
    Introspect,
    /// RFC 6749 §3.2.
    Token,
    /// RFC 7009.
    Revoke,
    /// RFC 8414.
    Metadata,
    /// RFC 7517 §5.
    Jwks,
    /// Nowhere.
    Unknown,
    /// The operations listener: neither counted nor in a log line.
    Operations,
}

impl Endpoint {
    /// Those that are counted.
    const ALL: [Self; 6] =
        [Self::Introspect, Self::Token, Self::Revoke, Self::Metadata, Self::Jwks, Self::Unknown];

    /// The word in log lines and labels.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Introspect => "introspect",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Metadata => "metadata",
            Self::Jwks => "jwks",
            Self::Unknown => "unknown",
            Self::Operations => "operations",
        }
    }
}

/// All numbers.
pub(super) struct Meters {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    endpoints: [EndpointMeters; Endpoint::ALL.len()],
    refused: RwLock<HashMap<&'static str, Counter>>,
    /// Requests whose client went away.
    pub(super) abandoned: Counter,
    /// Inactive answers.
    pub(super) inactive: Counter,
    /// Which requests without a proven caller write a line.
    pub(super) floods: Floods,
    /// The pool of the public listener.
    pub(super) pool: PoolMeters,
    /// Signers that were connected, set when read.
    pub(super) signer_connections: Counter,
    /// Signers that were not, set when read.
    pub(super) signer_failures: Counter,
}

struct EndpointMeters {
    statuses: [(u16, Counter); STATUSES.len()],
    seconds: Histogram,
}

impl Meters {
    /// All at zero.
    pub(super) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let recorder = match builder.set_buckets_for_metric(Matcher::Full(SECONDS.to_owned()), &BUCKETS) {
            Ok(builder) => builder.build_recorder(),
            // Only an empty list of buckets is refused; then quantiles are shown instead.
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        for (name, help) in HELP {
            if name == SECONDS {
                recorder.describe_histogram(name.into(), Some(Unit::Seconds), SharedString::const_str(help));
            } else {
                recorder.describe_counter(name.into(), None, SharedString::const_str(help));
            }
        }
        for (_, name, help) in FIGURES {
            recorder.describe_gauge(name.into(), None, SharedString::const_str(help));
        }
        Self {
            handle: recorder.handle(),
            endpoints: Endpoint::ALL.map(|endpoint| EndpointMeters::new(&recorder, endpoint)),
            refused: RwLock::default(),
            abandoned: recorder.register_counter(&Key::from_static_name(ABANDONED), &METADATA),
            inactive: recorder.register_counter(&Key::from_static_name(INACTIVE), &METADATA),
            floods: Floods::default(),
            pool: PoolMeters::new(&recorder),
            signer_connections: recorder
                .register_counter(&Key::from_static_name(SIGNER_CONNECTIONS), &METADATA),
            signer_failures: recorder.register_counter(&Key::from_static_name(SIGNER_FAILURES), &METADATA),
            recorder,
        }
    }

    /// Bytes of the log that inactive answers to this resource server were charged for.
    pub(super) fn inactive_bytes(&self, client_id: &str) -> Counter {
        let label = Label::new("client_id", client_id.to_owned());
        self.recorder.register_counter(&Key::from_parts(INACTIVE_BYTES, vec![label]), &METADATA)
    }

    /// Counts one reply and its time.
    pub(super) fn replied(&self, endpoint: Endpoint, status: u16, rule: Option<&'static str>, seconds: f64) {
        if let Some(meters) = self.endpoints.get(endpoint as usize) {
            meters.seconds.record(seconds);
            // The last entry counts a status that the list has not learned yet.
            let known = meters.statuses.iter().find(|(known, _)| *known == status);
            if let Some((_, counter)) = known.or(meters.statuses.last()) {
                counter.increment(1);
            }
        }
        if let Some(rule) = rule {
            self.refused(rule).increment(1);
        }
    }

    fn refused(&self, rule: &'static str) -> Counter {
        if let Some(counter) = self.refused.read().unwrap_or_else(PoisonError::into_inner).get(rule) {
            return counter.clone();
        }
        let key = Key::from_parts(REFUSED, vec![Label::from_static_parts("rule", rule)]);
        let counter = self.recorder.register_counter(&key, &METADATA);
        let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        refused.entry(rule).or_insert(counter).clone()
    }

    /// Sets one of the numbers that are set when they are read.
    pub(super) fn set(&self, figure: Figure, value: f64) {
        if let Some((_, name, _)) = FIGURES.get(figure as usize) {
            self.recorder.register_gauge(&Key::from_static_name(name), &METADATA).set(value);
        }
    }

    /// The Prometheus text format; `configuration` is the digest of the configuration of the moment.
    pub(super) fn render(&self, configuration: &str) -> String {
        // Written here: a label that changes would leave its old values behind in the recorder.
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "{}# HELP {INFO} What runs: its version and the digest of its configuration.\n# TYPE {INFO} gauge\n\
             {INFO}{{version=\"{version}\",configuration=\"{configuration}\"}} 1\n",
            self.handle.render()
        )
    }

    /// Folds what histograms gathered: without it they grow while no scraper reads them.
    pub(super) fn fold(&self) {
        self.handle.run_upkeep();
    }
}

/// The connections of one listener, set when read.
pub(super) struct PoolMeters {
    open: [Gauge; Phase::OPEN.len()],
    limit: Gauge,
    refused: Counter,
    closed_for_room: Counter,
    not_accepted: Counter,
}

impl PoolMeters {
    fn new(recorder: &PrometheusRecorder) -> Self {
        let gauge = |key: &Key| recorder.register_gauge(key, &METADATA);
        let counter = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let state = |(_, name)| vec![Label::from_static_parts("state", name)];
        Self {
            open: Phase::OPEN.map(|phase| gauge(&Key::from_parts(CONNECTIONS, state(phase)))),
            limit: gauge(&Key::from_static_name(CONNECTIONS_LIMIT)),
            refused: counter(CONNECTIONS_REFUSED),
            closed_for_room: counter(CONNECTIONS_CLOSED),
            not_accepted: counter(ACCEPT_FAILURES),
        }
    }

    /// Shows how a pool stands.
    pub(super) fn show(&self, census: &Census) {
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        for (gauge, count) in self.open.iter().zip(census.phases) {
            gauge.set(number(count));
        }
        self.limit.set(number(census.most));
        self.refused.absolute(census.refused);
        self.closed_for_room.absolute(census.closed_for_room);
        self.not_accepted.absolute(census.not_accepted);
    }
}

impl EndpointMeters {
    fn new(recorder: &PrometheusRecorder, endpoint: Endpoint) -> Self {
        let label = || Label::from_static_parts("endpoint", endpoint.name());
        let statuses = STATUSES.map(|status| {
            let name = if status == 0 { "other".to_owned() } else { status.to_string() };
            let key = Key::from_parts(REQUESTS, vec![label(), Label::new("status", name)]);
            (status, recorder.register_counter(&key, &METADATA))
        });
        let key = Key::from_parts(SECONDS, vec![label()]);
        Self { statuses, seconds: recorder.register_histogram(&key, &METADATA) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_counted_where_it_belongs() {
        let meters = Meters::new();
        meters.replied(Endpoint::Introspect, 200, None, 0.000_3);
        meters.replied(Endpoint::Token, 400, Some("scope-unknown"), 0.000_3);
        meters.replied(Endpoint::Token, 418, None, 0.000_3);
        let text = meters.render("");
        for line in [
            "chancery_http_requests_total{endpoint=\"introspect\",status=\"200\"} 1",
            "chancery_http_requests_total{endpoint=\"token\",status=\"400\"} 1",
            "chancery_http_requests_total{endpoint=\"token\",status=\"other\"} 1",
            "chancery_http_request_seconds_bucket{endpoint=\"introspect\",le=\"0.0002\"} 0",
            "chancery_http_request_seconds_bucket{endpoint=\"introspect\",le=\"0.0004\"} 1",
            "chancery_refused_total{rule=\"scope-unknown\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn two_sets_of_meters_count_apart() {
        let [one, other] = [Meters::new(), Meters::new()];
        one.inactive.increment(3);
        assert!(one.render("").contains("chancery_introspection_inactive_total 3"));
        assert!(!other.render("").contains("chancery_introspection_inactive_total 3"));
    }

    #[test]
    fn figures_stand_in_their_order_and_the_readme_lists_every_metric() {
        let meters = Meters::new();
        for (place, (figure, _, _)) in FIGURES.iter().enumerate() {
            assert_eq!(*figure as usize, place);
            meters.set(*figure, 1.0);
        }
        meters.replied(Endpoint::Token, 400, Some("scope-unknown"), 0.1);
        meters.inactive_bytes("api").increment(1);
        let text = meters.render("");
        let mut shown: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let readme = include_str!("../../README.md");
        let mut listed: Vec<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| `chancery_")?.split(['`', '{']).next())
            .collect();
        shown.sort_unstable();
        listed.sort_unstable();
        assert_eq!(shown.iter().map(|name| name.trim_start_matches("chancery_")).collect::<Vec<_>>(), listed);
    }
}
