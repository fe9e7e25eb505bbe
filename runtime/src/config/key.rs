//! Keys: what a configuration can say. One row of a table for each, from which everything else is made.

use super::Config;
use super::value::{Form, Raw, Value, is_name, quoted};
use crate::driver::{Driver, Idle};
use crate::log::LogFormat;
use crate::pacer::Arrivals;
use crate::station::Overload;
use std::fmt;
use tapeline_core::log::Level;
use tapeline_core::publisher::OnRefusal;
use tapeline_core::units::UnixNanos;

/// One key: a row of a section's table.
#[derive(Debug)]
pub struct Key {
    /// Name within its section. `<...>` stands for a name that [`Section::names`] has.
    pub name: &'static str,
    /// What its values must be.
    pub form: Form,
    /// What it sets, for the reference: a sentence, with units and what follows from it.
    pub doc: &'static str,
    /// The word for "not set", and what the engine does then.
    pub unset: Option<(&'static str, &'static str)>,
    /// The flag of `tapeline replay` that sets it, too.
    pub flag: Option<&'static str>,
    /// A key, by its whole path, that says the same thing in another way: whichever is set last, or above, holds.
    pub excludes: Option<&'static str>,
    pub(super) get: fn(&Config, &str) -> Value,
    pub(super) set: fn(&mut Config, &str, Value),
}

impl Key {
    /// A key without a flag that is always set.
    pub(super) const fn new(
        name: &'static str,
        form: Form,
        doc: &'static str,
        get: fn(&Config, &str) -> Value,
        set: fn(&mut Config, &str, Value),
    ) -> Self {
        Self { name, form, doc, unset: None, flag: None, excludes: None, get, set }
    }

    /// The word for "not set", and what it means.
    pub(super) const fn unset(mut self, word: &'static str, meaning: &'static str) -> Self {
        self.unset = Some((word, meaning));
        self
    }

    /// The flag that sets it.
    pub(super) const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// The key that says the same in another way.
    pub(super) const fn excludes(mut self, path: &'static str) -> Self {
        self.excludes = Some(path);
        self
    }

    /// The value that was written; `None` when it is not allowed.
    #[must_use]
    pub fn read(&self, raw: &Raw) -> Option<Value> {
        match (self.unset, raw.word()) {
            (Some((word, _)), Some(written)) if word == written => Some(Value::Unset),
            _ => self.form.read(raw),
        }
    }

    /// The value as TOML writes it.
    #[must_use]
    pub fn show(&self, value: &Value) -> String {
        match (value, self.unset) {
            (Value::Unset, Some((word, _))) => quoted(word),
            _ => self.form.show(value),
        }
    }

    /// What is allowed, as the end of a sentence.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.unset {
            Some((word, meaning)) => format!("{}; or {}: {meaning}", self.form.allowed(), quoted(word)),
            None => self.form.allowed(),
        }
    }
}

/// Makes what has that name, with its defaults, where it is not there.
pub type Make = fn(&mut Config, &str);

/// The names that stand for `<...>` in a section.
#[derive(Debug)]
pub enum Names {
    /// Those that the configuration gives.
    Free {
        /// Those that there are.
        list: fn(&Config) -> Vec<String>,
        /// Makes one, with its defaults, where it is not there.
        make: Make,
    },
    /// These.
    Of(fn() -> Vec<&'static str>),
}

/// A table of TOML, and its keys.
#[derive(Debug)]
pub struct Section {
    /// Path. `<...>` stands for a name.
    pub path: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Names for `<...>`.
    pub names: Option<Names>,
    /// Rows.
    pub keys: &'static [Key],
}

impl Section {
    /// Names that its keys, or the section itself, have in this configuration: one empty one where there is no `<...>`.
    #[must_use]
    pub fn names(&self, config: &Config) -> Vec<String> {
        match &self.names {
            None => vec![String::new()],
            Some(Names::Free { list, .. }) => list(config),
            Some(Names::Of(list)) => list().into_iter().map(str::to_owned).collect(),
        }
    }

    fn admits(&self, name: &str) -> bool {
        match &self.names {
            None => false,
            Some(Names::Free { .. }) => is_name(name),
            Some(Names::Of(list)) => list().contains(&name),
        }
    }
}

/// One setting: a key, and its name where the key has one.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its section.
    pub section: &'static Section,
    /// Its row.
    pub key: &'static Key,
    /// What stands for `<...>`; empty where there is none.
    pub name: String,
}

impl Setting {
    /// Its value in this configuration.
    #[must_use]
    pub fn value(&self, config: &Config) -> Value {
        (self.key.get)(config, &self.name)
    }

    /// Sets it. The value is one of its form.
    pub fn set(&self, config: &mut Config, value: Value) {
        (self.key.set)(config, &self.name, value);
    }

