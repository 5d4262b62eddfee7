//! Names, versions, extensions.

use super::super::case::{Case, DROP};
use super::super::{Area, Test, TestResult, Verdict, require};
use super::child;
use bench_isolate::describe::REQUIREMENTS;
use bench_isolate::install::Requirements;
use bench_isolate::options::{OPTIONS, read};

pub const TESTS: [Test; 9] = [
    test(
        LOADS,
        "The library opens, and its backend is created, in a process that did nothing else before.",
        loads,
    ),
    test(
        "name-is-the-files",
        "The backend calls itself what its file is called: users type that name, and records carry it.",
        name,
    ),
    test(
        "plugin-version-is-a-version",
        "The plugin states its own version as semantic versioning has it, because every record keeps it.",
        version,
    ),
    test(
        "api-version-is-a-version",
        "The plugin states which API version it was built against, as semantic versioning has it: records keep that too.",
        api,
    ),
    test(
        "says-the-same-twice",
        "Opened twice, the plugin describes itself the same way: a listing must not depend on the day.",
        twice,
    ),
    test(
        "unknown-extensions-are-declined",
        "An extension that the plugin has never heard of is declined, so that later hosts can ask for more.",
        unknown,
    ),
    test(
        "odd-extension-requests-are-survived",
        "Requests that are empty, no JSON, not ASCII or a mebibyte long are answered or declined, and never a crash.",
        odd,
    ),
    test(
        "requirements-are-readable",
        "What has to be installed is stated in the form that `bench backends install` reads.",
        requirements,
    ),
    test(
        "options-are-declared",
        "The plugin says which --backend-option it takes, so that a misspelt one is refused and not ignored.",
        options,
    ),
];

/// What every other test of a loaded plugin begins with.
pub const LOADS: &str = "loads";

const fn test(name: &'static str, why: &'static str, run: fn(&Case) -> TestResult) -> Test {
    child(Area::Descriptor, name, 1, why, run)
}

fn loads(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase(DROP);
    case.channel.drop_after_answer(backend);
    Ok(Verdict::Success)
}

fn name(case: &Case) -> TestResult {
    // `load` compares it with the file's.
    let backend = case.load()?;
    let (stated, file) = (backend.name(), case.request.plugin.name.as_str());
    require(stated == file, || format!("it calls itself `{stated}`"))?;
    Ok(Verdict::Success)
}

fn version(case: &Case) -> TestResult {
    let backend = case.load()?;
    let stated = backend.plugin_version();
    Ok(match semver::Version::parse(stated) {
        Ok(_) => Verdict::Success,
        Err(cause) => Verdict::Warning(format!("`{stated}` is not a semantic version: {cause}")),
    })
}

fn api(case: &Case) -> TestResult {
    let backend = case.load()?;
    require(!backend.abi().is_empty(), || "it speaks no known ABI".into())?;
    let stated = backend.api_version();
    Ok(match semver::Version::parse(stated) {
        Ok(_) => Verdict::Success,
        Err(cause) => Verdict::Warning(format!("`{stated}` is not a semantic version: {cause}")),
    })
}

fn twice(case: &Case) -> TestResult {
    let describe = || -> Result<_, bench_isolate::Error> {
        let backend = case.load()?;
        let told = (
            backend.name().to_owned(),
            backend.plugin_version().to_owned(),
            backend.extension(REQUIREMENTS, "{}"),
            backend.extension(OPTIONS, "{}"),
        );
        Ok(told)
    };
    let (first, second) = (describe()?, describe()?);
    require(first == second, || format!("first {first:?}, then {second:?}"))?;
    Ok(Verdict::Success)
}

fn unknown(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("extension");
    for id in ["bench.no-such-thing/1", "bench.requirements/4711", "bench.options/4711", "", "ünïcode/1"] {
        if let Some(answer) = backend.extension(id, "{}") {
            let shown: String = answer.chars().take(60).collect();
            let message = format!("it answers the extension `{id}`, which does not exist: {shown}");
            return Ok(Verdict::Failed(message));
        }
    }
    Ok(Verdict::Success)
}

fn odd(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("extension");
    let long = "x".repeat(1 << 20);
    for request in ["", "{", "null", "\u{202e}\0\u{fffd}", "🦀", long.as_str()] {
        // Any answer will do.
        let _ = backend.extension(REQUIREMENTS, request);
    }
    Ok(Verdict::Success)
}

fn requirements(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase(REQUIREMENTS);
    let Some(text) = backend.extension(REQUIREMENTS, "{}") else {
        return Ok(Verdict::Skipped("it needs nothing installed".into()));
    };
    Ok(match serde_json::from_str::<Requirements>(&text) {
        Ok(_) => Verdict::Success,
        Err(cause) => Verdict::Failed(format!("its answer to {REQUIREMENTS} is not of that form: {cause}")),
    })
}

fn options(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase(OPTIONS);
    let Some(text) = backend.extension(OPTIONS, "{}") else {
        let advice = "a misspelt one will be passed on; answer with [] when there are none";
        return Ok(Verdict::Warning(format!("it does not answer {OPTIONS}: {advice}")));
    };
    Ok(match read(&text) {
        Ok(_) => Verdict::Success,
        Err(cause) => Verdict::Failed(format!("its answer to {OPTIONS} makes no sense: {cause}")),
    })
}
