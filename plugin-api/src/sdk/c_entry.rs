//! A backend in Rust behind the C table: what [`export_backend!`](crate::export_backend) makes with the feature
//! `c_entry`.
//!
//! It is the way out should `abi_stable` stop building one day, and the proof that the table carries all that the trait
//! does. Everything above it, the trait and the host's side, is the same as behind the other entry.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};

use super::{Backend, Error, runner};
use crate::{c_v1 as c, v1};

/// The table of a library, for as long as it is loaded.
pub struct Table {
    raw: c::Backend,
    /// What the table points to.
    _strings: [CString; 3],
}

// SAFETY: nothing in it ever changes.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// The table of backend `B`. `new` makes one, only to ask for its name.
    pub fn new<B: Backend>(
        plugin_version: &str,
        new: impl FnOnce() -> Result<B, Error>,
        create: unsafe extern "C-unwind" fn(*mut *mut c::Instance, *mut c::Text) -> c::Status,
    ) -> Self {
        let made = super::export::contained(new);
        let name = made.as_ref().map_or(B::NAME, B::name);
        let strings = [crate::API_VERSION, name, plugin_version].map(c_string);
        let [api_version, name, plugin_version] = [0, 1, 2].map(|place: usize| strings[place].as_ptr());
        let raw = c::Backend {
            magic: c::MAGIC,
            abi: c::ABI,
            size: size_of::<c::Backend>() as u32,
            pointer_bits: usize::BITS,
            reserved: 0,
            api_version,
            name,
            plugin_version,
            create: Some(create),
            is_available: Some(is_available),
            run: Some(run),
            extension: Some(extension),
            drop: Some(drop_instance),
        };
        Self { raw, _strings: strings }
    }

    /// What the entry function returns.
    pub fn raw(&self) -> *const c::Backend {
        &raw const self.raw
    }
}

/// Makes a backend with panics contained.
///
/// # Safety
/// `instance` and `error` are those of `bench_backend_v1.create`.
pub unsafe fn create<B: Backend>(
    new: impl FnOnce() -> Result<B, Error>,
    instance: *mut *mut c::Instance,
    error: *mut c::Text,
) -> c::Status {
    match runner(new) {
        RResult::ROk(runner) => {
            // SAFETY: the host gives a place for it.
            unsafe { *instance = Box::into_raw(Box::new(runner)).cast() };
            c::OK
        }
        // SAFETY: the text is the host's, and lives for the call.
        RResult::RErr(failed) => unsafe { told(&failed, error, std::ptr::null_mut()) },
    }
}

unsafe extern "C-unwind" fn drop_instance(instance: *mut c::Instance) {
    // SAFETY: it came from `create`, and nothing else uses it any more.
    drop(unsafe { Box::from_raw(instance.cast::<v1::RunnerBox>()) });
}

/// # Safety
/// `instance` came from `create` and was not dropped.
unsafe fn backend<'a>(instance: *mut c::Instance) -> &'a v1::RunnerBox {
    // SAFETY: as this function's contract.
    unsafe { &*instance.cast::<v1::RunnerBox>() }
}

unsafe extern "C-unwind" fn is_available(
    instance: *mut c::Instance,
    detail: *mut c::Text,
    remedy: *mut c::Text,
) -> c::Status {
    // SAFETY: the object is alive, and the texts live for the call.
    unsafe {
        let answer = backend(instance).is_available();
        say(detail, &answer.detail);
        say(remedy, &answer.remedy);
        if answer.available { c::OK } else { status(v1::ERROR_UNAVAILABLE) }
    }
}

unsafe extern "C-unwind" fn run(
    instance: *mut c::Instance,
    spec: *const c::Spec,
    host: *const c::Host,
    result: *mut c::RunResult,
) -> c::Status {
    // SAFETY: the object is alive, and everything pointed to lives until this function returns.
    unsafe {
        let object = v1::Host_TO::from_value(Host(Arc::new(HostTable(host))), TD_Opaque);
        match backend(instance).run(spec_of(&*spec), object) {
            RResult::ROk(run) => {
                for fact in &run.metrics {
                    ((*host).metric)(host, c_string(&fact.key).as_ptr(), c_string(&fact.value).as_ptr());
                }
                (*result).items_processed = run.items_processed;
                (*result).elapsed_seconds = run.elapsed_seconds;
                c::OK
            }
            RResult::RErr(failed) => told(&failed, (*result).error, (*result).remedy),
        }
    }
}