    /// Path of its table of TOML.
    #[must_use]
    pub fn table(&self) -> String {
        fill(self.section.path, &self.name)
    }

    /// Its name within the table.
    #[must_use]
    pub fn leaf(&self) -> String {
        fill(self.key.name, &self.name)
    }

    /// Its variable in the environment.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(&self.to_string())
    }
}

/// The path.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table(), self.leaf())
    }
}

/// The variable of a path.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_ascii_uppercase())
}

/// What the variables of all keys begin with.
pub(super) const PREFIX: &str = "TAPELINE_";

fn fill(pattern: &str, name: &str) -> String {
    match (pattern.find('<'), pattern.find('>')) {
        (Some(from), Some(to)) => format!("{}{name}{}", &pattern[..from], &pattern[to + 1..]),
        _ => pattern.to_owned(),
    }
}

/// Every row of these sections, with its whole path. `<...>` is left in it.
fn rows(sections: &'static [Section]) -> impl Iterator<Item = (&'static Section, &'static Key, String)> {
    sections.iter().flat_map(|section| {
        section.keys.iter().map(move |key| (section, key, format!("{}.{}", section.path, key.name)))
    })
}

/// What stands for `<...>` if `path` is of this pattern: empty without one.
fn matched(pattern: &str, path: &str) -> Option<String> {
    let Some((before, rest)) = pattern.split_once('<') else { return (pattern == path).then(String::new) };
    let after = rest.split_once('>').map_or("", |(_, after)| after);
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && !name.contains('.')).then(|| name.to_owned())
}

/// The setting of that path.
#[must_use]
pub(super) fn find(sections: &'static [Section], path: &str) -> Option<Setting> {
    rows(sections).find_map(|(section, key, pattern)| {
        let name = matched(&pattern, path)?;
        (name.is_empty() || section.admits(&name)).then_some(Setting { section, key, name })
    })
}

/// The setting of that variable of the environment.
#[must_use]
pub(super) fn find_variable(sections: &'static [Section], name: &str) -> Option<Setting> {
    rows(sections).find_map(|(section, key, pattern)| {
        let found = matched(&variable(&pattern), name)?.to_ascii_lowercase();
        (found.is_empty() || section.admits(&found)).then_some(Setting { section, key, name: found })
    })
}

/// The table of that path, where the configuration gives it its name, and that name.
#[must_use]
pub(super) fn find_named(sections: &'static [Section], path: &str) -> Option<(Make, String)> {
    sections.iter().find_map(|section| {
        let Some(Names::Free { make, .. }) = section.names else { return None };
        let name = matched(section.path, path).filter(|name| section.admits(name))?;
        Some((make, name))
    })
}

/// Whether there are keys below that path.
#[must_use]
pub(super) fn is_table(sections: &'static [Section], path: &str) -> bool {
    let depth = path.split('.').count();
    rows(sections).any(|(section, _, pattern)| {
        let above: Vec<&str> = pattern.split('.').take(depth).collect();
        if above.len() < depth || pattern.split('.').count() == depth {
            return false;
        }
        let above = above.join(".");
        match matched(&above, path) {
            Some(name) => name.is_empty() || section.admits(&name),
            None => false,
        }
    })
}

/// The path that is nearest to one that nobody knows: by edits (Damerau and Levenshtein), or the same key of another section.
#[must_use]
pub(super) fn nearest(sections: &'static [Section], path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let leaf = parts.last().copied().unwrap_or_default();
    let candidates = rows(sections).flat_map(|(section, _, pattern)| {
        // What the user wrote where a name stands; a name of the list where it has to be one.
        let at = pattern.split('.').position(|part| part.starts_with('<'));
        let names: Vec<String> = match (at, &section.names) {
            (None, _) | (_, None) => vec![String::new()],
            (Some(at), Some(Names::Free { .. })) => vec![parts.get(at).copied().unwrap_or("name").to_owned()],
            (Some(_), Some(Names::Of(list))) => list().into_iter().map(str::to_owned).collect(),
        };
        names.into_iter().map(move |name| fill(&pattern, &name)).collect::<Vec<_>>()
    });
    let distance = |candidate: &String| {
        let same_leaf = !leaf.is_empty() && candidate.ends_with(leaf) && candidate.rsplit('.').next() == Some(leaf);
        let edits = strsim::damerau_levenshtein(candidate, path);
        if same_leaf { edits.min(1) } else { edits }
    };
    // The first of the table where several are equally near.
    candidates.min_by_key(distance).unwrap_or_default()
}

