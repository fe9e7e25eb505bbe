//! The repository's own rules, as a test: what a reader would otherwise have to look for.
//!
//! Patterns that this file must not contain itself are put together from two halves.

#[path = "tidy/peers.rs"]
mod peers;
#[path = "tidy/requirements.rs"]
mod requirements;

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tools/ stands in the repository").to_owned()
}

/// A text file: its path below the root, with `/`, and what it says.
struct Text {
    path: String,
    text: String,
}

impl Text {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// `path:line` of each line for which `is_bad`, with the line.
    fn lines(&self, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.text.lines().enumerate().filter(|(_, line)| is_bad(line));
        lines.map(|(number, line)| format!("{}:{}: {}", self.path, number + 1, line.trim())).collect()
    }
}

/// Whether the repository does not track what has this name: build outputs, and what is beside the source.
fn is_skipped(name: &str) -> bool {
    name == ".git" || name == "target" || name.ends_with("-target") || name == "proptest-regressions"
}

/// Every text file of the repository, in the order of the paths.
fn texts() -> Vec<Text> {
    fn walk(folder: &Path, root: &Path, into: &mut Vec<Text>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.expect("an entry of the folder");
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("its type");
            if is_skipped(&name) || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                walk(&entry.path(), root, into);
                continue;
            }
            let is_text = [".rs", ".md", ".toml", ".txt", ".json", ".sh", ".yml", ".yaml"];
            let is_script = folder.file_name().is_some_and(|name| name == ".ci") || name.starts_with('.');
            if !is_script && !is_text.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let path = entry.path();
            let path = path.strip_prefix(root).expect("below the root");
            let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            // What is no UTF-8 is no text.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                into.push(Text { path: parts.join("/"), text });
            }
        }
    }
    let mut texts = Vec::new();
    let root = root();
    walk(&root, &root, &mut texts);
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    let has = |path: &str| texts.iter().any(|text| text.path == path);
    assert!(has("core/src/lib.rs") && has("tools/tests/tidy.rs") && has("Cargo.toml"), "the walk found the repository");
    texts
}

