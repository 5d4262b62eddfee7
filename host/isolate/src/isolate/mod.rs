//! Work that touches a plugin, done in a process of its own.
//!
//! Whatever loads a plugin implements [`Operation`] and is started with [`Runner::call`]. Three
//! processes take part, all of this same binary:
//!
//! ```text
//!  host ── lifeline, output ── warden ── fork ──► runner: dlopen, execute
//!    └──────────────── channel (private socket) ───┘
//! ```
//!
//! * The **runner** executes the operation. It sits in its own session, with `/dev/null` as input
//!   and the output pipe as stdout and stderr, so a plugin may print what it likes.
//! * The **channel** carries JSON lines; every one echoes a nonce that only its first line told.
//! * The **warden** adopts whatever the runner orphans (`PR_SET_CHILD_SUBREAPER`), learns how the
//!   runner ended, kills what is left and reports. It runs no plugin code, hence survives a plugin.
//!   One per call, because what belongs to which call is then a fact and not a guess; and the
//!   host's own process stays as it was.
//! * The **lifeline** is a socket between host and warden. When the host lets go of it, on purpose or
//!   because it was killed, the warden kills everything below it. Nothing outlives the host.
//! * The **scratch** directories, where a call has any, are made and removed by the warden, once the host has
//!   closed the lifeline: whoever is killed, they do not stay behind.
//!
//! The descriptors travel as stdin and stdout of the warden and are moved away, close-on-exec,
//! before anything else happens: no code runs between fork and exec, so none of it can be unsound.

mod clock;
mod ending;
mod exit;
mod failure;
mod host;
mod log;
mod output;
mod process;
mod runner;
mod stop;
mod warden;
mod whereabouts;
pub mod wire;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use clock::Clocks;
pub use failure::{Answer, Cause, Failure, RUN, Remark, SPOKE_ON};
pub use host::{Directive, Limits, Notice, Runner};
pub use runner::{Channel, Handler, in_process, serve};
pub use stop::{Stop, StopLevel};
pub use warden::CpuTime;
pub use whereabouts::News;

use super::Error;
pub use super::temporary::{Temporary, remove_leftovers, scratch_path, short_scratch_path, temp_dir};

/// The hidden subcommand that must lead to [`serve`] before the process starts any thread.
pub const SUBCOMMAND: &str = "__runner";

/// Something that is done in a child process.
pub trait Operation {
    /// Unique among the operations of the host.
    const NAME: &'static str;
    /// Whether it can finish what has begun when the user wants no more. The first Ctrl-C ends one that cannot.
    const DRAINS: bool = true;
    /// What the child needs to know.
    type Request: Serialize + DeserializeOwned;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned;
    /// What it tells on the way.
    type Event: Serialize + DeserializeOwned;

    /// What the request is about, for messages to people: ``backend `ray` ``.
    fn subject(request: &Self::Request) -> String;

    /// What an event says about how far the operation is.
    fn news(_: &Self::Event) -> Option<News> {
        None
    }

    /// What of an event belongs into the log of the call, as a line.
    fn log_line(_: &Self::Event) -> Option<String> {
        None
    }

    /// Does it, in the child process.
    ///
    /// # Errors
    /// Whatever the plugin or the work came to; it reaches the host as [`Cause::Plugin`].
    fn execute(request: Self::Request, channel: &Channel<Self::Event>) -> Result<Self::Reply, Error>;
}
