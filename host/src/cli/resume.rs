//! Campaigns whose plan is kept: begun once, and continued as often as need be.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::find::{check_names, check_options};
use super::output;
use super::run::prepare;
use super::runner::Terminal;
use super::{Exit, PluginArgs, RunArgs, Stopped, places};
use bench_campaign::tree::{Kept, Means, Tree};
use bench_isolate::text::shell_word;
use bench_record::{OutputLock, shell};

/// What the flags say of where a campaign is.
pub struct Root<'a> {
    pub folder: &'a Path,
    /// The run id of the one to continue.
    pub resume: Option<&'a str>,
    pub run: &'a RunArgs,
}

impl Root<'_> {
    /// The campaign to continue, or the one that `begin` makes.
    pub fn open<P: Kept>(&self, begin: impl FnOnce() -> Result<P, Stopped>) -> Result<(Tree, P), Stopped> {
        if let Some(id) = self.resume {
            return self.find(id);
        }
        let refused =
            |flag, other| Err(Stopped::usage(format!("`bench {}` has no {flag}: use {other}", P::NAME)));
        if self.run.backend.is_some() {
            return refused("--backend", "--backends");
        }
        if self.run.output_dir.is_some() {
            return refused("--output-dir", "--output-root");
        }
        self.run.refuse_views_of_one_run()?;
        let plan = begin()?;
        let started = plan.started();
        Ok((Tree::new(self.folder, &started.run_id, &started.config_hash), plan))
    }

    fn find<P: Kept>(&self, id: &str) -> Result<(Tree, P), Stopped> {
        // The id becomes part of a path.
        RunArgs { run_id: Some(id.to_owned()), ..self.run.clone() }.run_id()?;
        let missing = || {
            let text = format!("there is no {} with the run id {id} in {}", P::NAME, self.folder.display());
            let remedy = format!("name the folder of the {} with --output-root", P::NAME);
            Stopped::new(Exit::Usage, text, remedy)
        };
        let tree = Tree::find(self.folder, id)?.ok_or_else(missing)?;
        let plan: P = tree.plan()?;
        if plan.started().run_id != id || plan.hash() != plan.started().config_hash {
            let text = "plan.json does not match its own config_hash: it was changed, or another version of bench wrote it";
            return Err(Stopped::new(Exit::Usage, text, format!("start a new {}", P::NAME)));
        }
        plan.plans().iter().try_for_each(|plan| plan.validate().map_err(Stopped::usage))?;
        if self.run.server.is_given() {
            // Preparing asks whether it is the model that was planned with.
            self.run.server.served(plan.plan())?;
        }
        Ok((tree, plan))
    }

    /// The command that continues a campaign.
    pub fn command<P: Kept>(&self, plan: &P) -> String {
        let (id, root) = (shell::word(&plan.started().run_id), shell_word(self.folder));
        format!("bench {} --resume {id} --output-root {root}", P::NAME)
    }

    fn plugins(&self, means: &Means) -> PluginArgs {
        PluginArgs {
            plugins_dir: means.plugins_dir.clone(),
            no_user_plugins: means.no_user_plugins,
            // Whoever resumes may be stricter than the plan, never laxer.
            only_trusted: means.only_trusted || self.run.plugins.only_trusted,
        }
    }

    /// What would run, unless there is no such backend or its options are wrong.
    pub fn dry_run<P: Kept>(&self, plan: &P, shown: &Value) -> Result<Exit, Stopped> {
        let means = plan.means();
        let plugins = self.plugins(means);
        check_names(&plugins, plan.backends())?;
        check_options(&plugins, plan.backends(), &means.backend_options)?;
        output::json(shown)?;
        Ok(Exit::Ok)
    }

    /// Makes sure that all of it can run, keeps the plan, and keeps others out.
    pub fn ready<P: Kept>(&self, tree: &Tree, plan: &P) -> Result<(Terminal<'static>, OutputLock), Stopped> {
        places::output(self.folder, "--output-root")?;
        if self.resume.is_none() && tree.has_plan() {
            let text = format!("there is a {} with the run id {} already", P::NAME, plan.started().run_id);
            return Err(Stopped::new(Exit::Usage, text, self.command(plan)));
        }
        tree.check(plan.folders(tree).into_iter())?;
        let means = plan.means();
        let (given, verbose) = (&means.backend_options, self.run.verbose);
        let plugins = self.plugins(means);
        let runner = Terminal::ready(&plugins, plan.backends(), given, means.memory_limit, verbose)?;
        let runner = runner.saving_answers(means.save_answers);
        prepare(plan.plan())?;
        tree.begin(plan)?;
        Ok((runner, tree.lock()?))
    }
}

/// What a campaign's runs are done with.
pub fn means(run: &RunArgs) -> Result<Means, Stopped> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Ok(Means {
        memory_limit: Some(run.memory_bytes()),
        backend_options: run.backend_options()?,
        plugins_dir: run.plugins.plugins_dir.iter().map(absolute).collect(),
        no_user_plugins: run.plugins.no_user_plugins,
        only_trusted: run.plugins.only_trusted,
        save_answers: run.save_answers,
        command: command_line(),
    })
}

/// How this process was called, for a log.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| shell::word(&word.to_string_lossy()));
    std::iter::once("bench".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
