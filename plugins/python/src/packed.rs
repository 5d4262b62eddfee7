//! An engine that was packed into the library: `engine.toml` and its sources instead of Rust.

use bench_engine_package::{EngineOption, Nodes, Package, section};
use bench_plugin_api::sdk::{Availability, Backend, BackendOption, Error, Finished, Host, Spec, Takes};

use crate::{Engine, Import, Launch};

/// A backend whose engine lies in the library's reserved section.
#[derive(Debug, Clone, Copy)]
pub struct Packed {
    package: &'static Package,
    engine: Engine,
}

impl Packed {
    /// The engine in `section`. It lives as long as its library, which is never unloaded.
    ///
    /// # Errors
    /// When there is none, or it was changed.
    pub fn open(section: &[u8]) -> Result<Self, Error> {
        let package = section::read(section).map_err(|flaw| Error::Unavailable {
            reason: flaw.to_string(),
            remedy: "pack it again: bench backends pack FOLDER".to_owned(),
        })?;
        let package: &'static Package = Box::leak(Box::new(package));
        Ok(Self { package, engine: engine(package) })
    }

    /// The version of the engine in `section`; 0.0.0 when there is none.
    #[must_use]
    pub fn version(section: &[u8]) -> &'static str {
        section::read(section).map_or("0.0.0", |package| package.manifest.version.leak())
    }

    /// Fails when more machines are asked for than the engine can use.
    fn check_nodes(&self, spec: &Spec) -> Result<(), Error> {
        let (wanted, display) = (spec.number("nodes", 1), self.engine.display);
        let why = match &self.package.manifest.nodes {
            _ if wanted <= 1 => return Ok(()),
            Nodes::Possible(true) => return Ok(()),
            Nodes::With(option) if spec.extra(option).is_some() => return Ok(()),
            Nodes::Possible(false) => "it runs on one machine only. Leave --nodes at 1".to_owned(),
            Nodes::With(option) => {
                let form = self.engine.options.iter().find(|known| known.name == option.as_str());
                let form = form.map_or("…", |known| form_of(known));
                format!(
                    "by itself it runs on one machine. Leave --nodes at 1, or give --backend-option {option}={form}"
                )
            }
        };
        Err(Error::Unsupported(format!("{display} cannot use {wanted} nodes: {why}")))
    }

    fn launch(&self) -> Launch {
        let manifest = &self.package.manifest;
        let inherited =
            manifest.inherit.iter().filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)));
        let own = manifest.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        Launch {
            // What the engine sets counts more than what the user has.
            env: inherited.chain(own).collect(),
            sources: self
                .package
                .files
                .iter()
                .map(|(path, source)| (path.as_str(), source.as_slice()))
                .collect(),
            driver: Some(&manifest.driver),
            logs: manifest.logs.iter().map(String::as_str).collect(),
            ..Launch::default()
        }
    }
}

impl Backend for Packed {
    const NAME: &'static str = "packed";

    fn name(&self) -> &str {
        self.engine.name
    }

    fn is_available(&self) -> Availability {
        self.engine.availability()
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        self.check_nodes(spec)?;
        self.engine.run(spec, host, self.launch())
    }

    fn extension(&self, id: &str, request: &str) -> Option<String> {
        self.engine.extension(id, request)
    }
}

fn engine(package: &'static Package) -> Engine {
    let manifest = &package.manifest;
    let import = |import: &'static bench_engine_package::Import| Import {
        module: &import.module,
        distribution: &import.distribution,
        accepts: &import.accepts,
    };
    Engine {
        name: &manifest.name,
        display: &manifest.display,
        requirements: texts(&manifest.requirements),
        imports: manifest.imports.iter().map(import).collect::<Vec<_>>().leak(),
        driver: "",
        plain_pip: manifest.plain_pip.as_deref(),
        options: manifest.options.iter().map(option).collect::<Vec<_>>().leak(),
        starts_processes: manifest.starts_processes,
    }
}

