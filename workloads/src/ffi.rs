//! The C ABI of `libbench_workloads.so`, described in `include/bench_workloads.h`.
//!
//! For engines whose workers are other processes: Python through ctypes (which releases the GIL
//! for the length of a call), or any language that can call C. Every function that fails returns
//! null or a non-zero status and leaves a message for [`bench_last_error`] of the same thread.
//! A panic inside is contained and becomes such a failure.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use bench_dataflow::route::{Delivery, Router};

use crate::chain::{self, Chain};
use crate::open::OpenWorkload;
use crate::workload::OpenSpec;

/// Version of this C ABI.
pub const ABI: u32 = 1;

/// `node` argument of [`bench_route`] for events that come from the sources.
pub const EVENTS: u32 = u32::MAX;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::new(CString::default());
}

/// An open workload with its graph as text, and what else of it is handed out.
pub struct CWorkload {
    workload: OpenWorkload,
    graph: CString,
    names: Vec<CString>,
    chains: Vec<Vec<u32>>,
}

/// `bench_node_facts`: what an engine needs to know of a node to place it.
#[repr(C)]
pub struct CNodeFacts {
    role: u32,
    state: u32,
    max_parallelism: u32,
    blocking: u32,
    name: *const c_char,
}

/// An operator or a chain of them, with the buffer of its last output.
pub struct COperator {
    chain: Chain,
    output: Vec<u8>,
}

/// Batches on their way, see [`bench_route`].
pub struct CBatches(Vec<Delivery>);

fn remember(message: &str) {
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    LAST_ERROR.with(|last| *last.borrow_mut() = text);
}

/// Runs `call` with panics contained; `None` after leaving the message.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Option<T> {
    // What a panic leaves behind is only dropped or reported broken, never read as whole.
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(format!("panic in libbench_workloads: {}", text.unwrap_or_default()))
    });
    result.map_err(|message| remember(&message)).ok()
}

fn boxed<T>(value: Option<T>) -> *mut T {
    value.map_or(ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// # Safety
/// `text` is null or a C string that outlives the result.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, String> {
    if text.is_null() {
        return Err("a null pointer was given for a string".to_owned());
    }
    // SAFETY: the caller promises a C string.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|cause| format!("a string is not UTF-8: {cause}"))
}

/// # Safety
/// `data` points to `len` bytes that outlive the result, or `len` is 0.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    // SAFETY: the caller promises `len` readable bytes; an empty slice needs no pointer.
    if len == 0 || data.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(data, len) } }
}

/// # Safety
/// `object` is null or came from this library and was not freed.
unsafe fn given<'a, T>(object: *const T) -> Result<&'a T, String> {
    // SAFETY: the caller promises a live object.
    unsafe { object.as_ref() }.ok_or_else(|| "a null pointer was given for an object".to_owned())
}

/// # Safety
/// `object` is null or came from [`boxed`] and is not used again.
unsafe fn free<T>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: the caller gives up an object that `boxed` made.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// Version of this ABI; a caller refuses any but the one it was written for.
#[unsafe(no_mangle)]
pub extern "C" fn bench_workloads_abi() -> u32 {
    ABI
}

/// Message of the last failure in this thread; valid until the next call in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn bench_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

/// Opens a workload from the JSON of its open spec and maps its prepared indexes.
///
/// # Safety
/// `spec_json` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_open(spec_json: *const c_char) -> *mut CWorkload {
    boxed(guarded(|| {
        // SAFETY: as this function's contract.
        let spec = unsafe { text(spec_json) }?;
        let spec: OpenSpec = serde_json::from_str(spec).map_err(|cause| format!("open spec: {cause}"))?;
        let workload = OpenWorkload::new(spec).map_err(|cause| cause.to_string())?;
        let graph = serde_json::to_string(workload.graph()).map_err(|cause| cause.to_string())?;
        let c_text = |text: &str| CString::new(text).map_err(|cause| cause.to_string());
        let names = workload.graph().nodes.iter().map(|node| c_text(&node.name)).collect::<Result<_, _>>()?;
        Ok(CWorkload { graph: c_text(&graph)?, names, chains: workload.graph().chains(), workload })
    }))
}

