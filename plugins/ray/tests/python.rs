//! The driver's own tests, in Python: what needs no Ray runs wherever there is a Python 3.10.

#[path = "../../../tests/src/skip.rs"]
mod skip;

use std::path::Path;
use std::process::Command;

fn passes(module: &str) {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    if let Err(cause) = Command::new(&python).arg("--version").output() {
        return skip::skip(&format!("there is no {python}"), &cause.to_string());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let imported = std::env::join_paths([root.join("src/driver"), root.join("../python/src")]).unwrap();
    let tests = Command::new(python)
        .args(["-B", "-W", "error"])
        .arg(root.join("tests").join(module))
        .env("PYTHONPATH", imported)
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
}

#[test]
fn rays_of_all_accepted_versions_are_understood() {
    passes("compat_test.py");
}
