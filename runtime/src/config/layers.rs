//! Layers: defaults, a file, the environment, flags; each over the one before, every value with its origin.

use super::Config;
use super::key::{self, PREFIX, Setting};
use super::table::SECTIONS;
use super::value::{Raw, Value};
use crate::engine::Setup;
use crate::ingest::Capture;
use crate::report::text::plain;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest file that is read as a configuration, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The variable that names the file.
pub const FILE_VARIABLE: &str = "TAPELINE_CONFIG";
/// What variables begin with that begin like keys and are none: they belong to the build, to its tests and its benches.
const OTHER_VARIABLES: [&str; 3] = ["TAPELINE_COMMIT", "TAPELINE_TEST_", "TAPELINE_BENCH_"];

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file.
    File {
        /// Its name, as it was given.
        name: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// A variable of the environment, by name.
    Environment(String),
    /// A flag, as it was written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line, column } => write!(f, "{}:{line}:{column}", plain(name)),
            Self::Environment(name) => f.write_str(&plain(name)),
            Self::Flag(flag) => f.write_str(&plain(flag)),
        }
    }
}

/// One thing that is wrong with a configuration: a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{origin}: {}", plain(.what))]
pub struct Fault {
    /// Where it was written.
    pub origin: Origin,
    /// Key, value, and what is allowed.
    pub what: String,
}

/// Faults of a configuration that are told: a file that is no configuration at all can have any number.
pub const FAULTS_TOLD_MAX: usize = 50;

