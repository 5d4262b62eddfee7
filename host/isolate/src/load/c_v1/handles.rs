//! What crosses between C and the host: errors with their messages, bytes, strings, and objects that
//! one side holds for the other as pointers.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use abi_stable::std_types::{RResult, RSlice, RVec};
use bench_plugin_api::c_v1 as c;
use bench_plugin_api::v1;

use super::c_string;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn status_of(kind: u32) -> c::Status {
    kind as c::Status + 1
}

pub(super) fn fail(kind: u32, message: &str) -> c::Status {
    LAST_ERROR.with(|last| *last.borrow_mut() = c_string(message));
    status_of(kind)
}

pub(super) fn invalid(message: &str) -> c::Status {
    fail(v1::ERROR_INVALID, message)
}

/// The message of the last failure in this thread.
pub(super) fn last_message() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

pub(super) fn plain<T>(result: RResult<T, v1::BackendError>) -> Result<T, c::Status> {
    result.into_result().map_err(|error| fail(error.kind, &error.message))
}

/// # Safety
/// `view` is what the header says: `len` readable bytes, or none.
pub(super) unsafe fn bytes<'a>(view: c::View) -> RSlice<'a, u8> {
    let empty = view.len == 0 || view.data.is_null();
    // SAFETY: as this function's contract.
    RSlice::from_slice(if empty { &[] } else { unsafe { std::slice::from_raw_parts(view.data, view.len) } })
}

/// # Safety
/// `text` is null or a C string.
pub(super) unsafe fn words(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Hands bytes over.
///
/// # Safety
/// `out` is null or writable.
pub(super) unsafe fn give(out: *mut c::Owned, bytes: RVec<u8>) -> Result<(), c::Status> {
    if out.is_null() {
        return Err(invalid("there is nowhere to put the bytes: the pointer is null"));
    }
    let bytes = Box::new(bytes);
    let (data, len) = (bytes.as_ptr(), bytes.len());
    // SAFETY: as this function's contract. A box keeps its content's address.
    unsafe { out.write(c::Owned { data, len, token: Box::into_raw(bytes).cast::<c_void>() }) };
    Ok(())
}

pub(super) fn boxed<T, R>(value: Result<T, c::Status>) -> *mut R {
    value.map_or(ptr::null_mut(), |value| Box::into_raw(Box::new(value)).cast::<R>())
}

/// # Safety
/// `object` is null, or was made by [`boxed`] of the same type and is alive.
pub(super) unsafe fn given<'a, T, R>(object: *const R, what: &str) -> Result<&'a T, c::Status> {
    // SAFETY: as this function's contract.
    unsafe { object.cast::<T>().as_ref() }.ok_or_else(|| invalid(&format!("the {what} is null")))
}

/// # Safety
/// As [`given`], and nobody else uses the object.
pub(super) unsafe fn given_mut<'a, T, R>(object: *mut R, what: &str) -> Result<&'a mut T, c::Status> {
    // SAFETY: as this function's contract.
    unsafe { object.cast::<T>().as_mut() }.ok_or_else(|| invalid(&format!("the {what} is null")))
}

/// # Safety
/// As [`given_mut`], and the object is not used again.
pub(super) unsafe fn free<T, R>(object: *mut R) {
    if !object.is_null() {
        // SAFETY: as this function's contract.
        drop(unsafe { Box::from_raw(object.cast::<T>()) });
    }
}
