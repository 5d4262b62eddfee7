//! `bench backends`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::find::{go_on, survey, unknown_backend};
use super::output::{json, say};
use super::plan::mebibytes;
use super::screen::{self, Spinner};
use super::trust::{TrustChange, change_trust, untrust};
use super::{Exit, PluginArgs, STOP, Stopped, places};
use bench_isolate::describe::{DEFAULT_TIMEOUT, Listing, Status, list};
use bench_isolate::install::{InstallError, Requirements, install, uninstall, venvs_dir};
use bench_isolate::isolate::{Limits, Runner};
use bench_isolate::options::Declared;
use bench_record::quantity::{duration, shown};

#[derive(Debug, Subcommand)]
pub enum BackendsCommand {
    /// List the backends found, and whether each is ready.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        plugins: PluginArgs,
    },
    /// Show everything about one backend.
    Info {
        /// Its name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        plugins: PluginArgs,
    },
    /// Install what a backend needs into an environment of its own.
    Install {
        /// Its name.
        name: String,
        /// The Python interpreter to make the environment with.
        #[arg(long, value_name = "PYTHON", default_value = "python3")]
        python: String,
        #[command(flatten)]
        plugins: PluginArgs,
    },
    /// Check a plugin: does it do what every backend must?
    Check(super::check::CheckArgs),
    /// Make a project for a backend of your own.
    New(super::scaffold::NewArgs),
    /// Make a plugin, one file, of an engine in Python: a folder with engine.toml.
    Pack(super::pack::PackArgs),
    /// Put the file that a name leads to on the list of trusted files; see --only-trusted.
    Trust {
        /// Its name.
        name: String,
        #[command(flatten)]
        plugins: PluginArgs,
    },
    /// Load a backend only from the very file that its name leads to now.
    Pin {
        /// Its name.
        name: String,
        #[command(flatten)]
        plugins: PluginArgs,
    },
    /// Take back `trust` and `pin`.
    Untrust {
        /// Its name.
        name: String,
    },
    /// Remove what `install` made.
    Uninstall {
        /// Its name.
        name: String,
    },
}

impl BackendsCommand {
    /// pip and the runs of a check need them; what only looks does not.
    pub fn makes_temporary_files(&self) -> bool {
        matches!(self, Self::Install { .. }) || matches!(self, Self::Check(args) if !args.list)
    }
}

/// What a plugin may take to describe itself.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Time that each plugin may take to describe itself, such as 30 or 1m30s.
    #[arg(long, value_name = "TIME", default_value = shown(DEFAULT_TIMEOUT), value_parser = duration, allow_hyphen_values = true, help_heading = "Limits")]
    timeout: Duration,
    /// Most private memory of each process, in MiB.
    #[arg(long, value_name = "MIB", default_value = "2048", value_parser = mebibytes, allow_hyphen_values = true, help_heading = "Limits")]
    memory_limit: u64,
}

impl LimitArgs {
    fn runner(&self) -> Runner {
        let memory = Some(self.memory_limit << 20);
        Runner::with(Limits { memory, ..Limits::within(self.timeout) })
    }
}

pub fn backends(command: &BackendsCommand) -> Result<Exit, Stopped> {
    match command {
        BackendsCommand::List { json, limits, plugins } => list_all(plugins, &limits.runner(), *json),
        BackendsCommand::Info { name, json, limits, plugins } => info(plugins, &limits.runner(), name, *json),
        BackendsCommand::Install { name, python, plugins } => install_for(plugins, name, python),
        BackendsCommand::New(args) => super::scaffold::new(args),
        BackendsCommand::Pack(args) => super::pack::pack(args),
        BackendsCommand::Trust { name, plugins } => change_trust(plugins, name, TrustChange::Trust),
        BackendsCommand::Pin { name, plugins } => change_trust(plugins, name, TrustChange::Pin),
        BackendsCommand::Untrust { name } => untrust(name),
        BackendsCommand::Check(args) => super::check::check(args),
        BackendsCommand::Uninstall { name } => uninstall_for(name),
    }
}

fn list_all(plugins: &PluginArgs, runner: &Runner, as_json: bool) -> Result<Exit, Stopped> {
    let survey = survey(plugins)?;
    let listings = list(&survey.candidates, runner, &STOP);
    go_on()?;
    if as_json {
        return json(&listings).map(|()| Exit::Ok);
    }
    if listings.is_empty() {
        let remedy = "put libbackend_<name>.so into a folder and name it with --plugins-dir";
        screen::warning(&format!("no backends found; {remedy}"));
        return Ok(Exit::Ok);
    }
    let mut table = screen::table(&["backend", "version", "ABI", "ready", "path"]);
    for listing in &listings {
        let (version, abi) = listing
            .description()
            .map_or(("-".to_owned(), "-".to_owned()), |d| (d.plugin_version.clone(), d.abi.clone()));
        let ready = match (listing.trouble(), listing.description()) {
            (Some((cause, remedy)), _) if remedy.is_empty() => format!("no: {cause}"),
            (Some((cause, remedy)), _) => format!("no: {cause}\n→ {remedy}"),
            (None, description) => format!("yes: {}", description.map_or("", |d| &d.availability.detail)),
        };
        table.add_row([listing.name.to_string(), version, abi, ready, listing.path.display().to_string()]);
    }
    say!("{table}");
    Ok(Exit::Ok)
}

