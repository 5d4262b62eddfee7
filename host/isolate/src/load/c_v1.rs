//! The C entry: the table of `bench_backend.h`, put behind the trait that the Rust entry uses too.
//!
//! Nothing the plugin hands over is believed: the table's header is checked before any other member
//! is read, members that must be there are, and text that is not UTF-8 is replaced or refused.

mod handles;
mod host;
mod table;
mod text;

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Instant;

use bench_plugin_api::c_v1 as c;
use bench_plugin_api::v1;

use super::LoadedBackend;
use super::image::Image;
use super::library::Library;
use crate::{Error, ErrorKind};
use host::Table;
use text::Text;
pub(super) use text::text_of;

pub(super) struct CV1 {
    name: String,
    api_version: String,
    plugin_version: String,
    functions: Functions,
    instance: *mut c::Instance,
}

// SAFETY: the header lets the host call is_available, run and extension from any thread.
unsafe impl Send for CV1 {}
// SAFETY: as above; `drop` has the object alone.
unsafe impl Sync for CV1 {}

/// The table without what may be absent.
#[derive(Clone, Copy)]
struct Functions {
    is_available: unsafe extern "C-unwind" fn(*mut c::Instance, *mut c::Text, *mut c::Text) -> c::Status,
    run: unsafe extern "C-unwind" fn(
        *mut c::Instance,
        *const c::Spec,
        *const c::Host,
        *mut c::RunResult,
    ) -> c::Status,
    extension: Option<
        unsafe extern "C-unwind" fn(
            *mut c::Instance,
            *const c_char,
            *const c_char,
            *mut c::Text,
        ) -> c::Status,
    >,
    drop: Option<unsafe extern "C-unwind" fn(*mut c::Instance)>,
}

impl CV1 {
    pub(super) fn load(image: &Image, phase: &dyn Fn(&str)) -> Result<Self, Error> {
        phase("load");
        let library = Library::open(image)?;
        // SAFETY: the symbol was found by its name when the file was vetted, and by that name it is
        // this function. What it returns is checked below.
        let entry: Option<c::Entry> = unsafe { library.symbol(c::ENTRY) };
        let entry = entry
            .ok_or_else(|| incompatible(format!("it does not export {}", c::ENTRY), "build it again"))?;
        // SAFETY: the entry takes nothing and returns a static table.
        let table = unsafe { entry() };
        // SAFETY: a table stays readable as long as its library is open, which is for ever.
        let table = unsafe { table::check(table) }?;
        // SAFETY: members of type `const char *` are C strings as long as the library is open.
        let (api_version, name, plugin_version) = unsafe {
            (
                stated(table.api_version, "api_version")?,
                stated(table.name, "name")?,
                stated(table.plugin_version, "plugin_version")?,
            )
        };
        let create = table.create.ok_or_else(|| missing("create"))?;
        let functions = Functions {
            is_available: table.is_available.ok_or_else(|| missing("is_available"))?,
            run: table.run.ok_or_else(|| missing("run"))?,
            extension: table.extension,
            drop: table.drop,
        };
        phase("create");
        let (mut instance, error) = (ptr::null_mut(), Text::default());
        // SAFETY: both pointers live for the call.
        let status = unsafe { create(&raw mut instance, error.out()) };
        if status != c::OK {
            return Err(failed(status, &error.take(), String::new()));
        }
        Ok(Self { name, api_version, plugin_version, functions, instance })
    }
}

impl Drop for CV1 {
    fn drop(&mut self) {
        if let Some(drop) = self.functions.drop {
            // SAFETY: the object came from `create`, and nothing else uses it any more.
            unsafe { drop(self.instance) }
        }
    }
}

impl LoadedBackend for CV1 {
    fn name(&self) -> &str {
        &self.name
    }

    fn api_version(&self) -> &str {
        &self.api_version
    }

    fn plugin_version(&self) -> &str {
        &self.plugin_version
    }

    fn abi(&self) -> &'static str {
        "c/1"
    }

    fn availability(&self) -> v1::Availability {
        let (detail, remedy) = (Text::default(), Text::default());
        // SAFETY: the object is alive and the texts live for the call.
        let status = unsafe { (self.functions.is_available)(self.instance, detail.out(), remedy.out()) };
        v1::Availability {
            available: status == c::OK,
            detail: detail.take().into(),
            remedy: remedy.take().into(),
        }
    }

    fn run(&self, spec: v1::WorkloadSpec, host: v1::HostBox) -> Result<v1::RunResult, Error> {
        let spec = CSpec::new(&spec);
        let table = Table::new(host)?;
        let (error, remedy) = (Text::default(), Text::default());
        let mut result = c::RunResult {
            size: size_of::<c::RunResult>() as u32,
            reserved: 0,
            items_processed: c::NOT_STATED,
            elapsed_seconds: f64::NAN,
            error: error.out(),
            remedy: remedy.out(),
        };
        let started = Instant::now();
        // SAFETY: the object is alive, and everything pointed to lives until the call returns; the
        // host's table lives longer, for threads that a plugin forgot.
        let status =
            unsafe { (self.functions.run)(self.instance, &spec.raw(), table.raw(), &raw mut result) };
        let elapsed = started.elapsed().as_secs_f64();
        let seen = table.close();
        if status != c::OK {
            return Err(failed(status, &error.take(), remedy.take()));
        }
        let stated_time = !result.elapsed_seconds.is_nan();
        let stated_count = result.items_processed != c::NOT_STATED;
        Ok(v1::RunResult {
            backend: self.name.as_str().into(),
            elapsed_seconds: if stated_time { result.elapsed_seconds } else { elapsed },
            items_processed: if stated_count { result.items_processed } else { seen.emitted },
            metrics: seen.metrics.into(),
        })
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        let extension = self.functions.extension?;
        let (id, request, answer) = (c_string(id), c_string(request), Text::default());
        // SAFETY: the object is alive and the strings and the text live for the call.
        let status = unsafe { extension(self.instance, id.as_ptr(), request.as_ptr(), answer.out()) };
        (status == c::OK).then(|| answer.take())
    }
}

