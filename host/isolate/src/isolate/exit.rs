//! How the children of a call end themselves, and with which codes.

/// The channel is no longer where it was: the plugin closed or replaced the descriptor.
pub(super) const CHANNEL_LOST: i32 = 121;
/// The answer is out, but destructors did not finish in time.
pub(super) const SLOW_TO_CLOSE: i32 = 122;
/// The first line was not what a host sends.
pub(super) const NO_REQUEST: i32 = 123;

/// A thread that it needs cannot be started.
pub(super) const NO_THREAD: i32 = 124;

// SAFETY: the signature is that of the C library that std links on every Unix.
unsafe extern "C" {
    /// Ends the process without running anything else: no destructor of a plugin can hang it.
    #[link_name = "_exit"]
    safe fn end_process(code: i32) -> !;
}

pub(super) fn end(code: i32) -> ! {
    end_process(code)
}
