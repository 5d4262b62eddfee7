use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;
use crate::discover::Origin;

#[path = "../../../../tests/src/skip.rs"]
#[allow(dead_code, reason = "nothing that could be installed is needed here")]
mod skip;

/// A private folder holding one file `libbackend_x.so` with the given content.
struct Case {
    folder: TempDir,
}

impl Case {
    fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        chmod(folder.path(), 0o700);
        Self { folder }
    }

    fn holding(bytes: &[u8]) -> Self {
        let case = Self::empty();
        fs::write(case.path(), bytes).unwrap();
        chmod(&case.path(), 0o644);
        case
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("libbackend_x.so")
    }

    fn refusal(&self) -> Refusal {
        let name = BackendName::parse("x").unwrap();
        vet(&Candidate { name, path: self.path(), origin: Origin::Flag, source: None, demand: None })
            .unwrap_err()
    }

    fn flaw(&self) -> Flaw {
        match self.refusal() {
            Refusal::Image { flaw, .. } => flaw,
            other => panic!("{other}"),
        }
    }
}

fn modes(refusal: &Refusal) -> Vec<u32> {
    match refusal {
        Refusal::WritableByOthers { places } => places.iter().map(|place| place.mode).collect(),
        other => panic!("{other}"),
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A real library of this machine that is no plugin: the C library the test itself runs on.
fn some_library() -> Vec<u8> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|p| p.contains("libc.so"));
    fs::read(path.expect("the test is linked dynamically")).unwrap()
}

#[test]
fn a_library_that_is_no_plugin_exports_no_entry() {
    let case = Case::holding(&some_library());
    assert_eq!(case.flaw(), Flaw::NoEntry);
    assert!(case.refusal().to_string().contains("export_backend!"));
}

#[test]
fn a_program_is_not_a_library() {
    let mut bytes = some_library();
    bytes[16] = 2; // e_type = ET_EXEC
    assert_eq!(Case::holding(&bytes).flaw(), Flaw::NotShared("a program"));
    bytes[16] = 1; // ET_REL
    assert_eq!(Case::holding(&bytes).flaw(), Flaw::NotShared("an object file"));
}

#[test]
fn another_machine_is_named() {
    let mut bytes = some_library();
    bytes[18] = 243; // e_machine = EM_RISCV
    assert!(matches!(Case::holding(&bytes).flaw(), Flaw::Machine(name) if name.contains("Riscv64")));
}

#[test]
fn text_is_not_a_library_and_a_short_file_is_not_even_read() {
    assert_eq!(Case::holding(&[b'x'; 100]).flaw(), Flaw::Format);
    assert!(matches!(Case::holding(b"").refusal(), Refusal::Size { bytes: 0, .. }));
    assert!(matches!(Case::holding(b"\x7fELF").refusal(), Refusal::Size { bytes: 4, .. }));
}

#[test]
fn a_gigantic_file_is_refused_unread() {
    let case = Case::holding(b"");
    OpenOptions::new().write(true).open(case.path()).unwrap().set_len(LARGEST + 1).unwrap();
    assert!(matches!(case.refusal(), Refusal::Size { .. }));
}

#[test]
fn every_truncation_and_every_flipped_header_byte_is_refused_without_a_panic() {
    let whole = some_library();
    for len in (64..4096).chain((4096..whole.len()).step_by(whole.len() / 300)) {
        inspect(&whole[..len]).unwrap_err();
    }
    for at in 0..64 {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            inspect(&bytes).unwrap_err();
        }
    }
}

/// Opening the FIFO would wait for a writer, for ever.
#[test]
fn a_fifo_a_socket_and_a_directory_are_named_and_not_opened() {
    let fifo = Case::empty();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo.path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    assert!(matches!(fifo.refusal(), Refusal::NotAFile { is: "a FIFO", .. }));
    let socket = Case::empty();
    let _listener = UnixListener::bind(socket.path()).unwrap();
    assert!(matches!(socket.refusal(), Refusal::NotAFile { is: "a socket", .. }));
    let directory = Case::empty();
    fs::create_dir(directory.path()).unwrap();
    assert!(matches!(directory.refusal(), Refusal::NotAFile { is: "a directory", .. }));
}

