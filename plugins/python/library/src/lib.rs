//! `libbench_python_engine.so`: the plugin that every engine in Python becomes. By itself it is none: `bench backends
//! pack` copies it and overwrites the reserved section in the copy with the engine.

use std::ptr;
use std::sync::{LazyLock, OnceLock};

use bench_engine_package::section::{SIZE, empty};
use bench_plugin_api::export_backend;
use bench_plugin_api::sdk::Error;
use bench_python_engine::Packed;

/// The section's bytes, read in words.
#[repr(C, align(8))]
struct Section([u8; SIZE]);

// The name is `bench_engine_package::section::NAME`; an attribute takes a literal only.
#[used]
#[unsafe(link_section = ".bench_engine")]
static SECTION: Section = Section(empty());

/// What is in the section now. The compiler knows what it was when this was built and must not go by that.
fn section() -> Vec<u8> {
    let words = ptr::from_ref(&SECTION).cast::<u64>();
    let mut bytes = Vec::with_capacity(SIZE);
    for at in 0..SIZE / size_of::<u64>() {
        // SAFETY: the section is as long, aligned to words, and never written while it is mapped.
        bytes.extend(unsafe { words.add(at).read_volatile() }.to_ne_bytes());
    }
    bytes
}

fn version() -> &'static str {
    static VERSION: LazyLock<&str> = LazyLock::new(|| Packed::version(&section()));
    *VERSION
}

/// The engine is read once: it lives as long as the library, however many backends are made of it.
fn open() -> Result<Packed, Error> {
    static ENGINE: OnceLock<Packed> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(*engine);
    }
    let engine = Packed::open(&section())?;
    Ok(*ENGINE.get_or_init(|| engine))
}

export_backend!(Packed, version = version(), new = open);
