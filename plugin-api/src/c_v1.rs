//! `include/bench_backend.h` in Rust: the entry for plugins in other languages. Frozen like
//! [`v1`](crate::v1); the header says what each member means, who owns what, and which thread may
//! call. `tests/tests/c_abi.rs` compares the two, member by member.
//!
//! Functions of the plugin are `C-unwind`: a C++ exception that escapes one then ends the process in
//! a defined way, where it is reported, instead of undefined behaviour in the host's frames.

#![allow(missing_docs, reason = "the header documents every member; saying it twice would drift")]

use std::ffi::{c_char, c_void};

/// `BENCH_BACKEND_MAGIC`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"benchbe1");
/// `BENCH_BACKEND_ABI`.
pub const ABI: u32 = 1;
/// The name of the entry function.
pub const ENTRY: &str = "bench_backend_entry_v1";
/// `BENCH_FROM_SOURCES`.
pub const FROM_SOURCES: u32 = u32::MAX;
/// `bench_result.items_processed` when the plugin stated nothing.
pub const NOT_STATED: u64 = u64::MAX;

/// `bench_status`. An error is one more than its constant in [`v1`](crate::v1).
pub type Status = i32;
/// `BENCH_OK`.
pub const OK: Status = 0;
/// `BENCH_END`.
pub const END: Status = 100;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub data: *const u8,
    pub len: usize,
}

#[repr(C)]
#[derive(Debug)]
pub struct Owned {
    pub data: *const u8,
    pub len: usize,
    pub token: *mut c_void,
}

#[repr(C)]
pub struct Text {
    pub context: *mut c_void,
    pub append: unsafe extern "C" fn(*mut Text, *const c_char, usize),
}

#[repr(C)]
pub struct Pair {
    pub key: *const c_char,
    pub value: *const c_char,
}

#[repr(C)]
pub struct Spec {
    pub size: u32,
    pub parallelism: u32,
    pub total_items: u64,
    pub batch_size: u32,
    pub nodes: u32,
    pub workload: *const c_char,
    pub scheduler: *const c_char,
    pub extra: *const Pair,
    pub extra_count: usize,
}

#[repr(C)]
pub struct RunResult {
    pub size: u32,
    pub reserved: u32,
    pub items_processed: u64,
    pub elapsed_seconds: f64,
    pub error: *mut Text,
    pub remedy: *mut Text,
}

#[repr(C)]
pub struct Node {
    pub id: u32,
    pub role: u32,
    pub max_parallelism: u32,
    pub blocking: u32,
    pub name: *const c_char,
}

/// `bench_host_operator`.
#[repr(C)]
pub struct Operator([u8; 0]);
/// `bench_host_router`.
#[repr(C)]
pub struct Router([u8; 0]);
/// `bench_deliveries`.
#[repr(C)]
pub struct Deliveries([u8; 0]);
/// `bench_self`.
#[repr(C)]
pub struct Instance([u8; 0]);

#[repr(C)]
pub struct Host {
    pub abi: u32,
    pub size: u32,
    pub context: *mut c_void,
    pub last_error: unsafe extern "C" fn(*const Host) -> *const c_char,
    pub release: unsafe extern "C" fn(*const Host, *mut Owned),
    pub graph_json: unsafe extern "C" fn(*const Host) -> *const c_char,
    pub node_count: unsafe extern "C" fn(*const Host) -> u32,
    pub node: unsafe extern "C" fn(*const Host, u32, *mut Node) -> Status,
    pub next_events: unsafe extern "C" fn(*const Host, u32, *mut Owned) -> Status,
    pub emit: unsafe extern "C" fn(*const Host, View) -> Status,
    pub operator_create: unsafe extern "C" fn(*const Host, u32, u32, u32) -> *mut Operator,
    pub operator_process: unsafe extern "C" fn(*const Host, *mut Operator, View, *mut Owned) -> Status,
    pub operator_finish: unsafe extern "C" fn(*const Host, *mut Operator, *mut Owned) -> Status,
    pub operator_drop: unsafe extern "C" fn(*const Host, *mut Operator),
    pub router_create: unsafe extern "C" fn(*const Host, u32) -> *mut Router,
    pub router_instances: unsafe extern "C" fn(*const Host, *const Router, u32) -> u32,
    pub route: unsafe extern "C" fn(*const Host, *const Router, u32, View, u32) -> *mut Deliveries,
    pub router_drop: unsafe extern "C" fn(*const Host, *mut Router),
    pub deliveries_count: unsafe extern "C" fn(*const Host, *const Deliveries) -> usize,
    pub deliveries_take:
        unsafe extern "C" fn(*const Host, *mut Deliveries, usize, *mut u32, *mut u32, *mut Owned) -> Status,
    pub deliveries_drop: unsafe extern "C" fn(*const Host, *mut Deliveries),
    pub progress: unsafe extern "C" fn(*const Host, *const c_char, *const c_char),
    pub log: unsafe extern "C" fn(*const Host, u8, *const c_char, *const c_char),
    pub metric: unsafe extern "C" fn(*const Host, *const c_char, *const c_char),
    pub is_cancelled: unsafe extern "C" fn(*const Host) -> i32,
    pub extension: unsafe extern "C" fn(*const Host, *const c_char, *const c_char, *mut Text) -> Status,
    pub node_state: unsafe extern "C" fn(*const Host, u32) -> u32,
}

type Create = unsafe extern "C-unwind" fn(*mut *mut Instance, *mut Text) -> Status;
type IsAvailable = unsafe extern "C-unwind" fn(*mut Instance, *mut Text, *mut Text) -> Status;
type Run = unsafe extern "C-unwind" fn(*mut Instance, *const Spec, *const Host, *mut RunResult) -> Status;
type Extension =
    unsafe extern "C-unwind" fn(*mut Instance, *const c_char, *const c_char, *mut Text) -> Status;
type DropInstance = unsafe extern "C-unwind" fn(*mut Instance);

#[repr(C)]
pub struct Backend {
    pub magic: u64,
    pub abi: u32,
    pub size: u32,
    pub pointer_bits: u32,
    pub reserved: u32,
    pub api_version: *const c_char,
    pub name: *const c_char,
    pub plugin_version: *const c_char,
    pub create: Option<Create>,
    pub is_available: Option<IsAvailable>,
    pub run: Option<Run>,
    pub extension: Option<Extension>,
    pub drop: Option<DropInstance>,
}

/// The entry function.
pub type Entry = unsafe extern "C-unwind" fn() -> *const Backend;
