//! The host object as a table of C functions.
//!
//! A table outlives its run: a thread that a plugin forgot to end may still call it, and then gets an
//! error instead of freed memory. What it keeps for that is a few hundred bytes.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use abi_stable::std_types::{ROption, RVec};
use bench_plugin_api::c_v1 as c;
use bench_plugin_api::dataflow::frame::{Kind, frames};
use bench_plugin_api::dataflow::graph::Graph;
use bench_plugin_api::dataflow::route::{Delivery, Router};
use bench_plugin_api::v1;

use super::c_string;
use super::handles::{boxed, bytes, free, give, given, given_mut, invalid, last_message, plain, words};
use crate::{Error, ErrorKind};

/// What the run left with the host.
pub(super) struct Seen {
    pub(super) emitted: u64,
    pub(super) metrics: Vec<v1::Pair>,
}

struct State {
    /// Gone once the run is over.
    host: RwLock<Option<v1::HostBox>>,
    graph: Graph,
    graph_json: CString,
    names: Vec<CString>,
    emitted: AtomicU64,
    metrics: Mutex<Vec<v1::Pair>>,
}

/// A host's table for one run.
pub(super) struct Table {
    raw: &'static c::Host,
    state: &'static State,
}

impl Table {
    pub(super) fn new(host: v1::HostBox) -> Result<Self, Error> {
        let json = host.graph();
        let graph: Graph = serde_json::from_str(&json)
            .map_err(|cause| Error::new(ErrorKind::Host, format!("the host's own graph: {cause}"), ""))?;
        let names = graph.nodes.iter().map(|node| c_string(&node.name)).collect();
        let state: &'static State = Box::leak(Box::new(State {
            host: RwLock::new(Some(host)),
            graph_json: c_string(&json),
            graph,
            names,
            emitted: AtomicU64::new(0),
            metrics: Mutex::default(),
        }));
        let raw = Box::leak(Box::new(table(state)));
        Ok(Self { raw, state })
    }

    pub(super) fn raw(&self) -> *const c::Host {
        self.raw
    }

    /// The run is over.
    pub(super) fn close(self) -> Seen {
        // Only a forgotten thread that waits inside the host keeps us from it; it keeps its host then.
        if let Ok(mut host) = self.state.host.try_write() {
            *host = None;
        }
        let metrics = std::mem::take(&mut *self.state.metrics.lock().unwrap_or_else(PoisonError::into_inner));
        Seen { emitted: self.state.emitted.load(Ordering::Relaxed), metrics }
    }
}

fn table(state: &'static State) -> c::Host {
    c::Host {
        abi: c::ABI,
        size: size_of::<c::Host>() as u32,
        context: ptr::from_ref(state).cast_mut().cast::<c_void>(),
        last_error,
        release,
        graph_json,
        node_count,
        node,
        next_events,
        emit,
        operator_create,
        operator_process,
        operator_finish,
        operator_drop,
        router_create,
        router_instances,
        route,
        router_drop,
        deliveries_count,
        deliveries_take,
        deliveries_drop,
        progress,
        log,
        metric,
        is_cancelled,
        extension,
        node_state,
    }
}

/// # Safety
/// `host` is the table that `run` got, or null.
unsafe fn state(host: *const c::Host) -> Result<&'static State, c::Status> {
    if host.is_null() {
        return Err(invalid("the host is null"));
    }
    // SAFETY: the context of a table is its state, and both live for ever.
    Ok(unsafe { &*(*host).context.cast::<State>() })
}

/// Calls the host object.
///
/// # Safety
/// As [`state`].
unsafe fn ask<T>(
    host: *const c::Host,
    call: impl FnOnce(&State, &v1::HostBox) -> Result<T, c::Status>,
) -> Result<T, c::Status> {
    // SAFETY: as this function's contract.
    let state = unsafe { state(host) }?;
    let host = state.host.read().unwrap_or_else(PoisonError::into_inner);
    match &*host {
        Some(host) => call(state, host),
        None => Err(invalid("the run is over: end every thread before run returns")),
    }
}