/// Fails with every finding.
fn none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [["to", "do!("], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"], ["TO", "DO"], ["unimple", "mented!("]]
        .map(|halves| halves.concat());
    let found = |text: &Text| text.lines(|line| marks.iter().any(|mark| line.contains(mark.as_str())));
    none("marks of unfinished work", texts().iter().filter(|text| text.is_rust()).flat_map(found).collect());
}

#[test]
fn no_path_of_one_machine() {
    let paths = [["/wo", "rk/"], ["/ro", "ot/"], ["/tm", "p/wt"], ["/ho", "me/"], ["/Us", "ers/"]]
        .map(|halves| halves.concat());
    let found = |text: &Text| text.lines(|line| paths.iter().any(|path| line.contains(path.as_str())));
    none("paths of one machine", texts().iter().flat_map(found).collect());
}

#[test]
fn every_module_says_what_it_is() {
    let texts = texts();
    let silent = texts.iter().filter(|text| text.is_rust() && !text.text.starts_with("//!"));
    none("files that do not begin with `//!`", silent.map(|text| text.path.clone()).collect());
}

#[test]
fn one_module_knows_glommio() {
    let name = ["glommio", "::"].concat();
    let call = format!("=> {name}run(");
    let found = |text: &Text| {
        let knows = text.path == "runtime/src/driver/glommio.rs";
        // The one call into that module, whose name is the crate's.
        let chooses = |line: &str| text.path == "runtime/src/driver/mod.rs" && line.contains(call.as_str());
        text.lines(|line| !knows && line.contains(name.as_str()) && !chooses(line))
    };
    none("glommio outside its module", texts().iter().filter(|text| text.is_rust()).flat_map(found).collect());
}

/// A line without its comment. No string of `core` holds `//`, or the rules that use this would see less.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Sources of `core`, the testing modules apart.
fn core_sources() -> Vec<Text> {
    let is_core = |text: &Text| {
        text.is_rust() && text.path.starts_with("core/src/") && !text.path.starts_with("core/src/testing/")
    };
    let sources: Vec<Text> = texts().into_iter().filter(is_core).collect();
    assert!(sources.len() > 30, "core has more than {} files", sources.len());
    sources
}

#[test]
fn atomics_of_core_stand_behind_one_seam() {
    let sources = core_sources();
    let others = || sources.iter().filter(|text| text.path != "core/src/sync.rs");
    let found = others().flat_map(|text| {
        text.lines(|line| {
            let line = code(line);
            ["std::sync::", "core::sync::", "std::cell::UnsafeCell", "core::cell::UnsafeCell", "loom::", "shuttle::"]
                .iter()
                .any(|name| line.contains(name))
        })
    });
    none("std's, loom's or shuttle's types outside core/src/sync.rs", found.collect());
    // The seam's types themselves are for the ring, the stop word and the swap.
    let found = others().flat_map(|text| {
        let is_shared = text.path.starts_with("core/src/ring/")
            || ["core/src/stop.rs", "core/src/swap.rs"].contains(&text.path.as_str());
        text.lines(|line| !is_shared && (code(line).contains("Atomic") || code(line).contains("UnsafeCell")))
    });
    none("atomics or cells outside what two threads share", found.collect());
}

#[test]
fn req_q8_3466_no_lock_exists_in_core() {
    let locks = ["Mutex", "RwLock", "Condvar", "Barrier", "parking_lot", "spin_loop"];
    let is_lock = |line: &str| locks.iter().any(|lock| code(line).contains(lock));
    none("a lock in core", core_sources().iter().flat_map(|text| text.lines(is_lock)).collect());
    // Nor a read-modify-write on the way of an event: only the word that stops a loop has one (the cells that check the
    // tests of the seam apart).
    let others = ["core/src/sync.rs", "core/src/stop.rs"];
    let is_exchange = |line: &str| ["fetch_", "compare_exchange"].iter().any(|name| code(line).contains(name));
    let sources = core_sources();
    let found = sources.iter().filter(|text| !others.contains(&text.path.as_str()));
    none("a read-modify-write in core", found.flat_map(|text| text.lines(is_exchange)).collect());
}

/// Metrics are cells that who owns them counts in: nothing in core could send one, or a log line, anywhere, as there is nothing to call.
#[test]
fn req_3462_3478_3553_no_call_for_metrics_or_logs_leaves_core() {
    let texts = texts();
    let manifest = &texts.iter().find(|text| text.path == "core/Cargo.toml").expect("core has a manifest").text;
    let section = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let names = section.expect("it has dependencies").lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    let all: Vec<&str> = names.filter(|name| !name.is_empty() && !name.starts_with('#')).collect();
    let pure = ["bytemuck", "crossbeam-utils", "libm", "rapidhash", "thiserror"];
    let others: Vec<String> = all.iter().filter(|name| !pure.contains(name)).map(|name| (*name).to_owned()).collect();
    assert!(all.len() >= 4, "the manifest is read: {all:?}");
    none("core depends on what could do more than compute", others);
    let calls = [
        "print!(",
        "println!(",
        "tracing::",
        " log::",
        "prometheus",
        "std::io::",
        "std::net::",
        "std::fs::",
        "std::thread::",
    ];
    let found = |text: &Text| text.lines(|line| calls.iter().any(|call| code(line).contains(call)));
    none("a call that leaves core", core_sources().iter().flat_map(found).collect());
}

#[test]
fn unsafe_of_core_is_in_two_files() {
    let allowed = ["core/src/ring/storage.rs", "core/src/swap.rs"];
    // As a word: `unsafe_code` is the name of the lint that forbids it.
    let is_unsafe =
        |line: &str| code(line).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
    let found = core_sources()
        .iter()
        .filter(|text| !allowed.contains(&text.path.as_str()))
        .flat_map(|text| text.lines(is_unsafe))
        .collect();
    none("unsafe code outside the ring's storage and the swap", found);
    let lib = core_sources().into_iter().find(|text| text.path == "core/src/lib.rs").expect("core has a lib.rs");
    assert!(lib.text.contains("#![deny(unsafe_code)]"), "core denies unsafe code, its exceptions allow it");
}

#[test]
fn an_ignored_test_says_how_to_run_it() {
    let ignore = ["#[ig", "nore"].concat();
    let found = |text: &Text| {
        text.lines(|line| {
            let line = line.trim_start();
            line.starts_with(ignore.as_str()) && !(line.contains("= \"soak: ") && line.contains("cargo test "))
        })
    };
    none(
        "ignored without a reason and a command",
        texts().iter().filter(|text| text.is_rust()).flat_map(found).collect(),
    );
}

#[test]
fn every_soak_is_in_the_soak_script() {
    let ignore = ["#[ig", "nore"].concat();
    let texts = texts();
    let script = &texts.iter().find(|text| text.path == ".ci/soak").expect("there is a soak script").text;
    let mut missing = Vec::new();
    for text in texts.iter().filter(|text| text.is_rust()) {
        let soaks = text.text.lines().filter(|line| line.trim_start().starts_with(ignore.as_str()));
        for _ in soaks {
            // `core/tests/ring_model.rs` and `runtime/tests/tape_suite/damage.rs` are the targets ring_model and tape_suite.
            let target = text.path.split('/').nth(2).unwrap_or_default().trim_end_matches(".rs");
            if !script.contains(&format!("--test {target} ")) {
                missing.push(text.path.clone());
            }
        }
    }
    none("soaks that .ci/soak does not run", missing);
}

/// Targets of the links of a Markdown text that name a file: outside of code, without their anchors.
fn links(text: &str) -> Vec<String> {
    let (mut found, mut is_code) = (Vec::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for rest in prose.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// `folder/target` without `.` and `..`.
fn resolve(folder: &Path, target: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[test]
fn links_of_documents_lead_somewhere() {
    let sample = "see [a](core/a.md#part) and `[b](c.md)` and [w](https://a.b/c)\n```\n[d](e.md)\n```\n[f](../g.md)";
    assert_eq!(links(sample), ["core/a.md", "../g.md"]);
    let root = root();
    let mut dead = Vec::new();
    for text in texts().iter().filter(|text| text.path.ends_with(".md")) {
        let folder = root.join(&text.path).parent().expect("a file has a folder").to_owned();
        let missing = links(&text.text).into_iter().filter(|target| !resolve(&folder, target).exists());
        dead.extend(missing.map(|target| format!("{}: {target}", text.path)));
    }
    none("links to files that are not there", dead);
}

#[test]
fn the_handler_of_the_readme_is_the_one_that_runs() {
    let texts = texts();
    let find = |path: &str| texts.iter().find(|text| text.path == path).map(|text| text.text.as_str());
    let readme = find("README.md").expect("there is a README");
    let example = find("tools/examples/strategy/src/main.rs").expect("its example is there");
    let (mut blocks, fence) = (0, "```rust\n");
    for rest in readme.split(fence).skip(1) {
        let block = rest.split("```").next().unwrap_or_default();
        assert!(example.contains(block), "not in the example, and so not compiled:\n{block}");
        blocks += 1;
    }
    assert!(blocks > 0, "the README shows a handler");
}
