//! What is told of the keys: the effective values, the reference, the sample.

use super::Config;
use super::key::{Key, Names, Section, Setting, find};
use super::layers::{Loaded, Origin};
use super::table::SECTIONS;
use super::value::Value;
use std::fmt::Write;

/// Columns of text.
const WIDTH: usize = 100;

/// How the reference is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// For a terminal.
    Text,
    /// For a page.
    Markdown,
}

impl Loaded {
    /// The effective configuration as TOML, each value with its origin in a comment. Reading it gives the same configuration.
    #[must_use]
    pub fn print(&self) -> String {
        let lines: Vec<(Setting, String)> = self
            .settings()
            .into_iter()
            .map(|setting| {
                let mark = if self.is_void(&setting) { "#" } else { "" };
                let line = format!("{mark}{} = {}", setting.leaf(), setting.key.show(&setting.value(&self.config)));
                (setting, line)
            })
            .collect();
        let width = lines.iter().map(|(_, line)| line.chars().count()).max().unwrap_or(0);
        let (mut out, mut table) = (String::new(), String::new());
        for (setting, line) in lines {
            if setting.table() != table {
                let gap = if table.is_empty() { "" } else { "\n" };
                table = setting.table();
                put(&mut out, format_args!("{gap}[{table}]"));
            }
            let void = if self.is_void(&setting) { setting.key.excludes } else { None };
            let void = void.map(|other| format!("; {other} holds")).unwrap_or_default();
            put(&mut out, format_args!("{line:width$}  # {}{void}", self.origin(&setting.to_string())));
        }
        out
    }

    /// Whether another key was set that says the same in another way.
    fn is_void(&self, setting: &Setting) -> bool {
        let is_set = |path: &str| self.origin(path) != Origin::Default;
        let other = setting.key.excludes.and_then(|other| find(SECTIONS, other));
        !is_set(&setting.to_string())
            && other.is_some_and(|other| is_set(&other.to_string()) && other.value(&self.config) != Value::Unset)
    }
}

/// A sample that says what every key is, all of them commented out: as it stands, it sets nothing.
#[must_use]
pub fn sample() -> String {
    let default = Config::default();
    let mut out = String::from(
        "# Configuration of tapeline. Every key is here with its default, commented out.\n\
         #\n\
         # A variable of the environment goes over this file, a flag over both: TAPELINE_ENGINE_SHARDS=2, --set engine.shards=2.\n\
         # Times have units (5ms, 250us, 2h), and so have sizes (64KiB, 1MiB).\n\
         # `tapeline config check FILE` checks a file; `tapeline replay --config FILE --print-config` shows what holds, and why.\n",
    );
    for section in SECTIONS {
        let names = section.names(&default);
        let (of_table, of_key) =
            if section.path.contains('<') { (names, vec![]) } else { (vec![String::new()], names) };
        for (index, name) in of_table.into_iter().enumerate() {
            // The second table of a kind has the same keys.
            let is_first = index == 0;
            put(&mut out, "");
            if is_first {
                comment(&mut out, section.doc);
            }
            let table = Setting { section, key: &section.keys[0], name: name.clone() }.table();
            put(&mut out, format_args!("[{table}]"));
            for key in section.keys {
                if is_first {
                    put(&mut out, "");
                    comment(&mut out, &format!("{} Allowed: {}.", key.doc, key.allowed()));
                }
                let names = if key.name.contains('<') { of_key.clone() } else { vec![name.clone()] };
                for name in names {
                    let setting = Setting { section, key, name };
                    put(&mut out, format_args!("#{} = {}", setting.leaf(), key.show(&setting.value(&default))));
                }
            }
        }
    }
    out
}

/// Every key with its default, what it may be, its variable, its flag, and what it does.
#[must_use]
pub fn reference(style: Style) -> String {
    let default = Config::default();
    let mut out = String::new();
    if style == Style::Markdown {
        out.push_str("# Configuration\n\nA file is TOML. ");
        out.push_str(
            "A variable of the environment goes over the file, a flag over both; `--set KEY=VALUE` sets any key.\n",
        );
    }
    for section in SECTIONS {
        match style {
            Style::Markdown => {
                put(&mut out, format_args!("\n## `[{}]`\n\n{}\n", section.path, code_safe(section.doc)));
                put(&mut out, "| key | default | allowed | what it sets |\n|---|---|---|---|");
            }
            Style::Text => {
                let gap = if out.is_empty() { "" } else { "\n" };
                put(&mut out, format_args!("{gap}[{}]", section.path));
                wrapped(&mut out, "", section.doc);
            }
        }
        for key in section.keys {
            let shown = shown_default(section, key, &default);
            let ways = ways(section, key);
            match style {
                Style::Markdown => {
                    let cell = |text: &str| code_safe(text).replace('|', "\\|");
                    let what = format!("{} {ways}", cell(key.doc));
                    let row = format_args!(
                        "| `{}` | `{}` | {} | {what} |",
                        key.name,
                        shown.replace('|', "\\|"),
                        cell(&key.allowed())
                    );
                    put(&mut out, row);
                }
                Style::Text => {
                    put(&mut out, format_args!("\n  {} = {shown}", key.name));
                    wrapped(&mut out, "      ", key.doc);
                    wrapped(&mut out, "      ", &format!("Allowed: {}.", key.allowed()));
                    wrapped(&mut out, "      ", &ways.replace('`', ""));
                }
            }
        }
    }
    out
}

/// The default of a row; for a row with a name, that of a new one, or of the first where no new one can be.
fn shown_default(section: &'static Section, key: &'static Key, default: &Config) -> String {
    let name = match &section.names {
        // What one begins with that the configuration adds.
        Some(Names::Free { .. }) => "name".to_owned(),
        _ => section.names(default).first().cloned().unwrap_or_default(),
    };
    key.show(&Setting { section, key, name }.value(default))
}

/// Variable and flag of a row.
fn ways(section: &Section, key: &Key) -> String {
    let path = format!("{}.{}", section.path, key.name);
    let flag = key.flag.map(|flag| format!(", flag `--{flag}`")).unwrap_or_default();
    format!("Variable `{}`{flag}.", super::key::variable(&path))
}

/// A text in which `<...>` is not taken for a tag.
fn code_safe(text: &str) -> String {
    text.replace('<', "&lt;")
}

fn put(out: &mut String, line: impl std::fmt::Display) {
    writeln!(out, "{line}").expect("a String takes it all");
}

fn comment(out: &mut String, text: &str) {
    wrapped(out, "# ", text);
}

/// Text in lines of at most [`WIDTH`] columns, each begun by `indent`. A longer word stands alone.
fn wrapped(out: &mut String, indent: &str, text: &str) {
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if line.len() > indent.len() && line.len() + 1 + word.len() > WIDTH {
            put(out, &line);
            line.truncate(indent.len());
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    put(out, line);
}
