//! The files that a command line names: opened before anything starts, and kept from being overwritten.

use crate::out;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::input::{Input, InputError};
use tapeline_runtime::sink::create;
use tapeline_runtime::tape::format::MAGIC;

/// Opens all captures but standard input, and says whether all of them are generated.
///
/// What is opened here is what is read: of a pipe, such as a shell makes for `<(zcat a.gz)`, there is no second time.
///
/// # Errors
/// Of the first that cannot be opened.
pub(crate) fn open_all(paths: &[String], options: &OpenOptions) -> Result<(Vec<Capture>, bool), InputError> {
    let (mut captures, mut generated) = (Vec::new(), true);
    for path in paths {
        let mut first: Option<Box<dyn Input>> = None;
        if path != "-" {
            first = Some(open(path, options)?);
        }
        generated &= first.as_ref().is_some_and(|input| input.is_generated());
        let (name, options) = (path.clone(), options.clone());
        let open = Box::new(move || first.take().map_or_else(|| open(&name, &options), Ok));
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

/// A new file that takes the place of an old one: whoever looks sees the old one or the new one, whole. While it is there, no other
/// one of the same file can be.
pub(crate) struct Replacement {
    /// What is replaced, behind all symbolic links.
    path: PathBuf,
    old: Metadata,
    new_path: PathBuf,
    new: File,
}

impl Replacement {
    /// Makes the new file beside the old one, empty, and keeps others from doing the same. One that a run left behind that was cut
    /// short is taken over.
    ///
    /// # Errors
    /// The line to tell: what is there is no tape in a file of one name, or is being replaced already, or nothing can be written
    /// beside it.
    pub(crate) fn of(name: &str) -> Result<Self, String> {
        if name == "-" {
            return Err("standard input cannot be changed: name a file".to_owned());
        }
        // A link stays what it is, and what it leads to is replaced.
        let path = fs::canonicalize(name).map_err(|error| format!("cannot open: {error}"))?;
        let (old, start) = File::open(&path)
            .and_then(|file| {
                let (old, mut start) = (file.metadata()?, Vec::new());
                if old.is_file() {
                    (&file).take(MAGIC.len() as u64).read_to_end(&mut start)?;
                }
                Ok((old, start))
            })
            .map_err(|error| format!("cannot open: {error}"))?;
        if !old.is_file() {
            return Err("is no regular file: it cannot be replaced".to_owned());
        }
        if old.nlink() > 1 {
            return Err(format!("has {} names (hard links), and only this one would be changed", old.nlink()));
        }
        if start != MAGIC {
            return Err("is no tape as it stands; where it is compressed, unpack it first".to_owned());
        }
        let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
            return Err("is no regular file: it cannot be replaced".to_owned());
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(file);
        hidden.push(".purge");
        let new_path = folder.join(hidden);
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", new_path.display());
        // Readable to others only once it has what the old file says about that.
        let mut options = File::options();
        let mut new = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&new_path)
            .map_err(|error| told(&error))?;
        match new.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err("is being changed by another process".to_owned()),
            Err(TryLockError::Error(error)) => return Err(told(&error)),
        }
        // Between opening and locking, another one may have put this very file in the place of the old one; or it is a link.
        let (mine, named) = (new.metadata(), fs::symlink_metadata(&new_path));
        let is_it =
            mine.is_ok_and(|mine| named.is_ok_and(|named| (mine.dev(), mine.ino()) == (named.dev(), named.ino())));
        if !is_it {
            return Err("is being changed by another process".to_owned());
        }
        let mut left = Vec::new();
        (&new).take(MAGIC.len() as u64).read_to_end(&mut left).map_err(|error| told(&error))?;
        if !MAGIC.starts_with(&left) {
            return Err(told(&"is in the way, and no tape"));
        }
        new.set_len(0).and_then(|()| new.rewind()).map_err(|error| told(&error))?;
        Ok(Self { path, old, new_path, new })
    }

    /// Fills the new file, gives it the owner and the permissions of the old one, and puts it in that one's place.
    ///
    /// # Errors
    /// The line to tell: the old file stands then.
    pub(crate) fn put(self, write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), String>) -> Result<(), String> {
        let told = |error: io::Error| format!("{}: {error}", self.new_path.display());
        write(&mut BufWriter::with_capacity(1 << 20, &self.new))?;
        let mine = self.new.metadata().map_err(told)?;
        if (mine.uid(), mine.gid()) != (self.old.uid(), self.old.gid()) {
            fchown(&self.new, Some(self.old.uid()), Some(self.old.gid()))
                .map_err(|error| format!("its owner would not be the same any more: {error}"))?;
        }
        self.new.set_permissions(self.old.permissions()).map_err(told)?;
        self.new.sync_all().map_err(told)?;
        fs::rename(&self.new_path, &self.path).map_err(told)?;
        // The name is on stable storage with its folder.
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(told)
    }
}

/// What is half done is of no use to anybody.
impl Drop for Replacement {
    fn drop(&mut self) {
        // After it took the old one's place, nothing has that name, or something that another one made, which is not this file.
        let (mine, named) = (self.new.metadata(), fs::symlink_metadata(&self.new_path));
        if let (Ok(mine), Ok(named)) = (mine, named)
            && (mine.dev(), mine.ino()) == (named.dev(), named.ino())
        {
            // What cannot be removed is taken over by the next one.
            let _ = fs::remove_file(&self.new_path);
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