#[test]
fn writable_by_others_is_refused_with_the_command_that_mends_it() {
    let file = Case::holding(&[0; 100]);
    chmod(&file.path(), 0o666);
    let refusal = file.refusal();
    assert_eq!(modes(&refusal), [0o666]);
    assert_eq!(refusal.remedy(), format!("run: chmod go-w {}", file.path().display()));

    let folder = Case::holding(&[0; 100]);
    chmod(folder.folder.path(), 0o1777);
    assert_eq!(modes(&folder.refusal()), [0o1777]);
}

#[test]
fn one_command_mends_all_that_others_can_write() {
    let target = Case::holding(&some_library());
    let link = Case::empty();
    symlink(target.path(), link.path()).unwrap();
    chmod(&target.path(), 0o666);
    chmod(target.folder.path(), 0o777);
    chmod(link.folder.path(), 0o777);
    let refusal = link.refusal();
    assert_eq!(modes(&refusal), [0o777, 0o777, 0o666]);
    let remedy = refusal.remedy();
    let command = remedy.strip_prefix("run: ").unwrap();
    assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
    assert_eq!(link.flaw(), Flaw::NoEntry, "nothing else is left to mend");
}

#[test]
fn a_group_of_ones_own_may_write_and_another_may_not() {
    let case = Case::holding(&some_library());
    chmod(&case.path(), 0o664);
    chmod(case.folder.path(), 0o775);
    let group = fs::metadata(case.path()).unwrap().gid();
    let own = group::is_of_one(&case.path(), group, &[rustix::process::geteuid().as_raw()]);
    match case.refusal() {
        Refusal::Image { flaw: Flaw::NoEntry, .. } => assert!(own),
        refusal => assert_eq!((own, modes(&refusal)), (false, vec![0o775, 0o664])),
    }
    if !rustix::process::geteuid().is_root() {
        return skip::leave_out("only root can give a file to any group");
    }
    std::os::unix::fs::chown(case.path(), None, Some(12345)).unwrap();
    assert_eq!(modes(&case.refusal()), [0o664]);
}

#[test]
fn a_file_with_an_access_list_is_nobodys_own() {
    let case = Case::holding(&some_library());
    chmod(&case.path(), 0o664);
    // As `setfacl -m u:12345:rw` writes it: owner, that user, group, mask and others, each with tag, rights and id.
    let none = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, none), (2, 6, 12345), (4, 4, none), (16, 6, none), (32, 4, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes().into_iter().chain(rights.to_le_bytes()).chain(id.to_le_bytes()));
    }
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(case.path(), "system.posix_acl_access", &list, flags) {
        Err(rustix::io::Errno::NOTSUP) => skip::leave_out("this file system has no access lists"),
        set => {
            set.unwrap();
            assert_eq!(modes(&case.refusal()), [0o664]);
        }
    }
}

#[test]
fn both_ends_of_a_symbolic_link_are_checked() {
    let target = Case::holding(&some_library());
    let link = Case::empty();
    symlink(target.path(), link.path()).unwrap();
    assert_eq!(link.flaw(), Flaw::NoEntry, "a link is fine as such");
    chmod(target.folder.path(), 0o777);
    assert!(
        matches!(link.refusal(), Refusal::WritableByOthers { places } if places[0].path == target.folder.path())
    );
    let dangling = Case::empty();
    symlink("/nonexistent", dangling.path()).unwrap();
    assert!(matches!(dangling.refusal(), Refusal::Unreadable { .. }));
    let device = Case::empty();
    symlink("/dev/zero", device.path()).unwrap();
    assert!(matches!(
        device.refusal(),
        Refusal::NotAFile { is: "a device", .. } | Refusal::WritableByOthers { .. }
    ));
}

#[test]
fn a_foreign_owner_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return skip::leave_out("only root can give a file away");
    }
    let case = Case::holding(&[0; 100]);
    std::os::unix::fs::chown(case.path(), Some(12345), None).unwrap();
    assert!(matches!(case.refusal(), Refusal::ForeignOwner { owner: 12345, .. }));
}
