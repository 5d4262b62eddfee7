//! A plugin whose root module is another type: its layout must be refused, in one sentence.

#![allow(non_local_definitions)]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::prefix_type::WithMetadata;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::RStr;

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = BackendModuleRef, prefix_fields = BackendModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct BackendModule {
    pub api_version: RStr<'static>,
    pub plugin_version: u64,
    #[sabi(last_prefix_field)]
    pub new_runner: extern "C" fn() -> u32,
}

impl RootModule for BackendModuleRef {
    abi_stable::declare_root_module_statics! {BackendModuleRef}
    const BASE_NAME: &'static str = "backend";
    const NAME: &'static str = "backend";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

extern "C" fn new_runner() -> u32 {
    0
}

const MODULE: &WithMetadata<BackendModule> =
    &WithMetadata::new(BackendModule { api_version: RStr::from_str("0.1.0"), plugin_version: 1, new_runner });

#[abi_stable::export_root_module]
pub fn root() -> BackendModuleRef {
    BackendModuleRef(MODULE.static_as_prefix())
}