/// What is wrong with a configuration, in the order in which it was found, a line each: at most [`FAULTS_TOLD_MAX`], and how many there
/// are beyond.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(pub Vec<Fault>, pub usize);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            fault.fmt(f)?;
        }
        if self.1 > 0 {
            write!(f, "\nand {} mistakes more", self.1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A configuration under construction. Layers are put on in the order of the calls.
///
/// ```
/// use tapeline_runtime::config::Layers;
///
/// let mut layers = Layers::default();
/// layers.file("tapeline.toml", "[engine]\nshards = 2\nring_slots = 8192");
/// layers.environment([("TAPELINE_ENGINE_SHARDS".to_owned(), "3".to_owned())]);
/// layers.flag("--shards", "engine.shards", "4");
/// let loaded = layers.finish()?;
/// assert_eq!((loaded.config.engine.shards, loaded.config.engine.ring_slots), (Some(4), 8192));
/// assert_eq!(loaded.origin("engine.ring_slots").to_string(), "tapeline.toml:3:1");
///
/// let mut layers = Layers::default();
/// layers.file("tapeline.toml", "[engine]\nshard = 2");
/// let faults = layers.finish().unwrap_err();
/// assert_eq!(faults.to_string(), "tapeline.toml:2:1: engine.shard is no key; the nearest is engine.shards");
/// # Ok::<(), tapeline_runtime::config::Faults>(())
/// ```
#[derive(Debug, Default)]
pub struct Layers {
    config: Config,
    origins: BTreeMap<String, Origin>,
    layer: Layer,
    /// Paths that the layer under construction has set.
    set: BTreeSet<String>,
    faults: Faults,
    /// What a key took the place of that says the same in another way, by the path of the other one.
    replaced: BTreeMap<String, (Value, Origin)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Layer {
    #[default]
    Defaults,
    File,
    Environment,
    Flags,
}

impl Layers {
    /// What is set from now on is of this layer. Calls that follow one another are one layer.
    fn begin(&mut self, layer: Layer) {
        if self.layer != layer {
            self.layer = layer;
            self.set.clear();
        }
    }

    /// The layer of a file: TOML. `name` is for messages.
    pub fn file(&mut self, name: &str, text: &str) {
        self.begin(Layer::File);
        let file = File { name: name.into(), text };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            // Its message may have several lines.
            let what = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            self.fault(file.at(at), what);
        }
        // What is left of a text that is no TOML would be told as unknown keys.
        if errors.is_empty() {
            self.table(&file, "", table.get_ref());
        }
    }

    fn table(&mut self, file: &File<'_>, above: &str, table: &DeTable<'_>) {
        // The map is sorted by name; messages and policies go by where they stand.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let path = if above.is_empty() { key.get_ref().to_string() } else { format!("{above}.{}", key.get_ref()) };
            let origin = file.at(key.span().start);
            match (value.get_ref(), key::find(SECTIONS, &path)) {
                (DeValue::Table(_), Some(setting)) => {
                    let what = format!("{path} is a table: {}", setting.key.allowed());
                    self.fault(origin, what);
                }
                (DeValue::Table(inner), None) if key::is_table(SECTIONS, &path) => {
                    // A table without keys is there, too.
                    if let Some((make, name)) = key::find_named(SECTIONS, &path) {
                        make(&mut self.config, &name);
                    }
                    self.table(file, &path, inner);
                }
                (_, Some(setting)) => self.apply(&setting, &file.raw(value), origin),
                (_, None) if key::is_table(SECTIONS, &path) => {
                    let what = format!("{path} = {}: it is a table, [{path}]", file.raw(value).text());
                    self.fault(origin, what);
                }
                (DeValue::Table(_), None) => {
                    let nearest = key::nearest_table(SECTIONS, &path);
                    let what = format!("[{path}] is no table; the nearest is [{nearest}]");
                    self.fault(origin, what);
                }
                (_, None) => self.unknown(&path, origin),
            }
        }
    }

    /// The layer of the environment: every variable that begins with `TAPELINE_`; others are passed over.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        self.begin(Layer::Environment);
        // In an order that does not depend on the environment's.
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        for (name, text) in variables {
            let is_other = name == FILE_VARIABLE || OTHER_VARIABLES.iter().any(|other| name.starts_with(other));
            if !name.starts_with(PREFIX) || is_other {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            match key::find_variable(SECTIONS, &name) {
                Some(setting) => self.apply(&setting, &Raw::Text(text), origin),
                None => {
                    let what = format!("no key has this variable; the nearest is {}", nearest_variable(&name));
                    self.fault(origin, what);
                }
            }
        }
    }

    /// A flag: `path` is the key that it sets, `flag` how the user wrote it. Flags are one layer, whose members may come in any order.
    pub fn flag(&mut self, flag: &str, path: &str, text: &str) {
        self.begin(Layer::Flags);
        let origin = Origin::Flag(flag.to_owned());
        match key::find(SECTIONS, path) {
            Some(setting) => self.apply(&setting, &Raw::Text(text.to_owned()), origin),
            None => self.unknown(path, origin),
        }
    }

    /// A fault that was found, here or outside. Beyond [`FAULTS_TOLD_MAX`] they are counted only.
    pub fn fault(&mut self, origin: Origin, what: String) {
        if self.faults.0.len() < FAULTS_TOLD_MAX {
            self.faults.0.push(Fault { origin, what });
        } else {
            self.faults.1 += 1;
        }
    }

    fn unknown(&mut self, path: &str, origin: Origin) {
        let what = format!("{path} is no key; the nearest is {}", key::nearest(SECTIONS, path));
        self.fault(origin, what);
    }

    fn apply(&mut self, setting: &Setting, raw: &Raw, origin: Origin) {
        let path = setting.to_string();
        let Some(value) = setting.key.read(raw) else {
            let what = format!("{path} = {}: {}", raw.text(), setting.key.allowed());
            self.fault(origin, what);
            return;
        };
        // "none" says nothing that another key could contradict.
        let is_none = value == Value::Unset && setting.key.unset.is_some_and(|(word, _)| word == "none");
        if let Some(other) = setting.key.excludes.filter(|_| !is_none) {
            if self.set.contains(other) {
                let what = format!("{path} and {other} exclude each other");
                self.fault(origin, what);
                return;
            }
            let other = key::find(SECTIONS, other).expect("Invariant: a key excludes one that there is");
            let (default, before) = (other.value(&Config::default()), other.value(&self.config));
            other.set(&mut self.config, default);
            let other = other.to_string();
            if let Some(origin) = self.origins.remove(&other) {
                self.replaced.insert(other, (before, origin));
            }
        }
        // Whoever takes back what went over another key has that one in force again.
        if is_none
            && let Some(other) = setting.key.excludes
            && let Some((before, origin)) = self.replaced.remove(other)
        {
            key::find(SECTIONS, other).expect("Invariant: as above").set(&mut self.config, before);
            self.origins.insert(other.to_owned(), origin);
        }
        self.replaced.remove(&path);
        setting.set(&mut self.config, value);
        self.origins.insert(path.clone(), origin);
        if !is_none {
            self.set.insert(path);
        }
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn finish(mut self) -> Result<Loaded, Faults> {
        for (path, what) in self.config.check() {
            let setting = key::find(SECTIONS, &path);
            let value = setting.map(|setting| setting.key.show(&setting.value(&self.config)));
            let what = value.map_or_else(|| format!("{path}: {what}"), |value| format!("{path} = {value}: {what}"));
            self.fault(self.origins.get(&path).cloned().unwrap_or(Origin::Default), what);
        }
        if self.faults.0.is_empty() {
            Ok(Loaded { config: self.config, origins: self.origins })
        } else {
            Err(self.faults)
        }
    }
}

fn nearest_variable(name: &str) -> String {
    key::nearest_variable(SECTIONS, name)
}

/// A file that is being read.
struct File<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl File<'_> {
    /// The place of a byte.
    fn at(&self, byte: usize) -> Origin {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Origin::File { name: Arc::clone(&self.name), line, column }
    }

    fn raw(&self, value: &Spanned<DeValue<'_>>) -> Raw {
        let other = || {
            let text = self.text.get(value.span()).unwrap_or_default();
            Raw::Other(text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        match value.get_ref() {
            DeValue::String(text) => Raw::String(text.to_string()),
            DeValue::Boolean(switch) => Raw::Boolean(*switch),
            DeValue::Datetime(datetime) => Raw::Datetime(datetime.to_string()),
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| other(), Raw::Integer)
            }
            DeValue::Float(number) => number.as_str().parse().map_or_else(|_| other(), Raw::Float),
            DeValue::Array(values) => {
                let integer = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
                    DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
                    _ => None,
                };
                let string = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                };
                let strings = values.iter().map(string).collect::<Option<_>>().map(Raw::Strings);
                let integers = || values.iter().map(integer).collect::<Option<_>>().map(Raw::Integers);
                strings.or_else(integers).unwrap_or_else(other)
            }
            DeValue::Table(_) => other(),
        }
    }
}

/// A configuration that has passed every check, and where its values came from.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the value of a key came from.
    #[must_use]
    pub fn origin(&self, path: &str) -> Origin {
        self.origins.get(path).cloned().unwrap_or(Origin::Default)
    }

    /// Every setting of this configuration, in the order of the table.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for section in SECTIONS {
            for name in section.names(&self.config) {
                settings.extend(section.keys.iter().map(|key| Setting { section, key, name: name.clone() }));
            }
        }
        settings
    }

    /// SHA-256 of the effective configuration, hex: of a line `path = value` for every key, the defaults included. Where the values came
    /// from does not matter.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for setting in self.settings() {
            hash.update(format!("{setting} = {}\n", setting.key.show(&setting.value(&self.config))));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As [`Config::setup`]; a configuration that was loaded is a checked one.
    #[must_use]
    pub fn setup(&self, captures: Vec<Capture>) -> Setup {
        self.config.setup(captures)
    }
}
