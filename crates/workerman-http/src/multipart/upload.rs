//! A file that a client has sent.

use std::io::{self, Seek, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::fs::File;

use super::PartHead;
use super::spool::{self, Contents, elsewhere};

/// A file that a client has sent, in memory or in a temporary file that is removed when this is dropped.
///
/// The names are those of its [`PartHead`].
#[derive(Debug)]
pub struct Upload {
    head: PartHead,
    contents: Contents,
    size: u64,
}

impl Upload {
    pub(super) fn new(head: PartHead, contents: Contents, size: u64) -> Self {
        Self { head, contents, size }
    }

    /// The head of its part.
    pub fn head(&self) -> &PartHead {
        &self.head
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The contents, if they are in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.contents {
            Contents::Memory(bytes) => Some(bytes),
            Contents::Disk(_) => None,
        }
    }

    /// The temporary file, if there is one. Only its owner may read and write it.
    pub fn path(&self) -> Option<&Path> {
        match &self.contents {
            Contents::Memory(_) => None,
            Contents::Disk(spooled) => Some(spooled.path()),
        }
    }

    /// Opens the contents for reading, from their beginning; [`File::into_std`] gives a file of the standard library.
    ///
    /// Contents in memory are written to a temporary file without a name for it; [`bytes`](Self::bytes) spares that.
    ///
    /// # Errors
    /// The file could not be opened.
    pub async fn open(&self) -> io::Result<File> {
        match &self.contents {
            Contents::Disk(spooled) => File::open(spooled.path()).await,
            Contents::Memory(bytes) => {
                let bytes = bytes.clone();
                let file = elsewhere(move || {
                    let mut file = tempfile::tempfile()?;
                    file.write_all(&bytes)?;
                    file.rewind()?;
                    Ok(file)
                });
                Ok(File::from_std(file.await?))
            }
        }
    }

    /// Reads the contents into memory.
    ///
    /// # Errors
    /// There are more than `limit` bytes ([`FileTooLarge`](io::ErrorKind::FileTooLarge)), or the file could not be read.
    pub async fn read(&self, limit: usize) -> io::Result<Bytes> {
        if self.size > limit as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match &self.contents {
            Contents::Memory(bytes) => Ok(bytes.clone()),
            Contents::Disk(spooled) => tokio::fs::read(spooled.path()).await.map(Into::into),
        }
    }

    /// Keeps the file: moves it to `path`, which is replaced if it is there.
    ///
    /// The file appears complete or not at all; to another file system it is copied. Only its owner may read and write
    /// it. `path` is your choice alone: the client's file name has no say in it, unless you put
    /// [`safe_file_name`](PartHead::safe_file_name) into it.
    ///
    /// # Errors
    /// The file could not be moved or written; the upload is gone then.
    pub async fn persist(self, path: impl Into<PathBuf>) -> io::Result<()> {
        let path = path.into();
        match self.contents {
            Contents::Disk(spooled) => spooled.persist(path).await,
            Contents::Memory(bytes) => elsewhere(move || spool::copy(&mut &bytes[..], &path)).await,
        }
    }
}

impl Deref for Upload {
    type Target = PartHead;

    fn deref(&self) -> &PartHead {
        &self.head
    }
}
