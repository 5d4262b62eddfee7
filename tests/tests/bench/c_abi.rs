//! The C header as strangers use it: compiled by both languages with every warning an error, laid out
//! as the host believes, and enough to write a backend with.

use std::fs;
use std::path::Path;
use std::process::Command;

use bench_plugin_api::c_v1 as c;
use bench_tests::{digest, folder, small_run, staged, succeed};
use tempfile::TempDir;

/// Compiles `source` against the staged header; fails the test with what the compiler said.
fn compile(language: &[&str], source: &str, more: &[&str], output: &Path) {
    let place = TempDir::new().unwrap();
    let file = place.path().join(if language[0] == "cc" { "main.c" } else { "main.cpp" });
    fs::write(&file, source).unwrap();
    let mut command = Command::new(language[0]);
    command.args(&language[1..]).args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]);
    command.args(more).arg("-I").arg(staged().join("include")).arg(&file).arg("-o").arg(output);
    succeed(&mut command);
}

const LANGUAGES: [&[&str]; 4] =
    [&["cc", "-std=c11"], &["cc", "-std=c17"], &["c++", "-std=c++17"], &["c++", "-std=c++20"]];

#[test]
fn the_header_compiles_alone_and_twice_and_beside_the_other_one() {
    let source = "#include \"bench_backend.h\"\n#include \"bench_workloads.h\"\n#include \"bench_backend.h\"\n\
                  int main(void) { bench_say((bench_text *)0, \"\"); return 0; }\n";
    for language in LANGUAGES {
        let place = TempDir::new().unwrap();
        compile(language, source, &[], &place.path().join("main"));
    }
}

/// `(what, size or offset)` of types and members, once by Rust and once as C source that prints it.
struct Layout {
    rust: Vec<(String, usize)>,
    c: String,
}

macro_rules! measure {
    ($layout:expr, $c:literal, $rust:ty, [$($member:ident),* $(,)?]) => {
        $layout.rust.push((concat!("sizeof ", $c).to_owned(), size_of::<$rust>()));
        $layout.c += concat!("print(sizeof(", $c, "));\n");
        $(
            $layout.rust.push((concat!($c, ".", stringify!($member)).to_owned(), std::mem::offset_of!($rust, $member)));
            $layout.c += concat!("print(offsetof(", $c, ", ", stringify!($member), "));\n");
        )*
    };
}

#[test]
fn every_type_is_laid_out_in_c_as_in_rust() {
    let mut layout = Layout { rust: Vec::new(), c: String::new() };
    measure!(layout, "bench_view", c::View, [data, len]);
    measure!(layout, "bench_owned", c::Owned, [data, len, token]);
    measure!(layout, "bench_text", c::Text, [context, append]);
    measure!(layout, "bench_pair", c::Pair, [key, value]);
    measure!(
        layout,
        "bench_spec",
        c::Spec,
        [size, parallelism, total_items, batch_size, nodes, workload, scheduler, extra, extra_count]
    );
    measure!(
        layout,
        "bench_result",
        c::RunResult,
        [size, reserved, items_processed, elapsed_seconds, error, remedy]
    );
    measure!(layout, "bench_node", c::Node, [id, role, max_parallelism, blocking, name]);
    measure!(
        layout,
        "bench_host",
        c::Host,
        [
            abi,
            size,
            context,
            last_error,
            release,
            graph_json,
            node_count,
            node,
            next_events,
            emit,
            operator_create,
            operator_process,
            operator_finish,
            operator_drop,
            router_create,
            router_instances,
            route,
            router_drop,
            deliveries_count,
            deliveries_take,
            deliveries_drop,
            progress,
            log,
            metric,
            is_cancelled,
            extension,
            node_state,
        ]
    );
    measure!(
        layout,
        "bench_backend_v1",
        c::Backend,
        [
            magic,
            abi,
            size,
            pointer_bits,
            reserved,
            api_version,
            name,
            plugin_version,
            create,
            is_available,
            run,
            extension,
            drop,
        ]
    );
    let source = format!(
        "#include \"bench_backend.h\"\n#include <stdio.h>\n\
         static void print(size_t n) {{ printf(\"%zu\\n\", n); }}\n\
         int main(void) {{\n{}print(BENCH_BACKEND_MAGIC);\nreturn 0;\n}}\n",
        layout.c
    );
    let place = TempDir::new().unwrap();
    let program = place.path().join("print");
    compile(&["cc", "-std=c11"], &source, &[], &program);
    let printed = bench_tests::stdout(&succeed(&mut Command::new(&program)));
    let mut in_c = printed.lines().map(|line| line.parse::<usize>().unwrap());
    for (what, rust) in layout.rust {
        assert_eq!(in_c.next(), Some(rust), "{what}");
    }
    assert_eq!(in_c.next(), Some(c::MAGIC as usize));
}

#[test]
fn the_header_states_the_api_version_of_the_crate() {
    let header = fs::read_to_string(staged().join("include/bench_backend.h")).unwrap();
    let line = format!("#define BENCH_API_VERSION \"{}\"", bench_plugin_api::API_VERSION);
    assert!(header.contains(&line), "set it in plugin-api/include/bench_backend.h: {line}");
}

#[test]
fn the_examples_give_the_answers_that_local_gives() {
    let names = ["example_c", "example_cpp", "example_rust"];
    let folder = folder(&names.map(|name| (name, name)));
    let plugins = folder.path().to_str().unwrap();
    let run = |backend: &str, plugins: &str| {
        let output = TempDir::new().unwrap();
        succeed(&mut small_run(backend, output.path(), &["--plugins-dir", plugins, "--parallelism", "4"]));
        digest(output.path())
    };
    let right = run("local", plugins);
    for name in names {
        assert_eq!(run(name, plugins), right, "{name}");
    }
    let by_c = bench_tests::folder(&[("example_rust_by_c", "example_rust")]);
    assert_eq!(run("example_rust", by_c.path().to_str().unwrap()), right, "Rust behind the C table");
}

#[test]
fn a_plugin_in_c_is_described_like_any_other() {
    let folder = folder(&[("example_c", "example_c")]);
    let plugins = folder.path().to_str().unwrap();
    let mut info = bench_tests::bench(&["backends", "info", "example_c", "--json", "--plugins-dir", plugins]);
    let output = succeed(info.arg("--no-user-plugins"));
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let description = &listing["description"];
    assert_eq!(description["abi"], "c/1");
    assert_eq!(description["api_version"], bench_plugin_api::API_VERSION);
    assert_eq!(description["plugin_version"], "1.0.0");
    assert_eq!(description["availability"]["detail"], "one thread of C");
}