/// A spec as C sees it, with everything it points to.
struct CSpec {
    workload: CString,
    scheduler: CString,
    /// What `pairs` points to.
    _strings: Vec<(CString, CString)>,
    pairs: Vec<c::Pair>,
    parallelism: u32,
    total_items: u64,
    batch_size: u32,
    nodes: u32,
}

impl CSpec {
    fn new(spec: &v1::WorkloadSpec) -> Self {
        let number = |key: &str, default: u32| {
            let given = spec.extra.iter().find(|pair| pair.key.as_str() == key);
            given.and_then(|pair| pair.value.parse().ok()).unwrap_or(default).max(1)
        };
        let strings: Vec<(CString, CString)> =
            spec.extra.iter().map(|pair| (c_string(&pair.key), c_string(&pair.value))).collect();
        let pairs =
            strings.iter().map(|(key, value)| c::Pair { key: key.as_ptr(), value: value.as_ptr() }).collect();
        Self {
            workload: c_string(&spec.name),
            scheduler: c_string(&spec.scheduler_name),
            pairs,
            _strings: strings,
            parallelism: spec.parallelism.max(1),
            total_items: spec.total_items,
            batch_size: number("parity_batch_size", 16),
            nodes: number("nodes", 1),
        }
    }

    fn raw(&self) -> c::Spec {
        c::Spec {
            size: size_of::<c::Spec>() as u32,
            parallelism: self.parallelism,
            total_items: self.total_items,
            batch_size: self.batch_size,
            nodes: self.nodes,
            workload: self.workload.as_ptr(),
            scheduler: self.scheduler.as_ptr(),
            extra: self.pairs.as_ptr(),
            extra_count: self.pairs.len(),
        }
    }
}

/// C strings end at their first NUL; ours must not be cut short by one.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

fn incompatible(message: String, remedy: &str) -> Error {
    Error::new(ErrorKind::Incompatible, message, remedy)
}

fn missing(member: &str) -> Error {
    incompatible(
        format!("its table lacks `{member}`"),
        "fill in every member that bench_backend.h does not call optional",
    )
}

/// A string of the table.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn stated(text: *const c_char, member: &str) -> Result<String, Error> {
    if text.is_null() {
        return Err(missing(member));
    }
    // SAFETY: as this function's contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(str::to_owned).map_err(|_| {
        let message = format!("`{member}` in its table is not UTF-8: {}", text.to_string_lossy());
        Error::new(ErrorKind::Invalid, message, "state it in UTF-8")
    })
}

/// What a status other than OK says.
fn failed(status: c::Status, message: &str, remedy: String) -> Error {
    let kind = match u32::try_from(status).unwrap_or(0).saturating_sub(1) {
        _ if status <= 0 => v1::ERROR_RUNTIME,
        kind => kind,
    };
    let message = match message.trim() {
        "" => format!("it returned the status {status} and no message"),
        message => message.to_owned(),
    };
    v1::BackendError { kind, message: message.into(), remedy: remedy.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_the_kind_of_its_name_and_others_are_failures_of_the_runtime() {
        let kinds: Vec<ErrorKind> =
            [1, 2, 3, 4, 5, 6, 7, -1, 100].iter().map(|&s| failed(s, "m", String::new()).kind).collect();
        use ErrorKind::{Cancelled, Invalid, Panic, Runtime, Unavailable, Unsupported};
        let expected =
            [Runtime, Unavailable, Unsupported, Cancelled, Panic, Invalid, Runtime, Runtime, Runtime];
        assert_eq!(kinds, expected);
        assert!(failed(4711, "", String::new()).message.contains("4711"));
    }

    #[test]
    fn a_nul_does_not_cut_a_string_short() {
        assert_eq!(c_string("a\0b").to_str(), Ok("a\u{fffd}b"));
    }

    #[test]
    fn a_string_of_the_table_must_be_text() {
        // SAFETY: both are null or C strings.
        let (absent, bytes) = unsafe { (stated(ptr::null(), "name"), stated(c"caf\xe9".as_ptr(), "name")) };
        assert!(absent.unwrap_err().message.contains("lacks `name`"));
        assert!(bytes.unwrap_err().message.contains("not UTF-8"));
    }
}