/// Closes a workload. Operators made from it stay usable.
///
/// # Safety
/// `workload` is null or came from [`bench_workload_open`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_close(workload: *mut CWorkload) {
    // SAFETY: as this function's contract.
    unsafe { free(workload) }
}

/// The graph as JSON, as long as the workload is open.
///
/// # Safety
/// `workload` came from [`bench_workload_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_graph(workload: *const CWorkload) -> *const c_char {
    // SAFETY: as this function's contract.
    guarded(|| Ok(unsafe { given(workload) }?.graph.as_ptr())).unwrap_or(ptr::null())
}

/// Number of nodes, 0 on failure.
///
/// # Safety
/// `workload` came from [`bench_workload_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_node_count(workload: *const CWorkload) -> u32 {
    // SAFETY: as this function's contract.
    guarded(|| Ok(unsafe { given(workload) }?.names.len() as u32)).unwrap_or(0)
}

/// What an engine needs to know of a node. Returns 0 on success.
///
/// # Safety
/// `workload` came from [`bench_workload_open`]; `facts` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_node(
    workload: *const CWorkload,
    node: u32,
    facts: *mut CNodeFacts,
) -> i32 {
    let done = guarded(|| {
        // SAFETY: as this function's contract.
        let workload = unsafe { given(workload) }?;
        let known = workload.workload.graph().nodes.get(node as usize);
        let (Some(known), false) = (known, facts.is_null()) else {
            return Err(format!("there is no node {node}, or nowhere to put it"));
        };
        let found = CNodeFacts {
            role: known.role.number(),
            state: known.state.number(),
            max_parallelism: known.max_parallelism.unwrap_or(0),
            blocking: known.blocking.into(),
            name: workload.names[node as usize].as_ptr(),
        };
        // SAFETY: not null, so writable.
        unsafe { facts.write(found) };
        Ok(())
    });
    if done.is_some() { 0 } else { 1 }
}

/// Number of chains, 0 on failure.
///
/// # Safety
/// `workload` came from [`bench_workload_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_chain_count(workload: *const CWorkload) -> usize {
    // SAFETY: as this function's contract.
    guarded(|| Ok(unsafe { given(workload) }?.chains.len())).unwrap_or(0)
}

/// Chain `index`, and how many nodes it has; null on failure. Valid while the workload is open.
///
/// # Safety
/// `workload` came from [`bench_workload_open`]; `count` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_workload_chain(
    workload: *const CWorkload,
    index: usize,
    count: *mut usize,
) -> *const u32 {
    let found = guarded(|| {
        // SAFETY: as this function's contract.
        let chain = unsafe { given(workload) }?.chains.get(index);
        let (Some(chain), false) = (chain, count.is_null()) else {
            return Err(format!("there is no chain {index}, or nowhere to put its length"));
        };
        // SAFETY: not null, so writable.
        unsafe { count.write(chain.len()) };
        Ok(chain.as_ptr())
    });
    found.unwrap_or(ptr::null())
}

/// Creates instance `instance` of `of` of a chain of `count` nodes, often just one.
///
/// # Safety
/// `workload` came from [`bench_workload_open`]; `nodes` points to `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_operator_new(
    workload: *const CWorkload,
    nodes: *const u32,
    count: usize,
    instance: u32,
    of: u32,
) -> *mut COperator {
    boxed(guarded(|| {
        // SAFETY: as this function's contract.
        let workload = unsafe { given(workload) }?;
        if nodes.is_null() || count == 0 {
            return Err("an operator needs at least one node".to_owned());
        }
        // SAFETY: the caller promises `count` numbers.
        let nodes = unsafe { std::slice::from_raw_parts(nodes, count) };
        let chain = workload.workload.chain(nodes, instance, of).map_err(|cause| cause.to_string())?;
        Ok(COperator { chain, output: Vec::new() })
    }))
}

