//! What it takes to do a run again from its record.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench_campaign::again::{Subject, records};
use bench_isolate::options::Given;
use bench_measure::machine::default_memory_limit;
use bench_measure::plan::{Plan, Unrepeatable, default_cache_dir};
use bench_record::Record;
use bench_record::quantity::duration;
use clap::Args;

use super::plan::{mebibytes, set_parameter};
use super::run::prepare;
use super::runner::Terminal;
use super::{Exit, PluginArgs, Stopped};

/// Flags of commands that repeat runs.
#[derive(Debug, Clone, Args)]
pub struct AgainArgs {
    /// Say what no record holds of its workload (repeatable): corpus=DIR
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Runs")]
    sets: Vec<String>,
    /// End each run after this time: seconds, or with units as in 90s, 1m30s, 2h
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true, help_heading = "Runs")]
    timeout: Option<Duration>,
    /// Most private memory of each process of a run, in MiB [default: three quarters of the machine's]
    #[arg(long, value_name = "MIB", value_parser = mebibytes, allow_hyphen_values = true, help_heading = "Runs")]
    memory_limit: Option<u64>,
    /// Where prepared indexes are kept [default: the user's cache directory]
    #[arg(long, value_name = "DIR", env = "BENCH_CACHE_DIR", help_heading = "Runs")]
    cache_dir: Option<PathBuf>,
    /// Show phases and the backend's log
    #[arg(short, long, help_heading = "Runs")]
    verbose: bool,
    #[command(flatten)]
    pub plugins: PluginArgs,
}

impl AgainArgs {
    /// What was run below `path`, each ready to run again on its own backend.
    ///
    /// # Errors
    /// When a record does not say what was run, or its backend is not ready.
    pub fn subjects(
        &self,
        path: &Path,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Vec<(Subject, Terminal<'static>)>, Stopped> {
        let records = records(path)?.into_iter().filter(|record| wanted(record));
        records.map(|record| self.subject(record)).collect()
    }

    fn subject(&self, record: Record) -> Result<(Subject, Terminal<'static>), Stopped> {
        let cache_dir = std::path::absolute(self.cache_dir.clone().unwrap_or_else(default_cache_dir))
            .map_err(|cause| Stopped::usage(format!("--cache-dir: {cause}")))?;
        let whose = format!("the run {} of '{}' cannot be repeated", record.run_id, record.backend);
        let mut plan = Plan::of_record(&record, &cache_dir, |workload, params| {
            self.sets.iter().try_for_each(|set| set_parameter(workload.parameters(), params, set))
        })
        .map_err(|stopped: Stopped| Stopped {
            message: format!("{whose}: {}", stopped.message),
            ..stopped
        })?;
        plan.timeout = self.timeout;
        let given: Given = record.evidence().backend_options.into_iter().collect();
        let memory = self.memory_limit.map_or_else(default_memory_limit, |mib| mib << 20);
        let backend = record.backend.clone();
        let runner = Terminal::ready(&self.plugins, [&*backend], &given, Some(memory), self.verbose)?;
        prepare(&plan)?;
        Ok((Subject { backend, plan, record }, runner))
    }
}

impl From<Unrepeatable> for Stopped {
    fn from(error: Unrepeatable) -> Self {
        Self::new(Exit::Usage, &error, error.remedy())
    }
}
