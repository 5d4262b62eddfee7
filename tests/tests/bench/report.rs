//! The guide's paired command on the real SAGE and Ray, and its report in a real browser.
//!
//! Without `bench backends install sage` and `ray` the pair is `local` against itself; without
//! Chromium nothing looks at the page. Both are said, and are failures where `BENCH_REQUIRE_RUNTIMES`
//! is set, as it is in CI.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use bench_tests::pairs::{files, json, text};
use bench_tests::runtimes::runtimes;
use bench_tests::skip::skip;
use bench_tests::{bench, records, stderr};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Looks at the page from inside.
const AUDIT: &str = include_str!("report/audit.js");
const WIDTH: u32 = 1280;
/// The page's own background in both colour schemes.
const LIGHT: [u8; 3] = [0xff, 0xff, 0xff];
const DARK: [u8; 3] = [0x14, 0x17, 0x1b];

struct Pair {
    folder: PathBuf,
    backends: &'static [&'static str],
}

/// Made once: real runtimes take their time to start.
static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    // A static is never dropped, so this is a folder that need not be, and people may look at the page.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut command = bench(&["pair", "--scheduler", "fifo", "--items", "20", "--parallelism", "4"]);
    command.args(["--nodes", "1", "--seed", "42", "--no-user-plugins"]).current_dir(&folder);
    let alone = runtimes(&["sage", "ray"]);
    let backends: &[_] = if alone.is_some() { &["sage", "ray"] } else { &["local"] };
    if backends.len() == 1 {
        command.args(["--aa", "--backends", "local"]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    Pair { folder, backends }
});

impl Pair {
    /// `artifacts/paired_backend_runs/run_id=<uuid>/config_hash=<12 digits>`, and nothing else beside.
    fn tree(&self) -> PathBuf {
        let only = |folder: &Path, start: &str, length: usize| {
            let entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(entries.len(), 1, "{entries:?}");
            let name = entries[0].file_name().unwrap().to_str().unwrap();
            assert!(name.strip_prefix(start).is_some_and(|rest| rest.len() == length), "{name}");
            entries[0].clone()
        };
        let root = self.folder.join("artifacts/paired_backend_runs");
        only(&only(&root, "run_id=", 36), "config_hash=", 12)
    }

    fn page(&self) -> PathBuf {
        self.tree().join("comparison/report.html")
    }

    fn records(&self) -> Vec<Value> {
        let folders = self.backends.iter().map(|backend| self.tree().join("backends").join(backend));
        folders.flat_map(|folder| records(&folder)).collect()
    }

