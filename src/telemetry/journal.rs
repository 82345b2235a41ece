//! Priorities for the journal: what it does not know of a line that a service writes is taken for information.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::LazyLock;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether standard error leads to the journal (systemd.exec(5), `$JOURNAL_STREAM`): the variable alone may be inherited
/// by a process whose standard error leads elsewhere.
static CONNECTED: LazyLock<bool> = LazyLock::new(|| {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let ours = std::fs::metadata("/proc/self/fd/2").ok();
    named.zip(ours).is_some_and(|(named, ours)| named == format!("{}:{}", ours.dev(), ours.ino()))
});

/// What stands before a line of this level when standard error leads to the journal (sd-daemon(3)); else nothing.
pub fn priority(level: Level) -> &'static str {
    if !*CONNECTED {
        return "";
    }
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// A format whose lines begin with their priority.
pub(super) struct WithPriority<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        line.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, line, event)
    }
}