unsafe extern "C-unwind" fn extension(
    instance: *mut c::Instance,
    id: *const c_char,
    request: *const c_char,
    answer: *mut c::Text,
) -> c::Status {
    // SAFETY: the object is alive, and the strings and the text live for the call.
    unsafe {
        match backend(instance).extension(text(id).as_str().into(), text(request).as_str().into()) {
            ROption::RSome(said) => {
                say(answer, &said);
                c::OK
            }
            ROption::RNone => c::END,
        }
    }
}

/// Writes down why something failed.
///
/// # Safety
/// The texts are null or live for the call.
unsafe fn told(failed: &v1::BackendError, error: *mut c::Text, remedy: *mut c::Text) -> c::Status {
    // SAFETY: as this function's contract.
    unsafe {
        say(error, &failed.message);
        say(remedy, &failed.remedy);
    }
    status(failed.kind)
}

fn status(kind: u32) -> c::Status {
    kind as c::Status + 1
}

/// The error that a status of the host stands for, with its message.
fn failed(kind: c::Status, message: String) -> v1::BackendError {
    let kind = u32::try_from(kind).unwrap_or(0).saturating_sub(1);
    v1::BackendError { kind, message: message.into(), remedy: RString::new() }
}

/// # Safety
/// `to` is null or lives for the call.
unsafe fn say(to: *mut c::Text, what: &str) {
    if !to.is_null() {
        // SAFETY: as this function's contract; the text copies at once.
        unsafe { ((*to).append)(to, what.as_ptr().cast(), what.len()) }
    }
}

/// # Safety
/// `string` is null or a C string.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: as this function's contract.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// C strings end at their first NUL; ours must not be cut short by one.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// # Safety
/// What `spec` points to is alive.
unsafe fn spec_of(spec: &c::Spec) -> v1::WorkloadSpec {
    // SAFETY: as this function's contract. A list of none may be null.
    let pairs = match spec.extra_count {
        0 => &[],
        count => unsafe { std::slice::from_raw_parts(spec.extra, count) },
    };
    // SAFETY: as this function's contract.
    let words = |string| RString::from(unsafe { text(string) });
    let extra = pairs.iter().map(|pair| v1::Pair { key: words(pair.key), value: words(pair.value) });
    v1::WorkloadSpec {
        name: words(spec.workload),
        total_items: spec.total_items,
        parallelism: spec.parallelism,
        scheduler_name: words(spec.scheduler),
        extra: extra.collect(),
    }
}

/// The host's table. It lives longer than the run, for threads that a plugin forgot.
struct HostTable(*const c::Host);

// SAFETY: its functions may be called from any number of threads.
unsafe impl Send for HostTable {}
// SAFETY: as above.
unsafe impl Sync for HostTable {}

impl HostTable {
    fn table(&self) -> &c::Host {
        // SAFETY: it outlives this object.
        unsafe { &*self.0 }
    }

    /// The host's message of the last failure in this thread, as an error.
    fn failed(&self, status: c::Status) -> v1::BackendError {
        // SAFETY: the string is valid until the next call in this thread.
        failed(status, unsafe { text((self.table().last_error)(self.0)) })
    }

    /// What a call wrote into bytes of the host's, which are given back.
    fn bytes(
        &self,
        call: impl FnOnce(*mut c::Owned) -> c::Status,
    ) -> Result<Option<RVec<u8>>, v1::BackendError> {
        let mut bytes = c::Owned { data: std::ptr::null(), len: 0, token: std::ptr::null_mut() };
        match call(&raw mut bytes) {
            c::OK => {
                // SAFETY: the bytes are ours until they are released, and none may be null.
                let copied = match bytes.len {
                    0 => RVec::new(),
                    len => unsafe { std::slice::from_raw_parts(bytes.data, len) }.to_vec().into(),
                };
                // SAFETY: released once.
                unsafe { (self.table().release)(self.0, &raw mut bytes) };
                Ok(Some(copied))
            }
            c::END => Ok(None),
            status => Err(self.failed(status)),
        }
    }
}

fn view(batch: RSlice<'_, u8>) -> c::View {
    c::View { data: batch.as_ptr(), len: batch.len() }
}

struct Host(Arc<HostTable>);