fn done(result: Result<(), c::Status>) -> c::Status {
    result.err().unwrap_or(c::OK)
}

// Every function below is called by the plugin under the contract of bench_backend.h: the host is the
// one that `run` got, pointers are null or valid for the call, objects are alive.

unsafe extern "C" fn last_error(_: *const c::Host) -> *const c_char {
    last_message()
}

unsafe extern "C" fn release(_: *const c::Host, bytes: *mut c::Owned) {
    // SAFETY: null or a `bench_owned`.
    let Some(bytes) = (unsafe { bytes.as_mut() }) else { return };
    let token = std::mem::replace(&mut bytes.token, ptr::null_mut());
    (bytes.data, bytes.len) = (ptr::null(), 0);
    // SAFETY: the token is what `give` made, and taken out so that it is freed once.
    unsafe { free::<RVec<u8>, c_void>(token) }
}

unsafe extern "C" fn graph_json(host: *const c::Host) -> *const c_char {
    // SAFETY: see above.
    unsafe { state(host) }.map_or(ptr::null(), |state| state.graph_json.as_ptr())
}

unsafe extern "C" fn node_count(host: *const c::Host) -> u32 {
    // SAFETY: see above.
    unsafe { state(host) }.map_or(0, |state| state.graph.nodes.len() as u32)
}

unsafe extern "C" fn node(host: *const c::Host, id: u32, out: *mut c::Node) -> c::Status {
    // SAFETY: see above.
    let state = match unsafe { state(host) } {
        Ok(state) => state,
        Err(status) => return status,
    };
    let (Some(node), false) = (state.graph.nodes.get(id as usize), out.is_null()) else {
        return invalid(&format!("there is no node {id}, or nowhere to put it"));
    };
    let described = c::Node {
        id,
        role: node.role.number(),
        max_parallelism: node.max_parallelism.unwrap_or(0),
        blocking: node.blocking.into(),
        name: state.names[id as usize].as_ptr(),
    };
    // SAFETY: not null, so writable.
    unsafe { out.write(described) };
    c::OK
}

unsafe extern "C" fn node_state(host: *const c::Host, id: u32) -> u32 {
    // SAFETY: see above.
    let node = unsafe { state(host) }.ok().and_then(|state| state.graph.nodes.get(id as usize));
    node.map_or(0, |node| node.state.number())
}

unsafe extern "C" fn next_events(host: *const c::Host, max_items: u32, out: *mut c::Owned) -> c::Status {
    // SAFETY: see above.
    let events = unsafe { ask(host, |_, host| plain(host.next_events(max_items))) };
    match events {
        // SAFETY: see above.
        Ok(ROption::RSome(events)) => done(unsafe { give(out, events) }),
        Ok(ROption::RNone) => c::END,
        Err(status) => status,
    }
}

unsafe extern "C" fn emit(host: *const c::Host, batch: c::View) -> c::Status {
    // SAFETY: see above.
    let batch = unsafe { bytes(batch) };
    // SAFETY: see above.
    done(unsafe {
        ask(host, |state, host| {
            let results = frames(batch.as_slice())
                .filter(|frame| frame.as_ref().is_ok_and(|frame| frame.header.kind != Kind::Heartbeat));
            state.emitted.fetch_add(results.count() as u64, Ordering::Relaxed);
            plain(host.emit(batch))
        })
    })
}

unsafe extern "C" fn operator_create(host: *const c::Host, node: u32, i: u32, of: u32) -> *mut c::Operator {
    // SAFETY: see above.
    boxed(unsafe { ask(host, |_, host| plain(host.operator(node, i, of))) })
}

unsafe extern "C" fn operator_process(
    _: *const c::Host,
    operator: *mut c::Operator,
    batch: c::View,
    out: *mut c::Owned,
) -> c::Status {
    // SAFETY: see above.
    done(unsafe {
        given_mut::<v1::OperatorBox, _>(operator, "operator")
            .and_then(|operator| plain(operator.process(bytes(batch))))
            .and_then(|output| give(out, output))
    })
}

