//! Where records are written: a file, which can be opened again, or a standard stream.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use crate::config::AuditTarget;

/// Mode of a new file: it names callers and addresses, and other users must not read it.
const MODE: u32 = 0o600;

/// Writes lines to a target.
pub(super) struct Sink {
    target: AuditTarget,
    /// None before the first write, and until an open succeeds.
    output: Option<File>,
    /// Bytes of the next line that are written already.
    begun: usize,
}

impl Sink {
    pub(super) fn new(target: AuditTarget) -> Self {
        Self { target, output: None, begun: 0 }
    }

    /// Opens the file again at the next write: it was renamed. A line that is not complete is
    /// written again as a whole.
    pub(super) fn reopen(&mut self) {
        if matches!(self.target, AuditTarget::File(_)) {
            (self.output, self.begun) = (None, 0);
        }
    }

    /// Opens the target, if it is not open.
    pub(super) fn open(&mut self) -> io::Result<&mut File> {
        Ok(match &mut self.output {
            Some(output) => output,
            none => none.insert(open(&self.target)?),
        })
    }

    /// Writes the lines of `pending`, and removes the ones that are written, whose number is added
    /// to `written`.
    pub(super) fn write(&mut self, pending: &mut Vec<u8>, written: &mut u64) -> io::Result<()> {
        while !pending.is_empty() {
            let begun = self.begun;
            match self.open()?.write(&pending[begun..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let end = begun + count;
                    let is_end = |byte: &u8| *byte == b'\n';
                    let whole = pending[..end].iter().rposition(is_end).map_or(0, |at| at + 1);
                    *written += pending[..whole].iter().filter(|byte| is_end(byte)).count() as u64;
                    pending.drain(..whole);
                    self.begun = end - whole;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn open(target: &AuditTarget) -> io::Result<File> {
    match target {
        // Without the buffer of the standard library, which could hold a part of a line.
        AuditTarget::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        AuditTarget::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        AuditTarget::File(path) => open_file(path),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    // A line that was torn, by a full disk or a crash, must not spoil the next one.
    if is_torn(path, &file).unwrap_or(false) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether a file does not end with the end of a line.
fn is_torn(path: &Path, file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    let (mut reader, mut last) = (File::open(path)?, [0]);
    reader.seek(SeekFrom::End(-1))?;
    reader.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
