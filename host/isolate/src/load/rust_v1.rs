//! The Rust entry: `bench_plugin_api::v1` through `abi_stable`. What knows `abi_stable`'s
//! layout checks is in this file.
//!
//! It takes the header from the library by its symbol and calls `check_layout`; it does not use the `load_from_*`
//! functions, which remember the first library per type for the life of the process, nor any other that opens a
//! library: those bind lazily.

use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError, ROOT_MODULE_LOADER_NAME, RootModuleError};
use abi_stable::std_types::RString;
use bench_plugin_api::v1;

use super::LoadedBackend;
use super::image::Image;
use super::library::Library;
use crate::{Error, ErrorKind};

pub(super) struct RustV1 {
    name: String,
    api_version: String,
    plugin_version: String,
    runner: v1::RunnerBox,
}

impl RustV1 {
    pub(super) fn load(image: &Image, phase: &dyn Fn(&str)) -> Result<Self, Error> {
        phase("load");
        let header = header(&Library::open(image)?)?;
        if header.layout().is_none() {
            return Err(Error::new(
                ErrorKind::Incompatible,
                "it was exported without its type layout, so that nothing vouches for its ABI",
                "export it with `bench_plugin_api::export_backend!`",
            ));
        }
        // Not `init_root_module`, which compares the versions of packages before it looks at a type.
        let module = header.check_layout::<v1::BackendModuleRef>().map_err(|error| explain(&error))?;
        let api_version = module.api_version().as_str().to_owned();
        phase("create");
        let runner = (module.new_runner())().into_result().map_err(Error::from)?;
        phase("backend_name");
        let name = runner.backend_name().into_string();
        Ok(Self { name, api_version, plugin_version: module.plugin_version().as_str().to_owned(), runner })
    }
}

impl LoadedBackend for RustV1 {
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
        "rust/1"
    }

    fn availability(&self) -> v1::Availability {
        self.runner.is_available()
    }

    fn run(&self, spec: v1::WorkloadSpec, host: v1::HostBox) -> Result<v1::RunResult, Error> {
        self.runner.run(spec, host).into_result().map_err(Error::from)
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        self.runner.extension(id.into(), request.into()).into_option().map(RString::into_string)
    }
}

/// What describes the root module, if it is of an `abi_stable` that speaks as ours.
fn header(library: &Library) -> Result<&'static LibHeader, Error> {
    // SAFETY: under this name lies the header; its own first bytes say whether they are one, which `upgrade` checks.
    // The library stays open for ever.
    let found: Option<AbiHeaderRef> = unsafe { library.symbol(ROOT_MODULE_LOADER_NAME) };
    let found = found.ok_or_else(|| {
        let remedy = "export it with `bench_plugin_api::export_backend!`";
        Error::new(ErrorKind::Incompatible, "it exports no root module", remedy)
    })?;
    found.upgrade().map_err(|error| explain(&error))
}

/// One sentence out of an error that `abi_stable` prints over 20 kB.
fn explain(error: &LibraryError) -> Error {
    let same = "rebuild the plugin with the bench-plugin-api and Rust version that this host documents";
    let incompatible = |message: String, remedy: &str| Error::new(ErrorKind::Incompatible, message, remedy);
    match error {
        LibraryError::RootModule { err: RootModuleError::Unwound, .. } => Error::new(
            ErrorKind::Panic,
            "it panicked while creating its root module",
            "report this to the plugin's author",
        ),
        LibraryError::InvalidAbiHeader(found) => incompatible(
            format!("it uses abi_stable ABI {}.{}, not this host's", found.abi_major, found.abi_minor),
            same,
        ),
        LibraryError::AbiInstability(_) => incompatible(
            format!("its types are laid out differently: {}", last_cause(&error.to_string())),
            same,
        ),
        other => incompatible(last_cause(&other.to_string()), same),
    }
}

/// The last complaint of an `abi_stable` layout report, which goes from the outermost type to the
/// field that differs. Each complaint ends with `Error:…`, `Expected:` and `Found:`, and is preceded
/// by the fields that lead to it.
fn last_cause(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rposition(|line| line.starts_with("Error:")).unwrap_or(0);
    let inside = lines[..error].iter().rposition(|line| line.ends_with("error(s)inside:")).unwrap_or(error);
    let way = lines[inside..error].iter().take_while(|line| !line.starts_with("Layout of"));
    let way = way.filter_map(|line| line.strip_prefix("field_name:")).filter(|name| *name != "0");
    let way: Vec<&str> = way.map(|name| name.trim_start_matches('_')).collect();
    let what = lines[error..].join(" ");
    let what = what.trim_start_matches("Error:");
    let what = what.replace(" Expected:", ", expected").replace(" Found:", ", found");
    if way.is_empty() { what } else { format!("{} in `{}`", what, way.join(".")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_report_the_last_complaint_remains_with_the_way_to_it() {
        let report = "Compared <this>:\n type:A\n\n2 error(s)inside:\n field_name:0\nLayout of expected type:\n\
            field_name:other\nError:incompatible type size\nExpected:\n 40\nFound:\n 32\n\
            1 error(s)inside:\n <other>\n field_name:0\n field_name:new_runner\n field_name:__returns\n\
            Layout of expected type:\n field_name:x\nError:mismatched type\nExpected:\n RResult\nFound:\n u32\n\n";
        assert_eq!(
            last_cause(report),
            "mismatched type, expected RResult, found u32 in `new_runner.returns`"
        );
        assert_eq!(last_cause("something\nelse"), "something else");
        assert_eq!(last_cause(""), "");
    }
}
