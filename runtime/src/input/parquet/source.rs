//! The bytes of a file at any place: from the file, or from memory where there is no file to go back in.

use super::Damage;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;

/// Bytes that are read at a time where less is wanted: pages of small row groups, and headers of pages, come from there.
const WINDOW_BYTES: usize = 256 << 10;
/// What is read past the window: it would only be copied.
const DIRECT_BYTES: usize = 64 << 10;
/// Bytes that are kept of what is no file: a pipe, or a file that is compressed as a whole.
pub(super) const MEMORY_BYTES_MAX: usize = 32 << 20;

enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

/// See the [module](self).
pub(super) struct Source {
    bytes: Bytes,
    length: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Source {
    pub(super) fn file(file: File) -> std::io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { bytes: Bytes::File(file), length, window: Vec::new(), window_at: 0 })
    }

    /// Keeps all that `reader` has. `None` where that is too much.
    pub(super) fn memory(reader: &mut dyn Read) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        reader.take(MEMORY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        let length = bytes.len() as u64;
        let is_all = bytes.len() <= MEMORY_BYTES_MAX;
        Ok(is_all.then(|| Self { bytes: Bytes::Memory(bytes), length, window: Vec::new(), window_at: 0 }))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `into` from `at` on.
    pub(super) fn read_at(&mut self, at: u64, into: &mut [u8]) -> Result<(), Damage> {
        let end = at.checked_add(into.len() as u64).filter(|end| *end <= self.length);
        let Some(end) = end else { return Err(Damage::new(self.length, "the file ends before what it says it holds")) };
        match &self.bytes {
            Bytes::Memory(bytes) => into.copy_from_slice(&bytes[at as usize..end as usize]),
            Bytes::File(file) if into.len() > DIRECT_BYTES => {
                file.read_exact_at(into, at).map_err(|error| unread(at, &error))?
            }
            Bytes::File(file) => {
                if at < self.window_at || end > self.window_at + self.window.len() as u64 {
                    let some = (self.length - at).min(WINDOW_BYTES as u64) as usize;
                    self.window.resize(some, 0);
                    self.window_at = at;
                    if let Err(error) = file.read_exact_at(&mut self.window, at) {
                        self.window.clear();
                        return Err(unread(at, &error));
                    }
                }
                let from = (at - self.window_at) as usize;
                into.copy_from_slice(&self.window[from..from + into.len()]);
            }
        }
        Ok(())
    }
}

fn unread(at: u64, error: &std::io::Error) -> Damage {
    // The file has become shorter since it was opened.
    let is_cut = error.kind() == ErrorKind::UnexpectedEof;
    Damage::new(
        at,
        if is_cut { "the file has been cut while it was read".to_owned() } else { format!("cannot read: {error}") },
    )
}
