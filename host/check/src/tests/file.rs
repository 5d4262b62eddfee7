//! Before anything is loaded: only bytes are read here.

use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Endianness, Object as _, elf};

use super::super::{Area, Run, Surroundings, Test, Verdict};
use bench_isolate::discover::Candidate;
use bench_isolate::vet::{LARGEST, Refusal, search_paths, vet};
use bench_record::found::Found;

pub const TESTS: [Test; 6] = [
    here(
        "file-is-safe",
        "The file is regular and, like its folder, writable by its owner only: whoever could write it could run code as the user.",
        safe,
    ),
    here(
        "image-fits",
        "The file is a whole shared library for this machine: anything else would only fail later and less clearly.",
        fits,
    ),
    here(
        "entry-is-exported",
        "The library exports the Rust entry or bench_backend_entry_v1: without one the host cannot enter it.",
        entry,
    ),
    here(
        "stack-is-not-executable",
        "The library does not ask for an executable stack, which would weaken the whole process it is loaded into.",
        stack,
    ),
    here(
        "no-paths-of-the-build-machine",
        "The library finds what it links to without absolute paths of the machine that built it, which users do not have.",
        run_path,
    ),
    here(
        "exports-little",
        "The library exports hardly more than its entry: other names may clash with those of other libraries in the process.",
        exports,
    ),
];

const fn here(name: &'static str, why: &'static str, run: fn(&Candidate) -> Verdict) -> Test {
    let run = Run::Host(run);
    Test { name, area: Area::File, why, weight: 1, surroundings: Surroundings::Usual, run }
}

fn vetted(candidate: &Candidate, ours: fn(&Refusal) -> bool) -> Verdict {
    match vet(candidate) {
        Err(refusal) if ours(&refusal) => Verdict::Failed(refusal.to_string()),
        Err(_) => Verdict::Skipped("an earlier test says what is wrong with the file".into()),
        Ok(_) => Verdict::Success,
    }
}

fn safe(candidate: &Candidate) -> Verdict {
    match vetted(candidate, |refusal| !matches!(refusal, Refusal::Image { .. } | Refusal::Size { .. })) {
        Verdict::Skipped(_) => Verdict::Success,
        verdict => verdict,
    }
}

fn fits(candidate: &Candidate) -> Verdict {
    use bench_isolate::vet::Flaw;
    let image = |refusal: &Refusal| match refusal {
        Refusal::Size { .. } => true,
        Refusal::Image { flaw, .. } => *flaw != Flaw::NoEntry,
        _ => false,
    };
    match vet(candidate) {
        Err(Refusal::Image { flaw: Flaw::NoEntry, .. }) => Verdict::Success,
        _ => vetted(candidate, image),
    }
}

fn entry(candidate: &Candidate) -> Verdict {
    vetted(candidate, |refusal| matches!(refusal, Refusal::Image { .. }))
}

/// Looks at the image of a file that passed vetting.
fn image(candidate: &Candidate, look: impl Fn(&ElfFile64<'_, Endianness>) -> Verdict) -> Verdict {
    if let Err(refusal) = vet(candidate) {
        return Verdict::Skipped(format!("the file was refused: {}", refusal.cause()));
    }
    let bytes = match Found::NAMED.at_most(LARGEST).read(&candidate.path) {
        Ok(bytes) => bytes,
        Err(cause) => return Verdict::Failed(cause.to_string()),
    };
    match ElfFile64::<Endianness>::parse(&*bytes) {
        Ok(file) => look(&file),
        Err(_) => Verdict::Skipped("not a 64-bit ELF file".into()),
    }
}

fn stack(candidate: &Candidate) -> Verdict {
    image(candidate, |file| {
        let endian = file.endian();
        let headers = file.elf_program_headers();
        let stack = headers.iter().find(|header| header.p_type(endian) == elf::PT_GNU_STACK);
        match stack.map(|header| header.p_flags(endian) & elf::PF_X == elf::PF_X) {
            Some(true) => {
                Verdict::Warning("it asks for an executable stack; link it with -z noexecstack".into())
            }
            _ => Verdict::Success,
        }
    })
}

fn run_path(candidate: &Candidate) -> Verdict {
    image(candidate, |file| match search_paths(file.data()) {
        Err(cause) => Verdict::Failed(format!("its dynamic section is unreadable: {cause}")),
        Ok(paths) => {
            let fixed = |path: &&String| path.starts_with('/') && !path.starts_with("/usr/lib");
            match paths.iter().find(fixed) {
                Some(path) => Verdict::Warning(format!(
                    "it looks for libraries in {path}: use $ORIGIN, or link them statically"
                )),
                None => Verdict::Success,
            }
        }
    })
}

fn exports(candidate: &Candidate) -> Verdict {
    image(candidate, |file| match file.exports().and_then(|exports| exports.collect::<Result<Vec<_>, _>>()) {
        Err(cause) => Verdict::Failed(format!("its exports are unreadable: {cause}")),
        Ok(exports) if exports.len() > 40 => Verdict::Warning(format!(
            "it exports {} names; compile with -fvisibility=hidden, or as a `cdylib`",
            exports.len()
        )),
        Ok(_) => Verdict::Success,
    })
}
