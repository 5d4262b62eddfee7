//! A plugin of the day on which `v1` was frozen. It calls every method of the host once and emits
//! nothing, so that a run ends in the host's own complaint about missing answers, and not before.

#[allow(dead_code, reason = "a copy of the whole module")]
mod v1;

use abi_stable::prefix_type::WithMetadata;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};

struct Old;

impl v1::WorkloadRunner for Old {
    fn backend_name(&self) -> RString {
        "old_api".into()
    }

    fn is_available(&self) -> v1::Availability {
        v1::Availability { available: true, detail: "from back then".into(), remedy: RString::new() }
    }

    fn run(&self, spec: v1::WorkloadSpec, host: v1::HostBox) -> RResult<v1::RunResult, v1::BackendError> {
        let mut metrics: RVec<v1::Pair> = RVec::new();
        let mut note = |key: &str, value: String| metrics.push(v1::Pair { key: key.into(), value: value.into() });
        note("graph", host.graph().len().to_string());
        host.progress("steady".into(), "all of it".into());
        host.log(3, "old_api".into(), "a line from back then".into());
        // Node 2 is the first operator of every graph so far; node 0 is none.
        let refused = host.operator(0, 0, 1).is_err();
        note("refused", refused.to_string());
        let mut operator = match host.operator(2, 0, 1) {
            RResult::ROk(operator) => operator,
            RResult::RErr(error) => return RResult::RErr(error),
        };
        let mut bytes = 0;
        loop {
            match host.next_events(4) {
                RResult::ROk(ROption::RSome(events)) => bytes += events.len(),
                RResult::ROk(ROption::RNone) => break,
                RResult::RErr(error) => return RResult::RErr(error),
            }
            if bytes > 0 {
                break;
            }
        }
        note("bytes", bytes.to_string());
        let processed = operator.process(RSlice::from_slice(&[])).is_ok();
        let finished = operator.finish().is_ok();
        note("operator", (processed && finished).to_string());
        note("emitted", host.emit(RSlice::from_slice(&[])).is_ok().to_string());
        note("cancelled", host.is_cancelled().to_string());
        let known = host.extension("bench.draining/1".into(), "{}".into()).is_some();
        note("extension", known.to_string());
        RResult::ROk(v1::RunResult {
            backend: "old_api".into(),
            elapsed_seconds: 0.0,
            items_processed: u64::from(spec.total_items == 0),
            metrics,
        })
    }

    fn extension(&self, _: RStr<'_>, _: RStr<'_>) -> ROption<RString> {
        ROption::RNone
    }
}

extern "C" fn new_runner() -> RResult<v1::RunnerBox, v1::BackendError> {
    RResult::ROk(v1::WorkloadRunner_TO::from_value(Old, TD_Opaque))
}

const MODULE: &WithMetadata<v1::BackendModule> = &WithMetadata::new(v1::BackendModule {
    api_version: RStr::from_str("0.1.0"),
    plugin_version: RStr::from_str("0.1.0"),
    new_runner,
});

#[abi_stable::export_root_module]
pub fn root() -> v1::BackendModuleRef {
    v1::BackendModuleRef(MODULE.static_as_prefix())
}
