//! File systems from which nothing may be loaded.

use std::path::{Path, PathBuf};

/// Where the file system of `path` is mounted, if it is mounted `noexec`: the system's loader then refuses every
/// library on it, and says nothing of why.
#[cfg(target_os = "linux")]
#[must_use]
pub fn noexec(path: &Path) -> Option<PathBuf> {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    let mount = statvfs(path).ok()?;
    if !mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return None;
    }
    Some(mount_point(path))
}

#[cfg(target_os = "linux")]
fn mount_point(path: &Path) -> PathBuf {
    let mounts = procfs::process::Process::myself().and_then(|process| process.mountinfo()).ok();
    let points = mounts.into_iter().flatten().map(|mount| mount.mount_point);
    let around = points.filter(|point| path.starts_with(point));
    around.max_by_key(|point| point.components().count()).unwrap_or_else(|| "/".into())
}

#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn noexec(_: &Path) -> Option<PathBuf> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_on_the_innermost_mount_around_it() {
        assert_eq!(mount_point(Path::new("/proc/self/status")), Path::new("/proc"));
        // This very test could not run there.
        assert_eq!(noexec(&std::env::current_exe().unwrap()), None);
    }
}