impl v1::Host for Host {
    fn graph(&self) -> RString {
        // SAFETY: the text is valid until run returns, and copied now.
        unsafe { text((self.0.table().graph_json)(self.0.0)) }.into()
    }

    fn operator(&self, node: u32, instance: u32, of: u32) -> RResult<v1::OperatorBox, v1::BackendError> {
        // SAFETY: the table is alive.
        let made = unsafe { (self.0.table().operator_create)(self.0.0, node, instance, of) };
        if made.is_null() {
            return RResult::RErr(self.0.failed(status(v1::ERROR_INVALID)));
        }
        RResult::ROk(v1::Operator_TO::from_value(Operator { host: Arc::clone(&self.0), made }, TD_Opaque))
    }

    fn next_events(&self, max_items: u32) -> RResult<ROption<RVec<u8>>, v1::BackendError> {
        // SAFETY: the table is alive, and the place for the bytes lives for the call.
        let read = |bytes| unsafe { (self.0.table().next_events)(self.0.0, max_items, bytes) };
        self.0.bytes(read).map(ROption::from).into()
    }

    fn emit(&self, batch: RSlice<'_, u8>) -> RResult<(), v1::BackendError> {
        // SAFETY: the table is alive, and the batch lives for the call.
        match unsafe { (self.0.table().emit)(self.0.0, view(batch)) } {
            c::OK => RResult::ROk(()),
            status => RResult::RErr(self.0.failed(status)),
        }
    }

    fn progress(&self, phase: RStr<'_>, detail: RStr<'_>) {
        let (phase, detail) = (c_string(&phase), c_string(&detail));
        // SAFETY: the strings live for the call.
        unsafe { (self.0.table().progress)(self.0.0, phase.as_ptr(), detail.as_ptr()) }
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>) {
        let (target, message) = (c_string(&target), c_string(&message));
        // SAFETY: the strings live for the call.
        unsafe { (self.0.table().log)(self.0.0, level, target.as_ptr(), message.as_ptr()) }
    }

    fn is_cancelled(&self) -> bool {
        // SAFETY: the table is alive.
        unsafe { (self.0.table().is_cancelled)(self.0.0) != 0 }
    }

    fn extension(&self, id: RStr<'_>, request: RStr<'_>) -> ROption<RString> {
        unsafe extern "C" fn append(to: *mut c::Text, data: *const c_char, len: usize) {
            // SAFETY: the context is the buffer below, and the host gives `len` bytes.
            unsafe {
                let (buffer, data) = ((*to).context.cast::<Vec<u8>>(), data.cast::<u8>());
                (*buffer).extend_from_slice(std::slice::from_raw_parts(data, len));
            }
        }
        let (id, request, mut buffer) = (c_string(&id), c_string(&request), Vec::<u8>::new());
        let mut answer = c::Text { context: (&raw mut buffer).cast::<c_void>(), append };
        // SAFETY: the strings, the text and its buffer live for the call.
        let status =
            unsafe { (self.0.table().extension)(self.0.0, id.as_ptr(), request.as_ptr(), &raw mut answer) };
        let said = || RString::from(String::from_utf8_lossy(&buffer).into_owned());
        (status == c::OK).then(said).into()
    }
}

struct Operator {
    host: Arc<HostTable>,
    made: *mut c::Operator,
}

// SAFETY: an operator is used by one thread at a time, whichever.
unsafe impl Send for Operator {}

impl Operator {
    fn flow(&self, call: impl FnOnce(*mut c::Owned) -> c::Status) -> RResult<RVec<u8>, v1::BackendError> {
        self.host.bytes(call).map(Option::unwrap_or_default).into()
    }
}

impl v1::Operator for Operator {
    fn process(&mut self, batch: RSlice<'_, u8>) -> RResult<RVec<u8>, v1::BackendError> {
        let host = &self.host;
        // SAFETY: the operator is ours, and the batch and the place for the output live for the call.
        self.flow(|out| unsafe { (host.table().operator_process)(host.0, self.made, view(batch), out) })
    }

    fn finish(&mut self) -> RResult<RVec<u8>, v1::BackendError> {
        let host = &self.host;
        // SAFETY: the operator is ours, and the place for the output lives for the call.
        self.flow(|out| unsafe { (host.table().operator_finish)(host.0, self.made, out) })
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // SAFETY: it came from `operator_create`, and is dropped once.
        unsafe { (self.host.table().operator_drop)(self.host.0, self.made) }
    }
}