fn texts(texts: &'static [String]) -> &'static [&'static str] {
    texts.iter().map(String::as_str).collect::<Vec<_>>().leak()
}

fn option(option: &'static EngineOption) -> BackendOption {
    let takes = match (&option.values, option.number, &option.pattern) {
        (Some(values), ..) => Takes::OneOf(texts(values)),
        (None, Some(range), _) => {
            Takes::Number { whole: range.whole, minimum: range.minimum, maximum: range.maximum }
        }
        (None, None, Some(pattern)) => {
            Takes::Like { pattern, form: option.takes.as_deref().unwrap_or(pattern) }
        }
        (None, None, None) => Takes::Text,
    };
    BackendOption { name: &option.name, meaning: &option.meaning, default: option.default.as_deref(), takes }
}

/// What an option takes, in a word or two.
fn form_of(option: &BackendOption) -> &'static str {
    match option.takes {
        Takes::Like { form, .. } => form,
        Takes::OneOf([first, ..]) => first,
        _ => "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(more: &str) -> Packed {
        let text = format!(r#"{{"name": "x", "version": "1.2.3", "display": "X"{more}}}"#);
        let manifest = serde_json::from_str(&text).unwrap();
        let files = [("driver.py".to_owned(), b"pass\n".to_vec())].into();
        Packed::open(&section::of(&Package { manifest, files }).unwrap()).unwrap()
    }

    fn asked_for(nodes: &str, more: &[(&str, &str)]) -> Spec {
        let extra = [("nodes", nodes)].into_iter().chain(more.iter().copied());
        let extra = extra.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let (name, scheduler_name) = ("null".to_owned(), "default".to_owned());
        Spec { name, total_items: 1, parallelism: 1, scheduler_name, extra }
    }

    #[test]
    fn what_the_manifest_says_is_what_the_host_hears() {
        let options = r#", "requirements": ["a==1"], "options": [
            {"name": "x_mode", "meaning": "m", "default": "b", "values": ["a", "b"]},
            {"name": "x_lanes", "meaning": "m", "number": {"whole": true, "minimum": 1}},
            {"name": "x_at", "meaning": "m", "pattern": "[a-z]+:[0-9]+", "takes": "HOST:PORT"}]"#;
        let packed = packed(options);
        assert_eq!(packed.name(), "x");
        let answer: serde_json::Value =
            serde_json::from_str(&packed.extension("bench.options/1", "").unwrap()).unwrap();
        assert_eq!(answer[0]["values"], serde_json::json!(["a", "b"]));
        assert_eq!(answer[1]["number"]["minimum"], 1.0);
        assert_eq!(answer[2]["takes"], "HOST:PORT");
        assert!(packed.extension("bench.requirements/1", "").unwrap().contains("a==1"));
    }

    #[test]
    fn an_engine_that_needs_nothing_asks_for_nothing() {
        assert_eq!(packed("").extension("bench.requirements/1", ""), None);
    }

    #[test]
    fn more_nodes_than_it_can_use_are_refused_with_what_makes_them_possible() {
        let at = r#", "nodes": "x_at", "options": [{"name": "x_at", "meaning": "m", "pattern": ".+", "takes": "HOST:PORT"}]"#;
        let refusal = |more: &str, spec: &Spec| match packed(more).check_nodes(spec) {
            Err(Error::Unsupported(why)) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(
            refusal("", &asked_for("2", &[])),
            "X cannot use 2 nodes: it runs on one machine only. Leave --nodes at 1"
        );
        let why = refusal(at, &asked_for("3", &[]));
        assert!(why.ends_with("or give --backend-option x_at=HOST:PORT"), "{why}");
        assert_eq!(refusal(at, &asked_for("3", &[("x_at", "h:1")])), "Ok(())");
        assert_eq!(refusal(r#", "nodes": true"#, &asked_for("3", &[])), "Ok(())");
        assert_eq!(refusal("", &asked_for("1", &[])), "Ok(())");
    }

    #[test]
    fn a_section_without_an_engine_says_so_and_what_to_do() {
        let Err(Error::Unavailable { reason, remedy }) = Packed::open(&section::empty()) else { panic!() };
        assert_eq!(reason, "no engine is packed into it");
        assert!(remedy.contains("bench backends pack"), "{remedy}");
        assert_eq!(Packed::version(&section::empty()), "0.0.0");
    }
}
