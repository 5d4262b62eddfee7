//! Text that a plugin writes to the host.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

use bench_plugin_api::c_v1 as c;

/// More than this of one text is dropped: it is meant for people. Miri would take minutes for a megabyte.
const LONGEST: usize = if cfg!(miri) { 1 << 10 } else { 1 << 20 };

/// A `bench_text` and what was written to it. A raw pointer and not a box, because the plugin writes
/// through another one: a box that moves claims to be the only way to what it holds.
pub(super) struct Text(NonNull<Inner>);

struct Inner {
    raw: c::Text,
    bytes: Vec<u8>,
}

impl Default for Text {
    fn default() -> Self {
        let raw = c::Text { context: std::ptr::null_mut(), append };
        let inner = NonNull::from(Box::leak(Box::new(Inner { raw, bytes: Vec::new() })));
        // SAFETY: nobody else has seen it yet.
        unsafe { (*inner.as_ptr()).raw.context = inner.as_ptr().cast::<c_void>() };
        Self(inner)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: it was leaked by `default`, and the calls that knew it are over.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Text {
    /// What to hand to the plugin, for the length of a call.
    pub(super) fn out(&self) -> *mut c::Text {
        // SAFETY: only an address is taken.
        unsafe { &raw mut (*self.0.as_ptr()).raw }
    }

    /// What was written; anything that is not UTF-8 is replaced.
    pub(super) fn take(&self) -> String {
        // SAFETY: the call that wrote is over, and its pointer with it.
        let bytes = unsafe { std::mem::take(&mut (*self.0.as_ptr()).bytes) };
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What becomes of text that is written in these pieces.
pub(in crate::load) fn text_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let text = Text::default();
    for piece in pieces {
        // SAFETY: the text is ours and a slice is readable.
        unsafe { append(text.out(), piece.as_ptr().cast(), piece.len()) }
    }
    text.take()
}

unsafe extern "C" fn append(text: *mut c::Text, data: *const c_char, len: usize) {
    if text.is_null() || data.is_null() {
        return;
    }
    // SAFETY: the text is one of ours, its context is the `Inner` around it, and the header lets one
    // thread at a time write.
    let bytes = unsafe { &mut (*(*text).context.cast::<Inner>()).bytes };
    let len = len.min(LONGEST.saturating_sub(bytes.len()));
    // SAFETY: the caller gives `len` readable bytes.
    bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &Text, bytes: &[u8]) {
        // SAFETY: the slice is readable.
        unsafe { append(text.out(), bytes.as_ptr().cast(), bytes.len()) }
    }

    #[test]
    fn what_is_written_in_pieces_is_one_text() {
        let text = Text::default();
        write(&text, b"caf\xc3");
        write(&text, b"\xa9");
        assert_eq!(text.take(), "café");
        assert_eq!(text.take(), "");
    }

    #[test]
    fn what_is_not_text_is_replaced_and_what_is_endless_is_cut() {
        let text = Text::default();
        write(&text, b"a\xffb");
        assert_eq!(text.take(), "a\u{fffd}b");
        let much = vec![b'x'; LONGEST];
        (0..3).for_each(|_| write(&text, &much));
        assert_eq!(text.take().len(), LONGEST);
    }
}
