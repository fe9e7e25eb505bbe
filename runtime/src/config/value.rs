//! Values of settings: how they are written, what is allowed, how they are shown.

use crate::machine::parse_cores_in_order;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};
use tapeline_core::limits::SYMBOL_BYTES_MAX;

/// Longest name that a configuration gives to something, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// Longest name of a column in bytes.
const COLUMN_BYTES_MAX: usize = 96;

/// A checked value, whatever it is a value of. Times are nanoseconds, sizes are bytes.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// The key's word for "not set".
    Unset,
    /// On or off.
    Switch(bool),
    /// A count, a time in ns, a size in bytes, or an instant in ns since the UNIX epoch.
    Whole(u64),
    /// A real number, finite.
    Number(f64),
    /// A choice or a name.
    Word(String),
    /// Several words, in order.
    Words(Vec<String>),
    /// Cores, in order.
    Cores(Vec<usize>),
}

/// A value as it was written, before it is known what it is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Raw {
    /// From the environment or a flag, where everything is text.
    Text(String),
    /// A string of TOML.
    String(String),
    /// An integer of TOML.
    Integer(i128),
    /// A float of TOML.
    Float(f64),
    /// A boolean of TOML.
    Boolean(bool),
    /// A date and time of TOML, as it was written.
    Datetime(String),
    /// A list of integers of TOML.
    Integers(Vec<i128>),
    /// A list of strings of TOML; also one of nothing.
    Strings(Vec<String>),
    /// Anything else of TOML, as it was written.
    Other(String),
}