unsafe extern "C" fn operator_finish(
    _: *const c::Host,
    operator: *mut c::Operator,
    out: *mut c::Owned,
) -> c::Status {
    // SAFETY: see above.
    done(unsafe {
        given_mut::<v1::OperatorBox, _>(operator, "operator")
            .and_then(|operator| plain(operator.finish()))
            .and_then(|output| give(out, output))
    })
}

unsafe extern "C" fn operator_drop(_: *const c::Host, operator: *mut c::Operator) {
    // SAFETY: see above.
    unsafe { free::<v1::OperatorBox, _>(operator) }
}

unsafe extern "C" fn router_create(host: *const c::Host, parallelism: u32) -> *mut c::Router {
    // SAFETY: see above.
    boxed(unsafe { state(host) }.map(|state| Router::new(state.graph.clone(), parallelism)))
}

unsafe extern "C" fn router_instances(_: *const c::Host, router: *const c::Router, node: u32) -> u32 {
    // SAFETY: see above.
    let router = unsafe { given::<Router, _>(router, "router") };
    router.map_or(
        0,
        |router| {
            if (node as usize) < router.graph().nodes.len() { router.instances(node) } else { 0 }
        },
    )
}

unsafe extern "C" fn route(
    _: *const c::Host,
    router: *const c::Router,
    node: u32,
    batch: c::View,
    turn: u32,
) -> *mut c::Deliveries {
    // SAFETY: see above.
    let (router, batch) = unsafe { (given::<Router, _>(router, "router"), bytes(batch)) };
    let deliveries = router.and_then(|router| {
        let routed = match node {
            c::FROM_SOURCES => router.route_events(batch.as_slice(), turn),
            node => router.route(node, batch.as_slice(), turn),
        };
        routed.map_err(|cause| invalid(&cause.to_string()))
    });
    boxed(deliveries.map(|all| all.into_iter().map(Some).collect::<Vec<Option<Delivery>>>()))
}

unsafe extern "C" fn router_drop(_: *const c::Host, router: *mut c::Router) {
    // SAFETY: see above.
    unsafe { free::<Router, _>(router) }
}

unsafe extern "C" fn deliveries_count(_: *const c::Host, deliveries: *const c::Deliveries) -> usize {
    // SAFETY: see above.
    unsafe { given::<Vec<Option<Delivery>>, _>(deliveries, "deliveries") }.map_or(0, Vec::len)
}

unsafe extern "C" fn deliveries_take(
    _: *const c::Host,
    deliveries: *mut c::Deliveries,
    index: usize,
    node: *mut u32,
    instance: *mut u32,
    out: *mut c::Owned,
) -> c::Status {
    if node.is_null() || instance.is_null() || out.is_null() {
        return invalid("there is nowhere to put the delivery: a pointer is null");
    }
    // SAFETY: see above.
    let all = match unsafe { given_mut::<Vec<Option<Delivery>>, _>(deliveries, "deliveries") } {
        Ok(all) => all,
        Err(status) => return status,
    };
    let Some(delivery) = all.get_mut(index).and_then(Option::take) else {
        return invalid(&format!("there is no delivery {index}, or it was taken already"));
    };
    // SAFETY: none is null.
    done(unsafe {
        node.write(delivery.node);
        instance.write(delivery.instance);
        give(out, delivery.batch.into())
    })
}

unsafe extern "C" fn deliveries_drop(_: *const c::Host, deliveries: *mut c::Deliveries) {
    // SAFETY: see above.
    unsafe { free::<Vec<Option<Delivery>>, _>(deliveries) }
}

unsafe extern "C" fn progress(host: *const c::Host, phase: *const c_char, detail: *const c_char) {
    // SAFETY: see above.
    let (phase, detail) = unsafe { (words(phase), words(detail)) };
    // Nobody could be told that there is nobody to tell.
    // SAFETY: see above.
    let _ = unsafe {
        ask(host, |_, host| {
            host.progress(phase.as_str().into(), detail.as_str().into());
            Ok(())
        })
    };
}

