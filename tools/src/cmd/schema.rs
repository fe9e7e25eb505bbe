//! `tapeline schema`: the layouts of events, and whether two tables of them read each other.

use crate::cli::{Format, Require, SchemaArgs, SchemaCheckArgs, SchemaShowArgs, SchemaVerb};
use crate::out;
use std::fmt::Write as _;
use std::io::Read as _;
use tapeline_core::schema::Schemas;
use tapeline_runtime::layouts::{Comparison, FieldText, LayoutFile, LayoutText, compare};

pub(crate) fn run(args: &SchemaArgs) -> u8 {
    let builtin = LayoutFile::from(&Schemas::builtin());
    match &args.verb {
        SchemaVerb::List { format } => match format {
            Format::Json => json(&builtin),
            Format::Text => out::data(&list(&builtin)),
        },
        SchemaVerb::Show(args) => show(args, &builtin),
        SchemaVerb::Check(args) => check(args, &builtin),
    }
}

fn json(file: &LayoutFile) -> u8 {
    let line = serde_json::to_string(file).expect("names and numbers are JSON");
    out::data(&format!("{line}\n"))
}

fn list(file: &LayoutFile) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:>6}  {:<18}{:>7}  {:>6}  what follows the head", "number", "kind", "version", "fields");
    for layout in &file.layouts {
        let fields = layout.head.iter().chain(&layout.tail_fields).filter(|field| !field.reserved).count();
        let (name, tail) = (&layout.kind, tail(layout));
        let _ = writeln!(text, "{:>6}  {name:<18}{:>7}  {fields:>6}  {tail}", layout.number, layout.version);
    }
    let _ = writeln!(text, "layout hash {}", file.layout_hash);
    text
}

fn tail(layout: &LayoutText) -> String {
    match (layout.tail.as_str(), &layout.count, layout.element_bytes) {
        ("one", ..) => "one slot".to_owned(),
        ("wide", ..) => "one slot in a wide event".to_owned(),
        (_, Some(count), Some(1)) => format!("a text of {count} bytes"),
        (_, Some(count), Some(bytes)) => format!("{count} elements of {bytes} bytes"),
        _ => "nothing".to_owned(),
    }
}

fn show(args: &SchemaShowArgs, builtin: &LayoutFile) -> u8 {
    let file = builtin.only(&args.kind, args.version);
    if file.layouts.is_empty() {
        let known = builtin.layouts.iter().any(|layout| layout.kind == args.kind);
        return match (known, args.version) {
            (true, Some(version)) => out::fail(format_args!("{} has no version {version}", args.kind), 2),
            _ => out::fail(format_args!("no kind is named {}; see `tapeline schema list`", args.kind), 2),
        };
    }
    if args.format == Format::Json {
        return json(&file);
    }
    let mut text = String::new();
    for layout in &file.layouts {
        let _ = writeln!(text, "{} ({}), version {}", layout.kind, layout.number, layout.version);
        fields(&mut text, "head, 24 bytes", &layout.head);
        if layout.tail != "none" {
            let _ = writeln!(text, "  then {}", tail(layout));
        }
        fields(&mut text, "of it", &layout.tail_fields);
    }
    out::data(&text)
}

fn fields(text: &mut String, part: &str, fields: &[FieldText]) {
    if fields.is_empty() {
        return;
    }
    let _ = writeln!(text, "  {:<26}{:>6}  {:<6}{:<14}values", part, "offset", "type", "unit");
    for field in fields {
        let values = match (&field.from, &field.to) {
            (Some(from), Some(to)) => format!("{from} to {to}"),
            _ if field.reserved => "zero: room for later versions".to_owned(),
            _ => "any".to_owned(),
        };
        let ty = if field.ty == "bytes" { format!("{} B", field.bytes) } else { field.ty.clone() };
        let _ = writeln!(text, "    {:<24}{:>6}  {ty:<6}{:<14}{values}", field.name, field.offset, field.unit);
    }
}

fn check(args: &SchemaCheckArgs, builtin: &LayoutFile) -> u8 {
    let read = |name: &str| table(name, builtin).map_err(|why| format!("{name}: {why}"));
    let compared = read(&args.old)
        .and_then(|old| Ok((old, read(&args.new)?)))
        .and_then(|(old, new)| compare(&old, &new).map_err(|error| error.to_string()));
    let comparison = match compared {
        Ok(comparison) => comparison,
        Err(why) => return out::fail(why, 2),
    };
    let written = match args.format {
        Format::Json => {
            let line = serde_json::to_string(&comparison).expect("names are JSON");
            out::data(&format!("{line}\n"))
        }
        Format::Text => out::data(&told(&comparison)),
    };
    let is_met = match args.require {
        Require::Backward => comparison.is_backward(),
        Require::Forward => comparison.is_forward(),
        Require::Full => comparison.is_backward() && comparison.is_forward(),
    };
    out::code(written, u8::from(!is_met))
}

/// A file, `builtin`, `KIND` or `KIND@VERSION` of the built-in table, or `-` for stdin.
fn table(name: &str, builtin: &LayoutFile) -> Result<LayoutFile, String> {
    if name == "builtin" {
        return Ok(builtin.clone());
    }
    let (kind, version) = match name.split_once('@') {
        Some((kind, version)) => (kind, Some(version.parse().map_err(|_| format!("{version} is no version"))?)),
        None => (name, None),
    };
    if builtin.layouts.iter().any(|layout| layout.kind == kind) {
        let part = builtin.only(kind, version);
        return if part.layouts.is_empty() { Err("there is no such version".to_owned()) } else { Ok(part) };
    }
    let mut text = String::new();
    let read = match name {
        "-" => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(name).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| error.to_string())?;
    LayoutFile::read(&text).map_err(|error| error.to_string())
}

fn told(comparison: &Comparison) -> String {
    let mut text = String::new();
    for change in &comparison.changes {
        let version = |version: Option<u8>| version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        let versions = match (change.old_version, change.new_version) {
            (old, new) if old == new => version(old),
            (old, new) => format!("{} to {}", version(old), version(new)),
        };
        let breaks = match (change.breaks_backward, change.breaks_forward) {
            (true, true) => "breaks both ways",
            (true, false) => "the new one does not read the old one",
            (false, true) => "the old one does not read the new one",
            (false, false) => "breaks nothing",
        };
        let of = if change.field.is_empty() { String::new() } else { format!(".{}", change.field) };
        let _ = writeln!(text, "{}{of}, version {versions}: {}; {breaks}", change.kind, change.what);
    }
    let compared = comparison.compared;
    let what = match comparison.compatibility {
        "full" => "each reads the other",
        "backward" => "the new one reads the old one's events",
        "forward" => "the old one reads the new one's events",
        _ => "neither reads all of the other's events",
    };
    let _ = writeln!(text, "compatibility: {} ({compared} layouts compared): {what}", comparison.compatibility);
    text
}
