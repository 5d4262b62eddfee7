//! The first look at a plugin's table, before any function in it is called.

use bench_plugin_api::c_v1 as c;

use super::incompatible;
use crate::Error;

/// Checks the header of a table: magic first, because nothing else means anything without it.
///
/// # Safety
/// `table` is null or points to memory that stays readable: at least the header, and as much as its
/// `size` says.
pub(super) unsafe fn check<'a>(table: *const c::Backend) -> Result<&'a c::Backend, Error> {
    let rebuild = "rebuild it with the bench_backend.h of this bench";
    if table.is_null() || !table.is_aligned() {
        return Err(incompatible(format!("{} returned no table", c::ENTRY), "return a static table"));
    }
    // SAFETY: at least the header is readable.
    let (magic, abi, size, bits) =
        unsafe { ((*table).magic, (*table).abi, (*table).size, (*table).pointer_bits) };
    if magic != c::MAGIC {
        let what = format!("its table begins with {magic:#018x} and not with BENCH_BACKEND_MAGIC");
        return Err(incompatible(what, "begin the table with BENCH_BACKEND_HEADER"));
    }
    if abi != c::ABI {
        return Err(incompatible(format!("it speaks C ABI {abi}, this host {}", c::ABI), rebuild));
    }
    if bits != usize::BITS {
        return Err(incompatible(
            format!("its pointers have {bits} bits, this host's {}", usize::BITS),
            rebuild,
        ));
    }
    // A larger table is a later one: its first members are ours.
    if (size as usize) < size_of::<c::Backend>() {
        let ours = size_of::<c::Backend>();
        return Err(incompatible(
            format!("its table has {size} bytes, ABI {} has at least {ours}", c::ABI),
            rebuild,
        ));
    }
    // SAFETY: not null, aligned, and as large as the type.
    Ok(unsafe { &*table })
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    fn table() -> c::Backend {
        c::Backend {
            magic: c::MAGIC,
            abi: c::ABI,
            size: size_of::<c::Backend>() as u32,
            pointer_bits: usize::BITS,
            reserved: 0,
            api_version: ptr::null(),
            name: ptr::null(),
            plugin_version: ptr::null(),
            create: None,
            is_available: None,
            run: None,
            extension: None,
            drop: None,
        }
    }

    fn refusal(table: &c::Backend) -> String {
        // SAFETY: a reference is readable.
        unsafe { check(table) }.err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn a_header_that_is_not_ours_is_named_by_what_is_wrong_with_it() {
        assert_eq!(refusal(&table()), "");
        assert!(refusal(&c::Backend { magic: 7, ..table() }).contains("0x0000000000000007"));
        assert!(refusal(&c::Backend { abi: 2, ..table() }).contains("C ABI 2, this host 1"));
        assert!(refusal(&c::Backend { pointer_bits: 32, ..table() }).contains("32 bits"));
        assert!(refusal(&c::Backend { size: 48, ..table() }).contains("48 bytes"));
        // SAFETY: null is allowed.
        assert!(unsafe { check(ptr::null()) }.is_err());
    }

    #[test]
    fn a_larger_table_is_a_later_one_and_loads() {
        assert_eq!(refusal(&c::Backend { size: 4096, ..table() }), "");
    }
}