/// The table that is nearest to one that nobody knows.
#[must_use]
pub(super) fn nearest_table(sections: &'static [Section], path: &str) -> &'static str {
    // A table above others is compared with what is above those.
    let depth = path.split('.').count();
    let above = |known: &str| known.split('.').take(depth).collect::<Vec<_>>().join(".");
    let paths = sections.iter().map(|section| section.path);
    paths.min_by_key(|known| strsim::damerau_levenshtein(&above(known), path)).unwrap_or_default()
}

/// The variable that is nearest to one that nobody knows.
#[must_use]
pub(super) fn nearest_variable(sections: &'static [Section], name: &str) -> String {
    let variables = rows(sections).map(|(_, _, pattern)| variable(&pattern));
    variables.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default()
}

/// Rust types that settings are kept in.
pub(super) trait Stored: Sized {
    /// As a value.
    fn value(&self) -> Value;

    /// From a value that its key's form has admitted. `None` = it is of another type, which is a mistake in the table.
    fn of(value: Value) -> Option<Self>;

    /// As [`Stored::of`].
    ///
    /// # Panics
    /// When the table of keys gives a form that the field cannot hold.
    fn stored(value: Value) -> Self {
        let told = format!("{value:?}");
        Self::of(value).unwrap_or_else(|| panic!("Invariant: the form of a key fits its field, not {told}"))
    }
}

macro_rules! stored_integers {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            fn value(&self) -> Value {
                Value::Whole(*self as u64)
            }

            fn of(value: Value) -> Option<Self> {
                if let Value::Whole(number) = value { Self::try_from(number).ok() } else { None }
            }
        }
    )*};
}

stored_integers!(i8, u8, u16, u32, u64, usize);

impl Stored for bool {
    fn value(&self) -> Value {
        Value::Switch(*self)
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Switch(switch) = value { Some(switch) } else { None }
    }
}

impl Stored for f64 {
    fn value(&self) -> Value {
        Value::Number(*self)
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl Stored for String {
    fn value(&self) -> Value {
        Value::Word(self.clone())
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Word(word) = value { Some(word) } else { None }
    }
}

impl Stored for Vec<String> {
    fn value(&self) -> Value {
        Value::Words(self.clone())
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Words(words) = value { Some(words) } else { None }
    }
}

impl Stored for UnixNanos {
    fn value(&self) -> Value {
        Value::Whole(self.0)
    }

    fn of(value: Value) -> Option<Self> {
        u64::of(value).map(Self)
    }
}

impl Stored for Vec<usize> {
    fn value(&self) -> Value {
        Value::Cores(self.clone())
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Cores(cores) = value { Some(cores) } else { None }
    }
}

impl<T: Stored> Stored for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Unset, T::value)
    }

    fn of(value: Value) -> Option<Self> {
        if value == Value::Unset { Some(None) } else { T::of(value).map(Some) }
    }
}

/// Enumerations by the words of a [`Form::Choice`], which [`Words::WORDS`] are.
pub(super) trait Words: Copy + PartialEq + 'static {
    /// Each variant's word.
    const ALL: &'static [(&'static str, Self)];
}

macro_rules! words {
    ($type:ty, $words:ident, $($word:literal = $variant:expr),* $(,)?) => {
        /// Words for the choice.
        pub(super) const $words: &[&str] = &[$($word),*];

        impl $crate::config::key::Words for $type {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, $variant)),*];
        }

        impl $crate::config::key::Stored for $type {
            fn value(&self) -> Value {
                let word = <Self as $crate::config::key::Words>::ALL.iter().find(|(_, variant)| variant == self).map(|(word, _)| *word);
                Value::Word(word.expect("Invariant: every variant has a word").to_owned())
            }

            fn of(value: Value) -> Option<Self> {
                let Value::Word(word) = value else { return None };
                <Self as $crate::config::key::Words>::ALL.iter().find(|(known, _)| *known == word).map(|(_, variant)| *variant)
            }
        }
    };
}

pub(super) use words;

words!(Driver, DRIVERS, "glommio" = Driver::Glommio, "threads" = Driver::Threads);
words!(Idle, IDLES, "busy-spin" = Idle::BusySpin, "yield" = Idle::Yield);
words!(
    Level,
    LEVELS,
    "off" = Level::Off,
    "error" = Level::Error,
    "warn" = Level::Warn,
    "info" = Level::Info,
    "trace" = Level::Trace
);
words!(LogFormat, LOG_FORMATS, "text" = LogFormat::Text, "json" = LogFormat::Json);
words!(OnRefusal, REFUSALS, "keep" = OnRefusal::Keep, "dead_letter" = OnRefusal::DeadLetter);
words!(Arrivals, ARRIVALS, "constant" = Arrivals::Constant, "poisson" = Arrivals::Poisson);
words!(Overload, OVERLOADS, "wait" = Overload::Wait, "live" = Overload::Live);