fn find(plugins: &PluginArgs, runner: &Runner, name: &str) -> Result<Listing, Stopped> {
    let survey = survey(plugins)?;
    let candidate = survey.find(name).map_err(|unknown| unknown_backend(plugins, unknown))?;
    let listing = Listing::of(candidate, runner, &STOP);
    go_on().map(|()| listing)
}

fn info(plugins: &PluginArgs, runner: &Runner, name: &str, as_json: bool) -> Result<Exit, Stopped> {
    let listing = find(plugins, runner, name)?;
    if as_json {
        return json(&listing).map(|()| Exit::Ok);
    }
    say!("name       {}", listing.name);
    say!("path       {}", listing.path.display());
    if let Some(d) = listing.description() {
        say!("version    {}", d.plugin_version);
        say!("API        {}", d.api_version);
        say!("ABI        {}", d.abi);
        say!("sha256     {}", d.sha256);
        say!("available  {}", if d.availability.available { "yes" } else { "no" });
        say!("runtime    {}", d.availability.detail);
        if let Some(requirements) = &d.requirements {
            say!("needs      {requirements}");
        }
        options(d.options.as_deref());
    }
    if let Status::Described { remarks, .. } = &listing.status {
        remarks.iter().for_each(|remark| say!("remark     {remark}"));
    }
    if let Some((cause, remedy)) = listing.trouble() {
        say!("trouble    {cause}");
        if !remedy.is_empty() {
            say!("try        {remedy}");
        }
    }
    Ok(Exit::Ok)
}

/// What `--backend-option` takes, an option after the other.
fn options(declared: Option<&[Declared]>) {
    let Some(declared) = declared else {
        say!("options    not said: --backend-option is passed on unchecked");
        return;
    };
    if declared.is_empty() {
        say!("options    none");
    }
    for (at, option) in declared.iter().enumerate() {
        let head = if at == 0 { "options" } else { "" };
        let default = option.default.as_ref().map_or(String::new(), |value| format!(" [default: {value}]"));
        say!("{head:<10} {}={}{default}", option.name, option.form());
        say!("{:<10}   {}", "", option.meaning);
    }
}

fn failed(error: InstallError) -> Stopped {
    let exit = match error {
        InstallError::Stopped(_) => Exit::Interrupted,
        InstallError::Io { .. } => Exit::Output,
        _ => Exit::RunFailed,
    };
    Stopped::new(exit, &error, error.remedy())
}

fn no_data_dir() -> Stopped {
    Stopped::new(Exit::Usage, "there is no user data directory", "set BENCH_DATA_DIR to a folder")
}

fn install_for(plugins: &PluginArgs, name: &str, python: &str) -> Result<Exit, Stopped> {
    let runner = Runner::with(Limits::within(DEFAULT_TIMEOUT));
    let listing = find(plugins, &runner, name)?;
    let Some(description) = listing.description() else {
        let (cause, remedy) = listing.trouble().unwrap_or_default();
        return Err(Stopped::new(Exit::BadPlugin, cause, remedy));
    };
    let Some(requirements) = &description.requirements else {
        say!("backend '{name}' needs nothing installed");
        return Ok(Exit::Ok);
    };
    let requirements: Requirements = serde_json::from_value(requirements.clone()).map_err(|cause| {
        let text = format!("backend '{name}' states its requirements in a form bench does not know: {cause}");
        Stopped::new(Exit::BadPlugin, text, "report this to the plugin's author")
    })?;
    let venvs = venvs_dir().ok_or_else(no_data_dir)?;
    places::environments(&venvs)?;
    let spinner =
        Spinner::start(&format!("installing {} for '{name}'", requirements.requirements.join(", ")));
    let link = install(&venvs, name, python, &requirements, &mut |line| spinner.say(line), &STOP);
    drop(spinner);
    let link = link.map_err(|error| {
        let stopped = failed(error);
        Stopped { remedy: listing.address.completed(&stopped.remedy), ..stopped }
    })?;
    let listing = find(plugins, &runner, name)?;
    match listing.trouble() {
        None => {
            let version = listing.description().map_or("", |d| d.availability.detail.as_str());
            say!("backend '{name}' is ready: {version} in {}", link.display());
            Ok(Exit::Ok)
        }
        Some((cause, remedy)) => Err(Stopped::new(
            Exit::Unavailable,
            format!("installed, but still not available: {cause}"),
            remedy,
        )),
    }
}

fn uninstall_for(name: &str) -> Result<Exit, Stopped> {
    let venvs = venvs_dir().ok_or_else(no_data_dir)?;
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain || name.is_empty() {
        return Err(Stopped::usage(format!("'{}' is not the name of a backend", name.escape_default())));
    }
    match uninstall(&venvs, name).map_err(failed)? {
        true => say!("removed the environment of '{name}'"),
        false => say!("there is no environment of '{name}' in {}", venvs.display()),
    }
    Ok(Exit::Ok)
}