impl Raw {
    /// As it was written, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Datetime(text) | Self::Other(text) => text.clone(),
            Self::String(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Boolean(switch) => switch.to_string(),
            Self::Integers(numbers) => format!("{numbers:?}"),
            Self::Strings(words) => show_words(words),
        }
    }

    /// The text of a string or of an untyped value.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::String(text) => Some(text),
            _ => None,
        }
    }

    fn integer(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            // As TOML writes them: separators between digits only.
            Self::Text(text) if !text.starts_with('_') && !text.ends_with('_') => text.replace('_', "").parse().ok(),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// `true` or `false`.
    Switch,
    /// An integer, bounds included.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// An integer that is a power of two, bounds included.
    Power {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number, bounds included.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A finite number above 0.
    Positive,
    /// A time with its unit, bounds included, in ns.
    Time {
        /// Shortest, ns.
        min: u64,
        /// Longest, ns.
        max: u64,
        /// It is a multiple of this, ns; 1 = any.
        step: u64,
    },
    /// A size with its unit, bounds included, in bytes.
    Bytes {
        /// Smallest, bytes.
        min: u64,
        /// Largest, bytes.
        max: u64,
        /// Whether only powers of two are legal. Otherwise multiples of a slot of 64 bytes are.
        is_power: bool,
    },
    /// A point in time: RFC 3339, or ns since the UNIX epoch.
    Instant,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of something that the configuration defines.
    Name,
    /// Any of these words, each once.
    Words(fn() -> Vec<&'static str>),
    /// Paths of files and folders.
    Paths,
    /// The text of a symbol, as captures name it.
    Symbol,
    /// Texts of symbols.
    Symbols,
    /// A time of day, in seconds after midnight: `09:30` or `09:30:15`, up to `24:00`.
    Clock,
    /// The name of a time zone of the IANA.
    Zone,
    /// A column of a CSV: its name, or its number from 1.
    Column,
    /// A list of cores, as in `0,2-5`, in order.
    Cores,
}

impl Form {
    /// The value that was written; `None` when it is not one of this form.
    #[must_use]
    pub fn read(&self, raw: &Raw) -> Option<Value> {
        match *self {
            Self::Switch => match raw {
                Raw::Boolean(switch) => Some(Value::Switch(*switch)),
                Raw::Text(text) => text.parse().ok().map(Value::Switch),
                _ => None,
            },
            Self::Count { min, max } => whole(raw.integer()?, min, max),
            Self::Power { min, max } => whole(raw.integer().filter(|number| number.is_power_of_two())?, min, max),
            Self::Number { min, max } => raw.number().filter(|number| (min..=max).contains(number)).map(Value::Number),
            Self::Positive => raw.number().filter(|number| *number > 0.0 && number.is_finite()).map(Value::Number),
            Self::Time { min, max, step } => whole(time(raw.word()?).filter(|ns| ns.is_multiple_of(step))?, min, max),
            Self::Bytes { min, max, is_power } => {
                let size = bytes(raw.word()?)?;
                let is_legal = if is_power { size.is_power_of_two() } else { size.is_multiple_of(64) };
                whole(Some(size).filter(|_| is_legal)?, min, max)
            }
            Self::Instant => match raw {
                Raw::Integer(_) => raw.integer(),
                Raw::Datetime(text) => instant(text),
                raw => instant(raw.word()?),
            }
            .map(Value::Whole),
            Self::Choice(words) => {
                let word = raw.word()?;
                words.contains(&word).then(|| Value::Word(word.to_owned()))
            }
            Self::Symbol => raw.word().filter(|text| is_symbol(text)).map(|text| Value::Word(text.to_owned())),
            Self::Column => {
                let text = match raw {
                    Raw::Integer(number) => number.to_string(),
                    raw => raw.word()?.to_owned(),
                };
                let is_legal = (1..=COLUMN_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
                is_legal.then_some(Value::Word(text))
            }
            Self::Name => raw.word().filter(|word| is_name(word)).map(|word| Value::Word(word.to_owned())),
            Self::Words(known) => {
                let words = match raw {
                    Raw::Strings(words) => words.clone(),
                    Raw::Text(text) => {
                        let list = text.trim().trim_start_matches('[').trim_end_matches(']');
                        let words = list.split(',').map(|word| word.trim().trim_matches('"').to_owned());
                        words.filter(|word| !word.is_empty()).collect()
                    }
                    _ => return None,
                };
                let known = known();
                let is_good =
                    |(index, word): (usize, &String)| known.contains(&word.as_str()) && !words[..index].contains(word);
                words.iter().enumerate().all(is_good).then_some(Value::Words(words))
            }
            Self::Paths | Self::Symbols => {
                let paths = match raw {
                    Raw::Strings(paths) => paths.clone(),
                    Raw::String(path) => vec![path.clone()],
                    // As it is printed; else commas are between paths.
                    Raw::Text(text) => {
                        let list = text.trim().trim_start_matches('[').trim_end_matches(']');
                        let paths = list.split(',').map(|path| path.trim().trim_matches('"').to_owned());
                        paths.filter(|path| !path.is_empty()).collect()
                    }
                    _ => return None,
                };
                let is_legal = |path: &String| match self {
                    Self::Symbols => is_symbol(path),
                    _ => !path.is_empty() && !path.contains('\0'),
                };
                paths.iter().all(is_legal).then_some(Value::Words(paths))
            }
            Self::Clock => clock(raw.word()?).map(Value::Whole),
            Self::Zone => {
                let word = raw.word()?;
                super::zone::zone(word).map(|_| Value::Word(word.to_owned()))
            }
            Self::Cores => match raw {
                Raw::Integers(numbers) => {
                    let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                    cores(&list.join(","))
                }
                Raw::Integer(number) => cores(&number.to_string()),
                raw => cores(raw.word()?),
            },
        }
    }

    /// What is allowed, as the end of a sentence.
    #[must_use]
    pub fn allowed(&self) -> String {
        let unbounded = |max: u64| max == u64::MAX;
        match *self {
            Self::Switch => "true or false".to_owned(),
            Self::Count { min, max } if unbounded(max) => format!("an integer, at least {min}"),
            Self::Count { min, max } => format!("an integer, {min} to {max}"),
            Self::Power { min, max } => format!("a power of two, {min} to {max}"),
            Self::Number { min, max } => format!("a number, {min} to {max}"),
            Self::Positive => "a number above 0".to_owned(),
            Self::Time { min, max, step } => {
                let step = if step > 1 { format!(", a multiple of {}", show_time(step)) } else { String::new() };
                let bounds = if unbounded(max) {
                    format!("at least {}", show_time(min))
                } else {
                    format!("{} to {}", show_time(min), show_time(max))
                };
                format!("a time with its unit{step}, {bounds}")
            }
            Self::Bytes { min, max, is_power } => {
                let multiple = if is_power { "a power of two of bytes" } else { "a multiple of 64B" };
                format!("a size with its unit, {multiple}, {} to {}", show_bytes(min), show_bytes(max))
            }
            Self::Instant => "an instant of RFC 3339, or ns since the UNIX epoch".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                words.join(", ")
            }
            Self::Name => format!("a name: a to z, 0 to 9 and _, a letter first, at most {NAME_BYTES_MAX} bytes"),
            Self::Words(known) => format!("a list of any of {}", known().join(", ")),
            Self::Paths => "a list of paths of files and folders".to_owned(),
            Self::Symbol => format!("the text of a symbol, 1 to {SYMBOL_BYTES_MAX} bytes"),
            Self::Symbols => format!("a list of texts of symbols, 1 to {SYMBOL_BYTES_MAX} bytes each"),
            Self::Clock => "a time of day, 00:00 to 24:00, as in \"09:30\"".to_owned(),
            Self::Zone => "a time zone of the IANA, as in \"America/New_York\"".to_owned(),
            Self::Column => format!("the name of a column, 1 to {COLUMN_BYTES_MAX} bytes, or its number from 1"),
            Self::Cores => "a list of cores, as in \"0,2-5\"".to_owned(),
        }
    }

    /// The value as TOML writes it.
    #[must_use]
    pub fn show(&self, value: &Value) -> String {
        match (self, value) {
            (_, Value::Switch(switch)) => switch.to_string(),
            (Self::Time { .. }, Value::Whole(ns)) => quoted(&show_time(*ns)),
            (Self::Bytes { .. }, Value::Whole(size)) => quoted(&show_bytes(*size)),
            (Self::Instant, Value::Whole(ns)) => {
                quoted(&humantime::format_rfc3339(UNIX_EPOCH + Duration::from_nanos(*ns)).to_string())
            }
            (Self::Clock, Value::Whole(second)) => quoted(&show_clock(*second)),
            (_, Value::Whole(number)) => number.to_string(),
            // With a point or an exponent, so that it stays a float.
            (_, Value::Number(number)) => format!("{number:?}"),
            (_, Value::Word(word)) => quoted(word),
            (_, Value::Words(words)) => show_words(words),
            (_, Value::Cores(cores)) => quoted(&show_cores(cores)),
            (_, Value::Unset) => String::new(),
        }
    }

    /// Another legal value than `value`, for tests; `None` where there is none, or the configuration has to define it.
    #[must_use]
    pub fn another(&self, value: &Value) -> Option<Value> {
        let near = |number: u64, step: u64, min: u64, max: u64| {
            let number = number.clamp(min, max);
            let next = if max - number >= step { number + step } else { number.checked_sub(step)? };
            (min..=max).contains(&next).then_some(Value::Whole(next))
        };
        let whole = if let Value::Whole(number) = value { *number } else { 0 };
        match *self {
            Self::Switch => Some(Value::Switch(*value != Value::Switch(true))),
            Self::Count { min, max } => near(whole, 1, min, max),
            Self::Time { min, max, step } => near(whole, step, min, max),
            Self::Bytes { min, max, is_power: false } => near(whole, 64, min, max),
            Self::Power { min, max } | Self::Bytes { min, max, is_power: true } => {
                let number = whole.clamp(min, max);
                Some(Value::Whole(if number <= max / 2 { number * 2 } else { number / 2 }))
            }
            Self::Number { min, max } => {
                let number = if let Value::Number(number) = value { *number } else { max };
                Some(Value::Number(if number < max { number + (max - number) / 2.0 } else { min }))
            }
            Self::Positive => Some(Value::Number(if let Value::Number(number) = value { number * 2.0 } else { 1.0 })),
            Self::Instant => Some(Value::Whole(whole + 1)),
            Self::Choice(words) => {
                let is_other = |word: &&&str| *value != Value::Word((**word).to_owned());
                words.iter().find(is_other).map(|word| Value::Word((*word).to_owned()))
            }
            Self::Words(known) => {
                let words: Vec<String> = known().into_iter().map(str::to_owned).collect();
                let is_first = *value == Value::Words(words[..1].to_vec());
                Some(Value::Words(words[if is_first { 1..2 } else { 0..1 }].to_vec()))
            }
            Self::Symbol => {
                let is_one = *value == Value::Word("BTC".to_owned());
                Some(Value::Word(if is_one { "GOLD" } else { "BTC" }.to_owned()))
            }
            Self::Symbols => {
                let is_one = *value == Value::Words(vec!["ETH".to_owned()]);
                Some(Value::Words(vec![if is_one { "SOL" } else { "ETH" }.to_owned()]))
            }
            Self::Paths => {
                let is_one = *value == Value::Words(vec!["past.tape".to_owned()]);
                Some(Value::Words(vec![if is_one { "older.tape" } else { "past.tape" }.to_owned()]))
            }
            Self::Clock => Some(Value::Whole(if whole < DAY_S / 2 { whole + 60 } else { whole - 60 })),
            Self::Zone => {
                let is_utc = *value == Value::Word("UTC".to_owned());
                Some(Value::Word(if is_utc { "America/New_York" } else { "UTC" }.to_owned()))
            }
            Self::Column => {
                let is_one = *value == Value::Word("1".to_owned());
                Some(Value::Word(if is_one { "2" } else { "1" }.to_owned()))
            }
            Self::Cores => Some(Value::Cores(if *value == Value::Cores(vec![0]) { vec![1] } else { vec![0] })),
            Self::Name => None,
        }
    }
}

fn whole(number: u64, min: u64, max: u64) -> Option<Value> {
    (min..=max).contains(&number).then_some(Value::Whole(number))
}

/// Whether a text can name something.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A text as TOML quotes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => write!(quoted, "\\u{:04X}", letter as u32).expect("a String takes it all"),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Nanoseconds of `5ms`, `1h 30m`. A bare number has no unit and is none, 0 excepted.
fn time(text: &str) -> Option<u64> {
    u64::try_from(humantime::parse_duration(text.trim()).ok()?.as_nanos()).ok()
}

/// Units of time, longest first.
const TIMES: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// In the longest unit that is exact.
fn show_time(ns: u64) -> String {
    let (name, unit) = TIMES.into_iter().find(|(_, unit)| ns != 0 && ns.is_multiple_of(*unit)).unwrap_or(("s", 1));
    format!("{}{name}", ns / unit)
}

/// Whether a symbol may have this text.
fn is_symbol(text: &str) -> bool {
    (1..=SYMBOL_BYTES_MAX).contains(&text.len())
}

/// Units of size, largest first.
const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Bytes of `64MiB`, `512 KiB`, `4096B`. No decimal units: a limit of memory is not rounded by one.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (name, unit) = SIZES.into_iter().find(|(name, _)| text.ends_with(name))?;
    let number: u64 = text[..text.len() - name.len()].trim_end().replace('_', "").parse().ok()?;
    number.checked_mul(unit)
}

/// In the largest unit that is exact.
fn show_bytes(size: u64) -> String {
    let (name, unit) = SIZES.into_iter().find(|(_, unit)| size != 0 && size.is_multiple_of(*unit)).unwrap_or(("B", 1));
    format!("{}{name}", size / unit)
}

/// Nanoseconds since the UNIX epoch.
fn instant(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(ns) = text.parse() {
        return Some(ns);
    }
    let (local, ahead_s) = offset(text).unwrap_or((text, 0));
    let time = humantime::parse_rfc3339_weak(local).ok()?;
    let ahead = Duration::from_secs(ahead_s.unsigned_abs());
    let time = if ahead_s < 0 { time.checked_add(ahead)? } else { time.checked_sub(ahead)? };
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// A time that ends in an offset as in `+02:00`: what is before it, and by how many seconds it is ahead of UTC.
fn offset(text: &str) -> Option<(&str, i64)> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let ahead = clock(&offset[1..]).filter(|second| *second < DAY_S)?;
    // Only a time has one, not a date.
    local.contains(':').then_some((local, sign * ahead as i64))
}

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Seconds after midnight.
fn clock(text: &str) -> Option<u64> {
    let mut parts = text.trim().split(':');
    let mut part = |max: u64| {
        let part = parts.next()?;
        let is_plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|number| is_plain && *number <= max)
    };
    let (hours, minutes) = (part(24)?, part(59)?);
    let seconds = if text.trim().len() > 5 { part(59)? } else { 0 };
    let second = hours * 3_600 + minutes * 60 + seconds;
    (parts.next().is_none() && second <= DAY_S).then_some(second)
}