/// Processes a batch in order. `output` belongs to the operator and is valid until its next call.
/// Returns 0 on success. One thread at a time.
///
/// # Safety
/// `operator` came from [`bench_operator_new`] and no other thread uses it now; `batch` points to
/// `len` bytes; `output` and `output_len` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_operator_process(
    operator: *mut COperator,
    batch: *const u8,
    len: usize,
    output: *mut *const u8,
    output_len: *mut usize,
) -> i32 {
    // SAFETY: as this function's contract.
    let input = unsafe { bytes(batch, len) };
    // SAFETY: as this function's contract.
    unsafe {
        with_output(operator, output, output_len, |operator| {
            operator.chain.process(input, &mut operator.output).map_err(|cause| cause.to_string())
        })
    }
}

/// Flushes an operator once all its inputs have ended. As [`bench_operator_process`] otherwise.
///
/// # Safety
/// As [`bench_operator_process`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_operator_finish(
    operator: *mut COperator,
    output: *mut *const u8,
    output_len: *mut usize,
) -> i32 {
    // SAFETY: as this function's contract.
    unsafe {
        with_output(operator, output, output_len, |operator| {
            operator.chain.finish(&mut operator.output).map_err(|cause| cause.to_string())
        })
    }
}

/// # Safety
/// As [`bench_operator_process`].
unsafe fn with_output(
    operator: *mut COperator,
    output: *mut *const u8,
    output_len: *mut usize,
    call: impl FnOnce(&mut COperator) -> Result<(), String>,
) -> i32 {
    let done = guarded(|| {
        // SAFETY: the caller promises a live operator that no other thread uses.
        let operator = unsafe { operator.as_mut() }.ok_or("a null pointer was given for an operator")?;
        if output.is_null() || output_len.is_null() {
            return Err("a null pointer was given for the output".to_owned());
        }
        operator.output.clear();
        call(operator)?;
        // SAFETY: both were checked for null and the caller promises that they are writable.
        unsafe {
            *output = operator.output.as_ptr();
            *output_len = operator.output.len();
        }
        Ok(())
    });
    if done.is_some() { 0 } else { 1 }
}

/// Frees an operator.
///
/// # Safety
/// `operator` is null or came from [`bench_operator_new`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_operator_free(operator: *mut COperator) {
    // SAFETY: as this function's contract.
    unsafe { free(operator) }
}

/// A router for the workload's graph with up to `parallelism` instances of each node.
///
/// # Safety
/// `workload` came from [`bench_workload_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_router_new(workload: *const CWorkload, parallelism: u32) -> *mut Router {
    // SAFETY: as this function's contract.
    boxed(guarded(|| Ok(Router::new(unsafe { given(workload) }?.workload.graph().clone(), parallelism))))
}

/// Frees a router.
///
/// # Safety
/// `router` is null or came from [`bench_router_new`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_router_free(router: *mut Router) {
    // SAFETY: as this function's contract.
    unsafe { free(router) }
}

/// Number of instances of `node`, 0 when there is no such node. Any thread.
///
/// # Safety
/// `router` came from [`bench_router_new`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_router_instances(router: *const Router, node: u32) -> u32 {
    let instances = guarded(|| {
        // SAFETY: as this function's contract.
        let router = unsafe { given(router) }?;
        let known = (node as usize) < router.graph().nodes.len();
        known.then(|| router.instances(node)).ok_or_else(|| format!("there is no node {node}"))
    });
    instances.unwrap_or(0)
}