    /// What `bench compare` says of the same results.
    fn verdicts(&self) -> Vec<String> {
        let output = TempDir::new().unwrap();
        let runs = self.tree().join("backends");
        let args = ["compare", text(&runs), "--json", "--output-dir", text(output.path())];
        let shown: Value = serde_json::from_slice(&bench(&args).output().unwrap().stdout).unwrap();
        let verdicts = shown["verdicts"].as_array().unwrap();
        verdicts.iter().map(|verdict| verdict.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_guides_command_on_sage_and_ray_makes_the_guides_tree() {
    if PAIR.backends != ["sage", "ray"] {
        return skip("sage or ray is not installed", "the pair is `local` against itself");
    }
    let tree = PAIR.tree();
    let found: BTreeSet<String> = files(&tree).iter().map(|file| text(file).to_owned()).collect();
    let guide = [
        "backends/sage/unified_results.jsonl",
        "backends/sage/unified_results.csv",
        "backends/ray/unified_results.jsonl",
        "backends/ray/unified_results.csv",
        "comparison/summary.md",
        "comparison/comparison.csv",
        "comparison/throughput_comparison.png",
        "comparison/latency_p95_p99_comparison.png",
        "logs/sage.log",
        "logs/ray.log",
        "logs/compare.log",
        "manifest.json",
    ];
    for file in guide {
        assert!(found.contains(file), "{file} is missing from {found:#?}");
        assert!(fs::metadata(tree.join(file)).unwrap().len() > 0, "{file}");
    }
    // What this version adds has places of its own.
    let added = |file: &&String| {
        let own = ["plan.json", "comparison/report.html", ".bench.lock"].contains(&file.as_str());
        let chart = file.starts_with("comparison/") && (file.ends_with(".png") || file.ends_with(".svg"));
        let name = file.rsplit('/').next().unwrap();
        let of_backend = ["repro_manifest.json", ".bench.lock", "items.csv", "latency.hlog", "run.log"];
        own || chart || file.starts_with("backends/") && of_backend.contains(&name)
    };
    let other: Vec<_> = found.iter().filter(|file| !guide.contains(&file.as_str()) && !added(file)).collect();
    assert!(other.is_empty(), "{other:?}");
    let records = PAIR.records();
    let backends: Vec<_> = records.iter().map(|record| record["backend"].as_str().unwrap()).collect();
    assert_eq!(backends, ["sage", "ray"]);
    for record in &records {
        assert_eq!((&record["workload"], &record["seed"]), (&json!("wl4"), &json!(42)));
        assert_eq!((&record["nodes"], &record["parallelism"]), (&json!(1), &json!(4)));
        assert_eq!((&record["extra"]["scheduler"], &record["success_rate"]), (&json!("fifo"), &json!(1.0)));
        assert_eq!(record["extra"]["items"]["completed"], 20);
    }
    assert_eq!(records[0]["run_id"], records[1]["run_id"]);
    assert_eq!(records[0]["config_hash"], records[1]["config_hash"]);
    assert_eq!(records[0]["extra"]["output_digest"], records[1]["extra"]["output_digest"]);
    let manifest = json(&tree.join("manifest.json"));
    assert_eq!((&manifest["status"], &manifest["config"]["items"]), (&json!("success"), &json!(20)));
}

/// Chromium with a profile of its own, on one page.
struct Browser {
    program: PathBuf,
    profile: TempDir,
}

impl Browser {
    fn find() -> Option<Self> {
        let program = std::env::var_os("BENCH_CHROMIUM").map(PathBuf::from);
        if program.is_none() {
            skip("there is no Chromium", "install chromium, or name one in BENCH_CHROMIUM");
        }
        Some(Self { program: program?, profile: TempDir::new().unwrap() })
    }

    fn open(&self, page: &Path, dark: bool, more: &[&str]) -> Vec<u8> {
        let mut command = Command::new(&self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-dev-shm-usage", "--virtual-time-budget=2000"]);
        // As Blink numbers the values of prefers-color-scheme.
        command.arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }));
        command.arg(format!("--user-data-dir={}", text(self.profile.path())));
        let output = command.args(more).arg(format!("file://{}", text(page))).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    }

    fn dom(&self, page: &Path) -> String {
        String::from_utf8(self.open(page, false, &["--dump-dom"])).unwrap()
    }

    /// What [`AUDIT`] finds. The copy of the page has no security policy, or the audit could not run.
    fn audit(&self, page: &Path, dark: bool, width: u32) -> Value {
        let page_text = fs::read_to_string(page).unwrap();
        let (before, policy) = page_text.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
        let (_, after) = policy.split_once('>').unwrap();
        let copy = self.profile.path().join("audited.html");
        fs::write(
            &copy,
            format!("{before}{after}").replace("</body>", &format!("<script>{AUDIT}</script></body>")),
        )
        .unwrap();
        let size = format!("--window-size={width},1000");
        let dom = String::from_utf8(self.open(&copy, dark, &[&size, "--dump-dom"])).unwrap();
        let (_, found) = dom.split_once("id=\"audit\">").expect("the audit ran to its end");
        serde_json::from_str(found.split_once("</script>").unwrap().0).unwrap()
    }

    fn screenshot(&self, page: &Path, dark: bool, height: u32, more: &[&str]) -> Picture {
        let name = if dark { "report_dark.png" } else { "report_light.png" };
        let file = self.profile.path().join(name);
        let (to, size) = (format!("--screenshot={}", text(&file)), format!("--window-size={WIDTH},{height}"));
        self.open(page, dark, &[&[to.as_str(), &size], more].concat());
        // For people: BENCH_SCREENSHOTS names a folder to keep them in.
        if let Some(folder) = std::env::var_os("BENCH_SCREENSHOTS") {
            fs::copy(&file, Path::new(&folder).join(name)).unwrap();
        }
        Picture::read(&file)
    }
}

struct Picture {
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn read(file: &Path) -> Self {
        let mut reader = png::Decoder::new(Cursor::new(fs::read(file).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        Self { width: info.width as usize, channels: info.color_type.samples(), pixels }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let from = (y * self.width + x) * self.channels;
        [self.pixels[from], self.pixels[from + 1], self.pixels[from + 2]]
    }

    /// Colours of a rectangle of the page.
    fn colours(&self, area: &Value) -> HashSet<[u8; 3]> {
        let side = |name: &str| area[name].as_f64().unwrap() as usize;
        let rows = side("top")..side("top") + side("height");
        rows.flat_map(|y| (side("left")..side("left") + side("width")).map(move |x| self.at(x, y))).collect()
    }
}

#[test]
fn the_page_shows_the_pair() {
    let Some(browser) = Browser::find() else { return };
    let (records, dom) = (PAIR.records(), browser.dom(&PAIR.page()));
    for record in &records {
        for name in [&record["backend"], &record["extra"]["output_digest"], &record["workload"]] {
            assert!(dom.contains(name.as_str().unwrap()), "{name} is not on the page");
        }
    }
    assert!(dom.contains(&format!("{} records of 2 backends", records.len())), "{dom}");
    for verdict in PAIR.verdicts() {
        assert!(dom.contains(&verdict), "{verdict:?} is not on the page");
    }
    assert!(dom.contains("equal: all runs of all backends gave the same answers"));
    for chart in ["throughput", "latency"] {
        assert!(dom.contains(&format!("<figure id=\"c-{chart}")), "{chart}");
    }
    // The policy lets the page's own script run, and that has made buttons.
    assert!(dom.contains("aria-sort=\"none\"><button type=\"button\">"));
}

#[test]
fn everyone_can_read_it_in_light_and_dark_wide_and_narrow() {
    let Some(browser) = Browser::find() else { return };
    for (dark, width) in [(false, WIDTH), (true, WIDTH), (false, 500)] {
        let found = browser.audit(&PAIR.page(), dark, width);
        assert_eq!(found["dark"], dark);
        assert_eq!(found["wrongs"], json!([]), "dark: {dark}, {width} wide");
        assert_eq!(found["overflow"], 0, "{width} wide");
        assert!(found["texts"].as_u64() > Some(100), "{found}");
    }
}

#[test]
fn a_click_sorts_and_another_turns_the_order_round() {
    let Some(browser) = Browser::find() else { return };
    let found = browser.audit(&PAIR.page(), false, WIDTH);
    let order = |click: usize| -> (String, Vec<String>) {
        serde_json::from_value(found["orders"][click].clone()).unwrap()
    };
    let ((up, ascending), (down, mut descending)) = (order(0), order(1));
    assert_eq!((up.as_str(), down.as_str()), ("ascending", "descending"));
    assert!(ascending.len() > 1 && ascending.is_sorted(), "{ascending:?}");
    descending.reverse();
    assert_eq!(ascending, descending);
}

#[test]
fn charts_are_drawn_in_light_and_dark_and_without_script() {
    let Some(browser) = Browser::find() else { return };
    let page = PAIR.page();
    for (dark, background) in [(false, LIGHT), (true, DARK)] {
        let found = browser.audit(&page, dark, WIDTH);
        let height = found["height"].as_u64().unwrap() as u32;
        let picture = browser.screenshot(&page, dark, height, &[]);
        assert_eq!(picture.at(2, 2), background);
        let charts = found["charts"].as_array().unwrap();
        assert!(charts.len() >= 2, "{charts:?}");
        for chart in charts {
            let colours = picture.colours(chart);
            assert!(
                colours.len() > 20 && colours.contains(&background),
                "{chart}: {} colours",
                colours.len()
            );
        }
    }
    // The markup itself holds every word and chart, so nothing waits for a script to bring it.
    let markup = fs::read_to_string(&page).unwrap();
    let visible = markup.split("<script>").next().unwrap();
    // `n/a` among them, whose slash is escaped.
    let words = visible.replace("&#x2f;", "/");
    for verdict in PAIR.verdicts() {
        assert!(words.contains(&verdict), "{verdict}");
    }
    assert_eq!(visible.matches("<button").count(), 0);
    let silent = browser.profile.path().join("silent.html");
    fs::write(&silent, format!("{visible}</body></html>")).unwrap();
    let dom = browser.dom(&silent);
    assert_eq!(dom.matches("<table").count(), visible.matches("<table").count());
    assert_eq!(dom.matches("<svg").count(), visible.matches("<svg").count());
}