fn show_clock(second: u64) -> String {
    let (hours, minutes, seconds) = (second / 3_600, second / 60 % 60, second % 60);
    if seconds == 0 { format!("{hours:02}:{minutes:02}") } else { format!("{hours:02}:{minutes:02}:{seconds:02}") }
}

fn show_words(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

fn cores(list: &str) -> Option<Value> {
    let cores = parse_cores_in_order(list).ok().filter(|cores| !cores.is_empty())?;
    Some(Value::Cores(cores.into_iter().map(|core| core as usize).collect()))
}

/// `0,2-5`: ranges where neighbours follow one another.
fn show_cores(cores: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*core) => *last = *core,
            _ => ranges.push((*core, *core)),
        }
    }
    let show = |(first, last): (usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(show).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form, text: &str) -> Option<Value> {
        form.read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn units_are_humane_and_exact() {
        let any = Form::Time { min: 0, max: u64::MAX, step: 1 };
        for (written, ns, shown) in [
            ("5ms", 5_000_000, "5ms"),
            ("250us", 250_000, "250us"),
            ("1h 30m", 5_400_000_000_000, "90m"),
            ("90s", 90_000_000_000, "90s"),
            ("1500ns", 1_500, "1500ns"),
            ("2d", 172_800_000_000_000, "2d"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(text(any, written), Some(Value::Whole(ns)), "{written}");
            let again = any.show(&Value::Whole(ns));
            assert_eq!(again.trim_matches('"'), shown);
            assert_eq!(text(any, again.trim_matches('"')), Some(Value::Whole(ns)), "{shown}");
        }
        for bad in ["5", "", "ms", "-5ms", "5 parsecs", "600000y"] {
            assert_eq!(text(any, bad), None, "{bad:?}");
        }
        let size = Form::Bytes { min: 64, max: 1 << 40, is_power: false };
        for (written, number, shown) in
            [("64MiB", 64 << 20, "64MiB"), ("64B", 64, "64B"), ("1 KiB", 1024, "1KiB"), ("1_024KiB", 1 << 20, "1MiB")]
        {
            assert_eq!(text(size, written), Some(Value::Whole(number)), "{written}");
            assert_eq!(size.show(&Value::Whole(number)).trim_matches('"'), shown);
        }
        for bad in ["64", "65B", "1MB", "2TiB", "0B", "MiB", "99999999999999999999KiB", "99999999TiB"] {
            assert_eq!(text(size, bad), None, "{bad:?}");
        }
        assert_eq!(text(Form::Bytes { min: 64, max: 1 << 40, is_power: true }, "192B"), None);
    }

    #[test]
    fn instants_and_cores() {
        let ns = 1_723_161_254_000_000_000;
        assert_eq!(text(Form::Instant, "2024-08-08T23:54:14Z"), Some(Value::Whole(ns)));
        assert_eq!(Form::Instant.show(&Value::Whole(ns)), "\"2024-08-08T23:54:14Z\"");
        assert_eq!(Form::Instant.show(&Value::Whole(ns + 1)), "\"2024-08-08T23:54:14.000000001Z\"");
        assert_eq!(text(Form::Instant, "17"), Some(Value::Whole(17)));
        for same in [
            "2024-08-09T01:54:14+02:00",
            "2024-08-08T18:24:14-05:30",
            "2024-08-08T23:54:14-00:00",
            "2024-08-08 23:54:14",
        ] {
            assert_eq!(text(Form::Instant, same), Some(Value::Whole(ns)), "{same}");
        }
        for bad in [
            "2024-08-08T23:54:14+24:00",
            "2024-08-08T23:54:14+2:00",
            "1970-01-01T00:30:00+01:00",
            "2024-08-08+02:00",
            "é+02:00",
        ] {
            assert_eq!(text(Form::Instant, bad), None, "{bad}");
        }
        assert_eq!(text(Form::Instant, "yesterday"), None);
        assert_eq!(text(Form::Instant, "1969-12-31T23:59:59Z"), None);
        for (list, shown) in [("0,2-5", "0,2-5"), ("5,2-3,5,0", "5,2-3,0"), ("0-1", "0-1"), ("3,2,1", "3,2,1")] {
            let read = text(Form::Cores, list).unwrap_or_else(|| panic!("{list}"));
            assert_eq!(Form::Cores.show(&read).trim_matches('"'), shown);
        }
        assert_eq!(Form::Cores.read(&Raw::Integers(vec![1, 0])), Some(Value::Cores(vec![1, 0])));
        for bad in ["", "3-1", "x", "99999"] {
            assert_eq!(text(Form::Cores, bad), None, "{bad:?}");
        }
        assert_eq!(Form::Cores.read(&Raw::Integers(vec![-1])), None);
    }

    #[test]
    fn times_of_day_zones_and_lists_of_words() {
        for (written, second) in [("09:30", 34_200), ("00:00", 0), ("24:00", 86_400), ("23:59:59", 86_399)] {
            assert_eq!(text(Form::Clock, written), Some(Value::Whole(second)), "{written}");
            assert_eq!(Form::Clock.show(&Value::Whole(second)).trim_matches('"'), written);
        }
        for bad in ["9:30", "24:01", "12:60", "12", "12:30:", "12:30:15:00", "+1:30", ""] {
            assert_eq!(text(Form::Clock, bad), None, "{bad:?}");
        }
        assert_eq!(text(Form::Zone, "Europe/Berlin"), Some(Value::Word("Europe/Berlin".to_owned())));
        assert_eq!(text(Form::Zone, "Europe/Atlantis"), None);
        let words = Form::Words(|| vec!["a", "b"]);
        let both = Value::Words(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(text(words, "b, a"), Some(both.clone()));
        assert_eq!(words.show(&both), "[\"b\", \"a\"]");
        assert_eq!(text(words, "[\"b\", \"a\"]"), Some(both));
        assert_eq!(text(words, ""), Some(Value::Words(Vec::new())));
        assert_eq!((text(words, "a,a"), text(words, "c")), (None, None));
    }

    #[test]
    fn bounds_are_included_and_types_are_kept() {
        let count = Form::Count { min: 2, max: 9 };
        assert_eq!(["1", "2", "9", "10"].map(|number| text(count, number).is_some()), [false, true, true, false]);
        assert_eq!(count.read(&Raw::String("5".to_owned())), None, "a quoted number of TOML is no number");
        assert_eq!(count.read(&Raw::Integer(-5)), None);
        assert_eq!(count.read(&Raw::Float(5.0)), None);
        let number = Form::Number { min: 1.0, max: 2.0 };
        assert_eq!(number.read(&Raw::Integer(2)), Some(Value::Number(2.0)));
        assert_eq!(number.read(&Raw::Float(f64::NAN)), None);
        assert_eq!(text(Form::Positive, "inf"), None);
        assert_eq!(text(Form::Positive, "0"), None);
        assert_eq!(text(Form::Power { min: 256, max: 1 << 20 }, "1000"), None);
        assert_eq!(text(Form::Switch, "yes"), None);
        assert!(is_name("fast_2") && !is_name("2fast") && !is_name("Fast") && !is_name("") && !is_name("a-b"));
        assert_eq!(quoted("a\"b\\\n"), "\"a\\\"b\\\\\\u000A\"");
    }

    #[test]
    fn another_value_is_legal_and_another() {
        for (form, value) in [
            (Form::Switch, Value::Switch(true)),
            (Form::Count { min: 1, max: 2 }, Value::Whole(2)),
            (Form::Count { min: 1, max: u64::MAX }, Value::Unset),
            (Form::Power { min: 2, max: 4 }, Value::Whole(4)),
            (Form::Number { min: 0.0, max: 1.0 }, Value::Number(1.0)),
            (Form::Positive, Value::Unset),
            (Form::Bytes { min: 64, max: 128, is_power: false }, Value::Whole(128)),
            (Form::Choice(&["a", "b"]), Value::Word("a".to_owned())),
            (Form::Cores, Value::Cores(vec![0])),
        ] {
            let another = form.another(&value).expect("there is one");
            assert_ne!(another, value);
            let shown = form.show(&another);
            assert_eq!(text(form, shown.trim_matches('"')), Some(another), "{shown}");
        }
    }
}