/// Routes what `node` wrote, or events when `node` is `UINT32_MAX`. Records that may go to any
/// instance stay together and go to instance `turn % instances`. Any thread.
///
/// # Safety
/// `router` came from [`bench_router_new`]; `batch` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_route(
    router: *const Router,
    node: u32,
    batch: *const u8,
    len: usize,
    turn: u32,
) -> *mut CBatches {
    boxed(guarded(|| {
        // SAFETY: as this function's contract.
        let (router, batch) = unsafe { (given(router)?, bytes(batch, len)) };
        let routed = match node {
            EVENTS => router.route_events(batch, turn),
            node => router.route(node, batch, turn),
        };
        routed.map(CBatches).map_err(|cause| cause.to_string())
    }))
}

/// Tombstones for a batch that the runtime lost on its way into `node`: one entry whose ports are
/// the output ports of `node`. Any thread.
///
/// # Safety
/// `workload` came from [`bench_workload_open`]; `batch` points to `len` bytes; `reason` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_fail(
    workload: *const CWorkload,
    node: u32,
    batch: *const u8,
    len: usize,
    reason: *const c_char,
) -> *mut CBatches {
    boxed(guarded(|| {
        // SAFETY: as this function's contract.
        let (workload, input, reason) = unsafe { (given(workload)?, bytes(batch, len), text(reason)?) };
        let mut output = Vec::new();
        let (graph, batched) = (workload.workload.graph(), workload.workload.batched(node));
        chain::fail(graph, node, &batched, input, reason, &mut output).map_err(|cause| cause.to_string())?;
        Ok(CBatches(vec![Delivery { node, instance: 0, batch: output }]))
    }))
}

/// A batch as `node` would read it if every record had failed before it: one entry, to be given to `node`. Any thread.
///
/// # Safety
/// As [`bench_fail`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_fail_input(
    workload: *const CWorkload,
    node: u32,
    batch: *const u8,
    len: usize,
    reason: *const c_char,
) -> *mut CBatches {
    boxed(guarded(|| {
        // SAFETY: as this function's contract.
        let (workload, input, reason) = unsafe { (given(workload)?, bytes(batch, len), text(reason)?) };
        let mut output = Vec::new();
        let graph = workload.workload.graph();
        chain::fail_input(graph, node, input, reason, &mut output).map_err(|cause| cause.to_string())?;
        Ok(CBatches(vec![Delivery { node, instance: 0, batch: output }]))
    }))
}

/// Number of batches.
///
/// # Safety
/// `batches` came from [`bench_route`] or [`bench_fail`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_batches_count(batches: *const CBatches) -> usize {
    // SAFETY: as this function's contract.
    guarded(|| Ok(unsafe { given(batches) }?.0.len())).unwrap_or(0)
}

/// Batch number `index`: where it goes and its bytes, valid until the batches are freed.
/// Returns 0 on success.
///
/// # Safety
/// `batches` as above; the four outputs are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_batches_get(
    batches: *const CBatches,
    index: usize,
    node: *mut u32,
    instance: *mut u32,
    data: *mut *const u8,
    len: *mut usize,
) -> i32 {
    let done = guarded(|| {
        // SAFETY: as this function's contract.
        let delivery = unsafe { given(batches) }?.0.get(index).ok_or("there is no such batch")?;
        if node.is_null() || instance.is_null() || data.is_null() || len.is_null() {
            return Err("a null pointer was given for an output".to_owned());
        }
        // SAFETY: all were checked for null and the caller promises that they are writable.
        unsafe {
            *node = delivery.node;
            *instance = delivery.instance;
            *data = delivery.batch.as_ptr();
            *len = delivery.batch.len();
        }
        Ok(())
    });
    if done.is_some() { 0 } else { 1 }
}

/// Frees batches.
///
/// # Safety
/// `batches` is null or came from [`bench_route`] or [`bench_fail`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bench_batches_free(batches: *mut CBatches) {
    // SAFETY: as this function's contract.
    unsafe { free(batches) }
}
