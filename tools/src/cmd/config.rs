//! `tapeline config`: the reference of all keys, and the check of a file. How every verb reads its configuration.

use crate::cli::{CaptureArgs, CheckArgs, ConfigVerb, MapArgs, ReferenceArgs, ReferenceStyle};
use crate::out;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tapeline_runtime::config::{FILE_BYTES_MAX, FILE_VARIABLE, Faults, Layers, Origin, Style, reference};
use tapeline_runtime::input::detect::OpenOptions;

pub(crate) fn run(verb: &ConfigVerb) -> u8 {
    match verb {
        ConfigVerb::Reference(ReferenceArgs { format }) => out::data(&reference(match format {
            ReferenceStyle::Text => Style::Text,
            ReferenceStyle::Markdown => Style::Markdown,
        })),
        ConfigVerb::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> u8 {
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(why) => return out::fail(why, 2),
    };
    let mut layers = Layers::default();
    layers.file(&args.file.display().to_string(), &text);
    match layers.finish() {
        Ok(loaded) => {
            out::note(format_args!("{}: good; sha256 {}", args.file.display(), loaded.sha256()));
            0
        }
        Err(faults) => tell(&faults, 1),
    }
}

/// Puts the layers of a file, where there is one, and of the environment.
///
/// # Errors
/// The exit code when the file cannot be read, which has been told then.
pub(crate) fn read_layers(layers: &mut Layers, file: Option<&Path>) -> Result<(), u8> {
    let named = std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty());
    if let Some(file) = file.or(named.as_deref().map(Path::new)) {
        let text = read(file).map_err(|why| out::fail(why, 2))?;
        layers.file(&file.display().to_string(), &text);
    }
    // A variable that is no text is none of ours, or has no legal value.
    let variables = std::env::vars_os();
    layers.environment(
        variables.map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned())),
    );
    Ok(())
}

/// Puts the layer of the flags `--set`.
pub(crate) fn set_layers(layers: &mut Layers, set: &[String]) {
    for set in set {
        match set.split_once('=') {
            Some((path, text)) => layers.flag("--set", path.trim(), text.trim()),
            None => layers.fault(Origin::Flag("--set".to_owned()), format!("{set}: no =, as in engine.shards=2")),
        }
    }
}

/// How a verb opens its captures, with the map of columns that the configuration has.
///
/// # Errors
/// The exit code when something is wrong with the configuration, which has been told then.
pub(crate) fn open_options(captures: &CaptureArgs, map: &MapArgs) -> Result<OpenOptions, u8> {
    let mut layers = Layers::default();
    read_layers(&mut layers, map.config.as_deref())?;
    set_layers(&mut layers, &map.set);
    let loaded = layers.finish().map_err(|faults| tell(&faults, 2))?;
    Ok(captures.options(&loaded.config))
}

/// Tells everything that is wrong, a line each, and returns the exit code.
pub(crate) fn tell(faults: &Faults, code: u8) -> u8 {
    for fault in &faults.0 {
        out::fail(fault, code);
    }
    if faults.1 > 0 {
        out::note(format_args!("and {} mistakes more", faults.1));
    }
    code
}

/// The text of a configuration.
fn read(path: &Path) -> Result<String, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| told(&error))?)
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| told(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(told(&format_args!("larger than {FILE_BYTES_MAX} bytes: no configuration")));
    }
    String::from_utf8(bytes)
        .map_err(|error| told(&format_args!("no text: byte {} is no UTF-8", error.utf8_error().valid_up_to())))
}
