//! `tracing` in a plugin ends up in the host's log.
//!
//! A plugin is its own dynamic library with its own copy of `tracing`'s statics, so its events
//! would go nowhere. One subscriber per library forwards them to the host of the current run.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::Host;

/// Hosts of the runs under way, latest last. A thread that the plugin started itself reports to
/// the latest; the thread that called `run` always to its own.
static CURRENT: Mutex<Vec<(u64, Host)>> = Mutex::new(Vec::new());
static INSTALLED: OnceLock<()> = OnceLock::new();
static NEXT_RUN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN_RUN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Forwards to `host` until the guard is dropped.
pub(super) fn to(host: &Host) -> Guard {
    INSTALLED.get_or_init(|| {
        let subscriber = tracing_subscriber::registry().with(Forward);
        // A plugin that installed its own subscriber keeps it.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
    let run = NEXT_RUN.fetch_add(1, Ordering::Relaxed);
    current().push((run, host.clone()));
    Guard { run, outer: OWN_RUN.replace(Some(run)) }
}

pub(super) struct Guard {
    run: u64,
    outer: Option<u64>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        current().retain(|(run, _)| *run != self.run);
        OWN_RUN.set(self.outer);
    }
}

fn current() -> MutexGuard<'static, Vec<(u64, Host)>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host_of_this_thread() -> Option<Host> {
    let own = OWN_RUN.get();
    let runs = current();
    let found = runs.iter().find(|(run, _)| Some(*run) == own).or(runs.last());
    found.map(|(_, host)| host.clone())
}

struct Forward;

impl<S: Subscriber> Layer<S> for Forward {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(host) = host_of_this_thread() else { return };
        let level = match *event.metadata().level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        };
        let mut text = Text::default();
        event.record(&mut text);
        host.log(level, event.metadata().target(), &format!("{}{}", text.message, text.fields));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
