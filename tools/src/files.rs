//! The files that a command line names: opened before anything starts, and kept from being overwritten.

use crate::out;
use std::fs::{self, File, Metadata};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::input::{Input, InputError};
use tapeline_runtime::sink::create;

/// Opens all captures but standard input, and says whether all of them are generated.
///
/// What is opened here is what is read: of a pipe, such as a shell makes for `<(zcat a.gz)`, there is no second time.
///
/// # Errors
/// Of the first that cannot be opened.
pub(crate) fn open_all(paths: &[String]) -> Result<(Vec<Capture>, bool), InputError> {
    let (mut captures, mut generated) = (Vec::new(), true);
    for path in paths {
        let mut first: Option<Box<dyn Input>> = None;
        if path != "-" {
            first = Some(open(path, &OpenOptions::default())?);
        }
        generated &= first.as_ref().is_some_and(|input| input.is_generated());
        let name = path.clone();
        let open = Box::new(move || first.take().map_or_else(|| open(&name, &OpenOptions::default()), Ok));
        captures.push(Capture { path: path.clone(), open });
    }
    Ok((captures, generated))
}

/// Looks for captures that are the same file under whatever names. A file may be merged with itself: a merge keeps every
/// event, and all of its events come twice, which is told. What can be read once only may not: standard input, pipes,
/// terminals.
///
/// # Errors
/// The line to tell.
pub(crate) fn once(captures: &[String]) -> Result<(), String> {
    let id = |path: &str| {
        let path = if path == "-" { "/dev/stdin" } else { path };
        fs::metadata(path).map(|found| (found.dev(), found.ino(), found.is_file())).ok()
    };
    let ids: Vec<_> = captures.iter().map(|path| id(path)).collect();
    for (index, path) in captures.iter().enumerate() {
        let is_it = |other: &usize| captures[*other] == *path || ids[*other].is_some() && ids[*other] == ids[index];
        let Some(first) = (0..index).find(is_it) else { continue };
        let first = &captures[first];
        let same = if first == path { format!("{path}: named twice") } else { format!("{path}: the same as {first}") };
        let is_stdin = path == "-" || first == "-";
        match ids[index] {
            Some((_, _, true)) if !is_stdin => out::note(format_args!("{same}: its events come once more")),
            // That it cannot be opened is told when it is.
            None if !is_stdin => {}
            _ => return Err(format!("{same}, and can be read only once")),
        }
    }
    Ok(())
}

/// A file that is made before a run and filled after it: that it cannot be made is told before anything starts.
pub(crate) struct Prepared {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Prepared {
    /// Makes the file, if there is to be one.
    ///
    /// # Errors
    /// The line to tell: it exists and is not to be overwritten, or cannot be made.
    pub(crate) fn new(path: Option<&Path>, force: bool) -> Result<Option<Self>, String> {
        let Some(path) = path else { return Ok(None) };
        let is_new = !path.exists();
        let file = create(path, force).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Some(Self { path: path.to_owned(), file, is_new }))
    }

    /// Fills it. False, with a line of error, when it could not be written.
    pub(crate) fn fill(self, write: impl FnOnce(&mut BufWriter<File>) -> Result<(), String>) -> bool {
        let mut file = BufWriter::with_capacity(1 << 18, self.file);
        let written = write(&mut file).and_then(|()| file.flush().map_err(|error| error.to_string()));
        written.map_err(|why| out::fail(format_args!("{}: {why}", self.path.display()), 2)).is_ok()
    }

    /// There was no run: an empty file of ours goes. One that cannot be removed harms nobody.
    pub(crate) fn discard(self) {
        if self.is_new {
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Whether a path names a file that can be read again and again: no pipe, no terminal.
pub(crate) fn is_regular(path: impl AsRef<Path>) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// Refuses outputs that are one of the captures or each other, under whatever names: `--force` would empty the capture
/// before it is read. Devices such as `/dev/null` may take several.
pub(crate) fn spare(captures: &[String], outputs: &[&Path]) -> Result<(), String> {
    let id = |found: Metadata| (found.dev(), found.ino());
    for (index, output) in outputs.iter().enumerate() {
        if outputs[..index].contains(output) {
            return Err(format!("{}: two outputs in one file", output.display()));
        }
        let Ok(found) = fs::metadata(output) else { continue };
        let found = id(found);
        let is_it = |path: &Path| fs::metadata(path).is_ok_and(|other| id(other) == found);
        if let Some(capture) = captures.iter().find(|capture| *capture != "-" && is_it(Path::new(capture))) {
            return Err(format!("{}: is the capture {capture} itself", output.display()));
        }
        if outputs[..index].iter().any(|other| is_it(other)) && is_regular(output) {
            return Err(format!("{}: two outputs in one file", output.display()));
        }
    }
    Ok(())
}
