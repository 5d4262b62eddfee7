//! What the bytes of a library say about it. A pure function of bytes, so that it can be fuzzed.

use object::read::Object;
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Architecture, BinaryFormat, Endianness, ObjectKind, elf};
use serde::{Deserialize, Serialize};

/// How a library is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The root module of `bench_plugin_api::v1`, through `abi_stable`.
    RustV1,
    /// The table of `bench_backend.h`.
    CV1,
}

/// Symbols that make a library a plugin, best first. Another entry is another row.
const ENTRIES: [(Entry, &str); 2] = [
    (Entry::RustV1, abi_stable::library::ROOT_MODULE_LOADER_NAME),
    (Entry::CV1, bench_plugin_api::c_v1::ENTRY),
];

/// Why the bytes are not a plugin for this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// Not an object file of this system's format.
    #[error("it is not {FORMAT_NAME} file")]
    Format,
    /// The format is right but what it says does not hold together.
    #[error("it is damaged or cut short ({0})")]
    Damaged(String),
    /// Built for another machine.
    #[error("it is built for {0}, this machine is {host}", host = std::env::consts::ARCH)]
    Machine(String),
    /// A program or an object file.
    #[error("it is {0}, not a shared library")]
    NotShared(&'static str),
    /// Nothing to enter it by.
    #[error("it exports no entry of a bench plugin")]
    NoEntry,
}

const FORMAT: BinaryFormat = if cfg!(target_os = "macos") { BinaryFormat::MachO } else { BinaryFormat::Elf };
const FORMAT_NAME: &str = if cfg!(target_os = "macos") { "a Mach-O" } else { "an ELF" };
const MAGIC: &[u8] = if cfg!(target_os = "macos") { b"\xcf\xfa\xed\xfe" } else { b"\x7fELF" };

/// How the plugin in `bytes` is entered.
///
/// # Errors
/// With what is wrong with it.
pub fn inspect(bytes: &[u8]) -> Result<Entry, Flaw> {
    if !bytes.starts_with(MAGIC) {
        return Err(Flaw::Format);
    }
    let damaged = |cause: object::Error| Flaw::Damaged(cause.to_string());
    let file = object::File::parse(bytes).map_err(damaged)?;
    if file.format() != FORMAT {
        return Err(Flaw::Format);
    }
    machine(&file)?;
    match file.kind() {
        ObjectKind::Dynamic => {}
        ObjectKind::Executable => return Err(Flaw::NotShared("a program")),
        ObjectKind::Relocatable => return Err(Flaw::NotShared("an object file")),
        ObjectKind::Core => return Err(Flaw::NotShared("a core dump")),
        _ => return Err(Flaw::NotShared("something else")),
    }
    let mut best: Option<usize> = None;
    for export in file.exports().map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let name = export.name();
        let Some(symbol) = name.name().map(plain) else { continue };
        let rank = ENTRIES.iter().position(|(_, entry)| entry.as_bytes() == symbol);
        best = best.into_iter().chain(rank).min();
    }
    best.map(|rank| ENTRIES[rank].0).ok_or(Flaw::NoEntry)
}

/// Where a library looks for those that it needs: the entries of DT_RPATH and DT_RUNPATH; none where the file says it
/// in another way.
///
/// # Errors
/// When its dynamic section is unreadable.
pub fn search_paths(bytes: &[u8]) -> Result<Vec<String>, object::Error> {
    let Ok(file) = ElfFile64::<Endianness>::parse(bytes) else { return Ok(Vec::new()) };
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_header().sections(endian, data)?;
    let Some((dynamic, strings)) = sections.dynamic(endian, data)? else { return Ok(Vec::new()) };
    let strings = sections.strings(endian, data, strings)?;
    let mut found = Vec::new();
    for entry in dynamic {
        let tag = entry.d_tag.get(endian);
        if tag == elf::DT_RPATH || tag == elf::DT_RUNPATH {
            let at = u32::try_from(entry.d_val.get(endian)).unwrap_or(u32::MAX);
            let text = strings.get(at).unwrap_or_default();
            found.extend(String::from_utf8_lossy(text).split(':').map(str::to_owned));
        }
    }
    Ok(found)
}

/// Mach-O prefixes every C symbol with an underscore.
fn plain(symbol: &[u8]) -> &[u8] {
    if cfg!(target_os = "macos") { symbol.strip_prefix(b"_").unwrap_or(symbol) } else { symbol }
}

fn machine(file: &object::File<'_>) -> Result<(), Flaw> {
    let host_is_little = cfg!(target_endian = "little");
    let little = file.endianness() == Endianness::Little;
    let bits = if file.is_64() { 64 } else { 32 };
    let same_class = bits == usize::BITS && little == host_is_little;
    // On a machine this list does not know, the class has to do; dlopen checks the rest.
    let same_machine = host_architecture().is_none_or(|host| file.architecture() == host);
    if same_class && same_machine {
        return Ok(());
    }
    let order = if little { "little" } else { "big" };
    Err(Flaw::Machine(format!("{:?} ({bits} bits, {order} endian)", file.architecture())))
}

fn host_architecture() -> Option<Architecture> {
    Some(match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "x86" => Architecture::I386,
        "aarch64" => Architecture::Aarch64,
        "arm" => Architecture::Arm,
        "riscv64" => Architecture::Riscv64,
        "powerpc64" => Architecture::PowerPc64,
        "s390x" => Architecture::S390x,
        "loongarch64" => Architecture::LoongArch64,
        _ => return None,
    })
}