unsafe extern "C" fn log(host: *const c::Host, level: u8, target: *const c_char, message: *const c_char) {
    // SAFETY: see above.
    let (target, message) = unsafe { (words(target), words(message)) };
    // SAFETY: see above. As in `progress`.
    let _ = unsafe {
        ask(host, |_, host| {
            host.log(level, target.as_str().into(), message.as_str().into());
            Ok(())
        })
    };
}

unsafe extern "C" fn metric(host: *const c::Host, name: *const c_char, json: *const c_char) {
    // SAFETY: see above.
    let (key, value) = unsafe { (words(name), words(json)) };
    // SAFETY: see above.
    if let Ok(state) = unsafe { state(host) } {
        let mut metrics = state.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.push(v1::Pair { key: key.into(), value: value.into() });
    }
}

unsafe extern "C" fn is_cancelled(host: *const c::Host) -> i32 {
    // A run that is over is one to stop for.
    // SAFETY: see above.
    unsafe { ask(host, |_, host| Ok(i32::from(host.is_cancelled()))) }.unwrap_or(1)
}

unsafe extern "C" fn extension(
    host: *const c::Host,
    id: *const c_char,
    request: *const c_char,
    answer: *mut c::Text,
) -> c::Status {
    // SAFETY: see above.
    let (id, request) = unsafe { (words(id), words(request)) };
    // SAFETY: see above.
    let found = unsafe {
        ask(host, |_, host| Ok(host.extension(id.as_str().into(), request.as_str().into()).into_option()))
    };
    match found {
        Ok(Some(text)) => {
            if !answer.is_null() {
                // SAFETY: not null, so a text; its own function knows how to append.
                unsafe { ((*answer).append)(answer, text.as_ptr().cast::<c_char>(), text.len()) }
            }
            c::OK
        }
        Ok(None) => c::END,
        Err(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use bench_plugin_api::testkit::{expected, fake_host_box};

    use super::*;

    const NOTHING: c::Owned = c::Owned { data: ptr::null(), len: 0, token: ptr::null_mut() };

    fn view(bytes: &c::Owned) -> c::View {
        c::View { data: bytes.data, len: bytes.len }
    }

    /// A plugin in C, in Rust: it has nothing but the table.
    struct Plugin {
        host: &'static c::Host,
        router: *mut c::Router,
        operators: Vec<*mut c::Operator>,
    }

    impl Plugin {
        /// # Safety
        /// Like every function here: the table's run is under way.
        unsafe fn new(host: &'static c::Host) -> Self {
            // SAFETY: what is asked for is there.
            unsafe {
                let nodes = (host.node_count)(host);
                let operators = (0..nodes).map(|node| (host.operator_create)(host, node, 0, 1)).collect();
                Self { host, router: (host.router_create)(host, 1), operators }
            }
        }

        unsafe fn run(&self) {
            let host = self.host;
            loop {
                let mut events = NOTHING;
                // SAFETY: the pointers live for the calls, and the events until they are released.
                unsafe {
                    let status = (host.next_events)(host, 7, &raw mut events);
                    if status == c::END {
                        break;
                    }
                    assert_eq!(status, c::OK);
                    self.deliver(c::FROM_SOURCES, view(&events));
                    (host.release)(host, &raw mut events);
                }
            }
            for (node, &operator) in self.operators.iter().enumerate().filter(|(_, it)| !it.is_null()) {
                let mut output = NOTHING;
                // SAFETY: as above.
                unsafe {
                    assert_eq!((host.operator_finish)(host, operator, &raw mut output), c::OK);
                    self.deliver(node as u32, view(&output));
                    (host.release)(host, &raw mut output);
                }
            }
        }

        unsafe fn deliver(&self, node: u32, batch: c::View) {
            let host = self.host;
            // SAFETY: the router is alive, and the batch for the call.
            let deliveries = unsafe { (host.route)(host, self.router, node, batch, 0) };
            // SAFETY: they live until they are dropped below.
            for index in 0..unsafe { (host.deliveries_count)(host, deliveries) } {
                let (mut to, mut instance, mut input, mut output) = (0, 0, NOTHING, NOTHING);
                // SAFETY: the pointers live for the calls, and bytes until they are released.
                unsafe {
                    let (node, instance) = (&raw mut to, &raw mut instance);
                    let taken =
                        (host.deliveries_take)(host, deliveries, index, node, instance, &raw mut input);
                    assert_eq!(taken, c::OK);
                    let operator = self.operators[to as usize];
                    if operator.is_null() {
                        assert_eq!((host.emit)(host, view(&input)), c::OK);
                    } else {
                        let done = (host.operator_process)(host, operator, view(&input), &raw mut output);
                        assert_eq!(done, c::OK);
                        self.deliver(to, view(&output));
                    }
                    (host.release)(host, &raw mut input);
                    (host.release)(host, &raw mut output);
                }
            }
            // SAFETY: nobody uses them any more.
            unsafe { (host.deliveries_drop)(host, deliveries) }
        }

        /// The message of the last failure.
        fn failure(&self) -> String {
            // SAFETY: a C string until the next call in this thread.
            unsafe { words((self.host.last_error)(self.host)) }
        }
    }

    impl Drop for Plugin {
        fn drop(&mut self) {
            // SAFETY: all came from the table, or are null, and are not used again.
            unsafe {
                self.operators.iter().for_each(|&it| (self.host.operator_drop)(self.host, it));
                (self.host.router_drop)(self.host, self.router);
            }
        }
    }

    #[test]
    fn a_plugin_with_nothing_but_the_table_runs_the_graph() {
        let (host, seen) = fake_host_box(20);
        let table = Table::new(host).unwrap();
        // SAFETY: the run lasts until `close`.
        unsafe { Plugin::new(table.raw).run() };
        assert_eq!(table.close().emitted, 20);
        assert_eq!(seen.lock().unwrap().results, expected(20));
    }

    #[test]
    fn what_is_released_or_taken_twice_is_not_freed_twice() {
        let table = Table::new(fake_host_box(1).0).unwrap();
        // SAFETY: the run lasts until `close`.
        let plugin = unsafe { Plugin::new(table.raw) };
        let (host, mut events, mut batch) = (table.raw, NOTHING, NOTHING);
        // SAFETY: the pointers live for the calls.
        unsafe {
            assert_eq!((host.next_events)(host, 1, &raw mut events), c::OK);
            let deliveries = (host.route)(host, plugin.router, c::FROM_SOURCES, view(&events), 0);
            let (mut node, mut instance) = (0, 0);
            let mut take = || {
                let (node, instance) = (&raw mut node, &raw mut instance);
                (host.deliveries_take)(host, deliveries, 0, node, instance, &raw mut batch)
            };
            assert_eq!((take(), take() == c::OK), (c::OK, false));
            assert_eq!(plugin.failure(), "there is no delivery 0, or it was taken already");
            (host.deliveries_drop)(host, deliveries);
            for bytes in [&raw mut batch, &raw mut events, &raw mut events] {
                (host.release)(host, bytes);
            }
        }
        drop(plugin);
        table.close();
    }

    #[test]
    fn null_and_a_run_that_is_over_are_errors() {
        let table = Table::new(fake_host_box(1).0).unwrap();
        let (host, mut out) = (table.raw, NOTHING);
        // SAFETY: null is allowed everywhere; the other pointers live for the calls.
        let plugin = unsafe {
            assert_ne!((host.operator_process)(host, ptr::null_mut(), view(&NOTHING), &raw mut out), c::OK);
            assert_ne!((host.next_events)(host, 1, ptr::null_mut()), c::OK);
            assert!((host.route)(host, ptr::null(), 0, view(&NOTHING), 0).is_null());
            (host.release)(host, ptr::null_mut());
            (host.log)(host, 3, ptr::null(), ptr::null());
            Plugin::new(host)
        };
        table.close();
        // SAFETY: a table outlives its run.
        assert_ne!(unsafe { (host.next_events)(host, 1, &raw mut out) }, c::OK);
        assert_eq!(plugin.failure(), "the run is over: end every thread before run returns");
    }
}
