//! Flags about the workload. What flags stand for its parameters is said in the workloads' own tables.

use std::path::PathBuf;

use bench_record::quantity::{count, milliseconds};
use bench_workloads::list::{self, Listed, WORKLOADS};
use bench_workloads::parameters::{About, Flag, Reads, Values};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde_json::Value;

use super::Stopped;

const HEADING: &str = "Workload";

/// Flags that every workload has, and those that stand for parameters.
#[derive(Debug, Clone, Default)]
pub struct WorkloadArgs {
    pub preset: Option<String>,
    pub config: Option<PathBuf>,
    pub sets: Vec<String>,
    /// What was given of the others, by the name of its flag.
    given: Vec<(&'static str, Given)>,
}

#[derive(Debug, Clone)]
enum Given {
    Value(Value),
    Folder(PathBuf),
}

/// Flags that every workload has.
#[derive(Debug, Args)]
struct Own {
    /// Parameter preset
    #[arg(long, value_name = "NAME", help = preset_help(), help_heading = HEADING)]
    preset: Option<String>,
    /// TOML file with any flag of this command, written as rate = 50 or quick = true, and any workload parameter;
    /// flags beat the file
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    config: Option<PathBuf>,
    /// Set one workload parameter (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", help = set_help(), help_heading = HEADING)]
    sets: Vec<String>,
}

fn preset_help() -> String {
    let names: Vec<&str> = list::default().parameters().presets.iter().map(|preset| preset.name).collect();
    format!("Parameter preset: {}", names.join(", "))
}

fn set_help() -> String {
    format!("Set one workload parameter (repeatable): --set {}", list::default().parameters().example)
}

/// The flags of all workloads, each once.
fn flags() -> Vec<&'static Flag> {
    let mut flags: Vec<&'static Flag> = Vec::new();
    for flag in WORKLOADS.iter().flat_map(|workload| workload.parameters().flags) {
        if flags.iter().all(|known| known.name != flag.name) {
            flags.push(flag);
        }
    }
    flags
}

fn id(name: &str) -> String {
    name.replace('-', "_")
}

fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(id(flag.name)).long(flag.name).value_name(flag.value);
    let arg = arg.help(flag.help).help_heading(HEADING).conflicts_with_all(flag.not_with.map(id));
    match flag.reads {
        Reads::Text => arg,
        Reads::Count => arg.value_parser(count::<u32>).allow_hyphen_values(true),
        Reads::Milliseconds => arg.value_parser(milliseconds).allow_hyphen_values(true),
        Reads::Folder => arg.value_parser(value_parser!(PathBuf)),
        Reads::OneOf(values) => arg.value_parser(PossibleValuesParser::new(values)),
    }
}

fn given(flag: &Flag, matches: &ArgMatches) -> Option<Given> {
    let id = &id(flag.name);
    match flag.reads {
        Reads::Text | Reads::OneOf(_) => {
            matches.get_one::<String>(id).map(|text| Given::Value(text.as_str().into()))
        }
        Reads::Count | Reads::Milliseconds => {
            matches.get_one::<u32>(id).map(|number| Given::Value((*number).into()))
        }
        Reads::Folder => matches.get_one::<PathBuf>(id).map(|folder| Given::Folder(folder.clone())),
    }
}

impl FromArgMatches for WorkloadArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Own { preset, config, sets } = Own::from_arg_matches(matches)?;
        let given = flags().into_iter().filter_map(|flag| Some((flag.name, given(flag, matches)?)));
        Ok(Self { preset, config, sets, given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for WorkloadArgs {
    fn augment_args(command: Command) -> Command {
        let about = |about| flags().into_iter().filter(move |flag| flag.about == about).map(arg);
        Own::augment_args(command.args(about(About::Texts))).args(about(About::Services))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl WorkloadArgs {
    /// Sets what flags say that name a folder: their defaults come before what a file says.
    ///
    /// # Errors
    /// When the folder is not there, or the workload has no such flag.
    pub fn set_places(&self, workload: Listed, params: &mut Values) -> Result<(), Stopped> {
        self.given.iter().try_for_each(|(name, given)| match given {
            Given::Value(_) => Ok(()),
            Given::Folder(folder) => {
                let wrong =
                    |cause: &dyn std::fmt::Display| Stopped::usage(format!("{}: {cause}", folder.display()));
                let folder = folder.canonicalize().map_err(|cause| wrong(&cause))?;
                let text = folder.to_str().ok_or_else(|| wrong(&"its name is not UTF-8"))?;
                set(workload, params, name, &text.into())
            }
        })
    }

    /// Sets what the other flags say.
    ///
    /// # Errors
    /// When the workload has no such flag.
    pub fn set_others(&self, workload: Listed, params: &mut Values) -> Result<(), Stopped> {
        self.given.iter().try_for_each(|(name, given)| match given {
            Given::Value(value) => set(workload, params, name, value),
            Given::Folder(_) => Ok(()),
        })
    }
}

fn set(workload: Listed, params: &mut Values, flag: &str, value: &Value) -> Result<(), Stopped> {
    let table = workload.parameters();
    let known = table.flags.iter().find(|known| known.name == flag);
    let known = known.ok_or_else(|| Stopped::usage(format!("workload {workload} has no --{flag}")))?;
    table.set_flag(params, known, value).map_err(Stopped::usage)
}
