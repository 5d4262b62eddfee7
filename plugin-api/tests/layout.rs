//! `v1` is frozen: its layout, as abi_stable compares it between host and plugin, is kept as text, and
//! any difference fails. Every type that crosses the boundary is walked, with every method of every
//! trait object, so that a method moved, renamed or given another parameter shows too.

use std::collections::HashSet;
use std::fmt::Write as _;

use abi_stable::StableAbi;
use abi_stable::std_types::utypeid::UTypeId;
use abi_stable::type_layout::TypeLayout;
use bench_plugin_api::v1;

const GOLDEN: &str = include_str!("v1.layout");

/// A plugin that was built once loads for as long as `v1` is spoken, and `abi_stable` refuses types whose package has
/// another minor version before 1.0, or another major one after it.
#[test]
fn the_version_stays_within_what_abi_stable_takes_for_the_same_types() {
    assert!(
        bench_plugin_api::API_VERSION.starts_with("0.1."),
        "plugins that were built before would be refused"
    );
}

#[derive(Default)]
struct Walk {
    seen: HashSet<UTypeId>,
    text: String,
}

impl Walk {
    fn see(&mut self, layout: &'static TypeLayout) {
        let name = layout.full_type().to_string();
        // A type of ours is told with its fields; one of a library by its size alone.
        let ours = &*layout.package() == "bench-plugin-api";
        if !self.seen.insert(layout.get_utypeid()) {
            return;
        }
        let _ = writeln!(self.text, "{name}: size {}, alignment {}", layout.size(), layout.alignment());
        let fields = layout.get_fields().map(|fields| fields.to_vec()).unwrap_or_default();
        let fields: Vec<_> = fields.into_iter().chain(layout.phantom_fields().to_vec()).collect();
        if ours {
            for field in &fields {
                let _ = writeln!(self.text, "    {}: {}", field.name(), field.full_type());
                for function in field.function_range().iter() {
                    let _ = writeln!(self.text, "        {function}");
                }
            }
        }
        for field in &fields {
            self.see(field.layout());
            for function in field.function_range().iter() {
                if let Some(returned) = function.return_type_layout() {
                    self.see(returned());
                }
            }
        }
    }
}

fn layout() -> String {
    let mut walk = Walk::default();
    for root in [
        <v1::BackendModuleRef as StableAbi>::LAYOUT,
        <v1::RunnerBox as StableAbi>::LAYOUT,
        <v1::HostBox as StableAbi>::LAYOUT,
        <v1::OperatorBox as StableAbi>::LAYOUT,
        <v1::WorkloadSpec as StableAbi>::LAYOUT,
        <v1::RunResult as StableAbi>::LAYOUT,
        <v1::Availability as StableAbi>::LAYOUT,
        <v1::BackendError as StableAbi>::LAYOUT,
    ] {
        walk.see(root);
    }
    walk.text
}

#[test]
#[cfg(target_pointer_width = "64")]
fn v1_is_laid_out_as_it_always_was() {
    let now = layout();
    if now != GOLDEN {
        let differs = now.lines().zip(GOLDEN.lines()).find(|(now, golden)| now != golden);
        let path = std::env::temp_dir().join("v1.layout");
        std::fs::write(&path, &now).unwrap();
        panic!(
            "the layout of v1 changed, first at {differs:?}. v1 is frozen: add an extension or a v2 (docs/decisions.md). \
             What it is now: {}",
            path.display()
        );
    }
}

#[test]
fn the_walk_reaches_every_method() {
    for method in [
        "backend_name",
        "is_available",
        "extension",
        "graph",
        "operator",
        "next_events",
        "emit",
        "progress",
        "log",
        "is_cancelled",
        "process",
        "finish",
        "new_runner",
    ] {
        assert!(GOLDEN.contains(method), "{method}");
    }
}

#[test]
fn constants_that_cross_the_boundary_stay() {
    let kinds = [
        v1::ERROR_RUNTIME,
        v1::ERROR_UNAVAILABLE,
        v1::ERROR_UNSUPPORTED,
        v1::ERROR_CANCELLED,
        v1::ERROR_PANIC,
        v1::ERROR_INVALID,
    ];
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5]);
}
