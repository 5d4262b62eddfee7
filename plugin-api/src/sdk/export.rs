use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use abi_stable::prefix_type::WithMetadata;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RStr, RString};

use super::{Backend, Error, Finished, Host, OPTIONS, Spec, forward, options_answer};
use crate::v1;

/// Exports a backend from a `cdylib`: by the entry on `abi_stable`, or with the feature `c_entry` of this crate by the
/// C table. `bench` loads both.
///
/// ```no_run
/// use bench_plugin_api::prelude::*;
///
/// #[derive(Default)]
/// struct Smallest;
///
/// impl Backend for Smallest {
///     const NAME: &'static str = "smallest";
///
///     fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
///         let mut pipeline = InlinePipeline::new(host)?;
///         while let Some(events) = host.next_events(spec.batch_size())? {
///             host.emit(&pipeline.process(&events)?)?;
///         }
///         host.emit(&pipeline.finish()?)?;
///         Ok(Finished::default())
///     }
/// }
///
/// export_backend!(Smallest);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        $crate::export_backend!(
            $backend,
            version = env!("CARGO_PKG_VERSION"),
            new = || Ok(<$backend as ::core::default::Default>::default())
        );
    };
    // For a library that learns only when it is loaded which backend it is.
    ($backend:ty, version = $version:expr, new = $new:expr) => {
        $crate::__export_entry!($backend, $version, $new);
    };
}

/// The entry on `abi_stable`.
#[cfg(not(feature = "c_entry"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_entry {
    ($backend:ty, $version:expr, $new:expr) => {
        mod __bench_backend {
            #[allow(unused_imports)]
            use super::*;
            use $crate::__private::abi_stable;

            extern "C" fn new_runner()
            -> abi_stable::std_types::RResult<$crate::v1::RunnerBox, $crate::v1::BackendError> {
                $crate::sdk::runner::<$backend>($new)
            }

            fn root() -> $crate::v1::BackendModuleRef {
                $crate::sdk::module($version, new_runner)
            }

            extern "C" fn erased_root() -> abi_stable::library::RootModuleResult {
                abi_stable::library::__call_root_module_loader(root)
            }

            // What abi_stable's own attribute expands to, without asking every plugin to depend on
            // abi_stable by name. The name is the one abi_stable looks up.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static LIB_HEADER: abi_stable::library::LibHeader = {
                // SAFETY: the constructor returns the root module whose layout is given here.
                unsafe {
                    abi_stable::library::LibHeader::from_constructor::<$crate::v1::BackendModuleRef>(
                        erased_root,
                        abi_stable::library::CheckTypeLayout::Yes,
                    )
                }
            };
        }
    };
}

/// The same backend behind the C table.
#[cfg(feature = "c_entry")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_entry {
    ($backend:ty, $version:expr, $new:expr) => {
        mod __bench_backend {
            #[allow(unused_imports)]
            use super::*;
            use $crate::{c_v1, sdk::c_entry};

            unsafe extern "C-unwind" fn create(
                instance: *mut *mut c_v1::Instance,
                error: *mut c_v1::Text,
            ) -> c_v1::Status {
                // SAFETY: the host calls it with what the table's `create` is called with.
                unsafe { c_entry::create::<$backend>($new, instance, error) }
            }

            #[unsafe(no_mangle)]
            pub extern "C-unwind" fn bench_backend_entry_v1() -> *const c_v1::Backend {
                static TABLE: ::std::sync::OnceLock<c_entry::Table> = ::std::sync::OnceLock::new();
                TABLE.get_or_init(|| c_entry::Table::new::<$backend>($version, $new, create)).raw()
            }
        }
    };
}

/// The root module of a plugin; called by [`export_backend!`](crate::export_backend).
pub fn module(
    plugin_version: &'static str,
    new_runner: extern "C" fn() -> RResult<v1::RunnerBox, v1::BackendError>,
) -> v1::BackendModuleRef {
    let module = v1::BackendModule {
        api_version: RStr::from_str(crate::API_VERSION),
        plugin_version: RStr::from_str(plugin_version),
        new_runner,
    };
    // One module per library for the life of the process: leaking it is what 'static means here.
    let module: &'static WithMetadata<v1::BackendModule> = Box::leak(Box::new(WithMetadata::new(module)));
    v1::BackendModuleRef(module.static_as_prefix())
}

/// Creates the backend with panics contained; called by [`export_backend!`](crate::export_backend).
pub fn runner<B: Backend>(
    new: impl FnOnce() -> Result<B, Error>,
) -> RResult<v1::RunnerBox, v1::BackendError> {
    match contained(new) {
        Ok(backend) => RResult::ROk(v1::WorkloadRunner_TO::from_value(Contained(backend), TD_Opaque)),
        Err(error) => RResult::RErr(error.into()),
    }
}

/// How the account of an `is_available` that panicked begins.
pub const IS_AVAILABLE_FAILED: &str = "is_available failed: ";

/// A backend whose every method catches panics: one that crossed the ABI would abort.
struct Contained<B>(B);

pub(super) fn contained<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // The closure's captures are not used again after a panic except through the host's own,
    // poison-tolerant objects.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(Error::from_panic(&*payload)))
}

impl<B: Backend> v1::WorkloadRunner for Contained<B> {
    fn backend_name(&self) -> RString {
        self.0.name().into()
    }

    fn is_available(&self) -> v1::Availability {
        match contained(|| Ok(self.0.is_available())) {
            Ok(answer) => answer.into(),
            Err(error) => v1::Availability {
                available: false,
                detail: format!("{IS_AVAILABLE_FAILED}{error}").into(),
                remedy: "report this to the plugin's author".into(),
            },
        }
    }

    fn run(&self, spec: v1::WorkloadSpec, host: v1::HostBox) -> RResult<v1::RunResult, v1::BackendError> {
        let host = Host::new(host);
        let _forwarding = forward::to(&host);
        let started = Instant::now();
        let result = contained(|| self.0.run(&Spec::from(spec), &host));
        match result {
            Ok(Finished { metrics }) => RResult::ROk(v1::RunResult {
                backend: self.0.name().into(),
                elapsed_seconds: started.elapsed().as_secs_f64(),
                items_processed: host.emitted(),
                metrics: metrics
                    .into_iter()
                    .map(|(key, value)| v1::Pair { key: key.into(), value: value.to_string().into() })
                    .collect(),
            }),
            Err(error) => RResult::RErr(error.into()),
        }
    }

    fn extension(&self, id: RStr<'_>, request: RStr<'_>) -> ROption<RString> {
        let answer = || match self.0.extension(id.as_str(), request.as_str()) {
            None if id.as_str() == OPTIONS => self.0.options().map(options_answer),
            answer => answer,
        };
        contained(|| Ok(answer())).ok().flatten().map(RString::from).into()
    }
}
