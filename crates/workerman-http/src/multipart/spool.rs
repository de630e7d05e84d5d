//! Data that is kept in memory while it is small, and written to a temporary file when it grows.
//!
//! Files are made, written and removed on the threads of `spawn_blocking`, never on that of a loop.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tempfile::{NamedTempFile, TempPath};

use super::{MultipartError, Part};

/// How much is gathered for one visit to another thread.
const BATCH: usize = 256 << 10;

/// What has been received.
#[derive(Debug)]
pub(super) enum Contents {
    Memory(Bytes),
    Disk(Spooled),
}

/// Receives the rest of a part: in memory up to `threshold` bytes, in a file above.
pub(super) async fn receive(
    part: &mut Part<'_>,
    threshold: usize,
    folder: Option<PathBuf>,
) -> Result<(Contents, u64), MultipartError> {
    let mut memory = BytesMut::new();
    let mut spool = None::<Spool>;
    let mut size = 0;
    while let Some(data) = part.data().await.transpose()? {
        size += data.len() as u64;
        if let Some(spool) = &mut spool {
            spool.write(data).await?;
        } else if memory.len() + data.len() <= threshold {
            memory.extend_from_slice(&data);
        } else {
            let spool = spool.insert(Spool::new(folder.clone()));
            spool.write(std::mem::take(&mut memory).freeze()).await?;
            spool.write(data).await?;
        }
    }
    let contents = match spool {
        Some(spool) => Contents::Disk(spool.finish().await?),
        None => Contents::Memory(memory.freeze()),
    };
    Ok((contents, size))
}

/// A temporary file that is being written.
struct Spool {
    /// Made with the first batch.
    file: Option<NamedTempFile>,
    folder: Option<PathBuf>,
    batch: Vec<Bytes>,
    gathered: usize,
}

impl Spool {
    fn new(folder: Option<PathBuf>) -> Self {
        Self { file: None, folder, batch: Vec::new(), gathered: 0 }
    }

    async fn write(&mut self, data: Bytes) -> io::Result<()> {
        self.gathered += data.len();
        self.batch.push(data);
        if self.gathered >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (file, batch) = (self.file.take(), std::mem::take(&mut self.batch));
        self.gathered = 0;
        let folder = self.folder.clone();
        // Given up by its caller, the thread ends its batch and drops the file, which removes it.
        let file = elsewhere(move || {
            let mut file = file.map_or_else(|| create(folder.as_deref()), Ok)?;
            for data in batch {
                file.write_all(&data)?;
            }
            Ok(file)
        });
        self.file = Some(file.await?);
        Ok(())
    }

    async fn finish(mut self) -> io::Result<Spooled> {
        self.flush().await?;
        let file = self.file.take().ok_or_else(|| io::Error::other("the temporary file is gone"))?;
        // Closed: a form of many files shall not hold as many descriptors.
        Ok(Spooled { path: Some(file.into_temp_path()) })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            drop_elsewhere(file);
        }
    }
}

/// A temporary file that has been written; removed when dropped.
#[derive(Debug)]
pub(super) struct Spooled {
    /// `None` once it was given away.
    path: Option<TempPath>,
}

impl Spooled {
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Moves the file to its place, to another file system too.
    pub(super) async fn persist(mut self, to: PathBuf) -> io::Result<()> {
        let path = self.path.take().ok_or_else(|| io::Error::other("the temporary file is gone"))?;
        elsewhere(move || match path.persist(&to) {
            Err(error) if error.error.kind() == io::ErrorKind::CrossesDevices => {
                copy(&mut File::open(&error.path)?, &to)
            }
            persisted => persisted.map_err(|error| error.error),
        })
        .await
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            drop_elsewhere(path);
        }
    }
}

/// Writes data to a file that is there complete or not at all.
pub(super) fn copy(data: &mut impl io::Read, to: &Path) -> io::Result<()> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = create(Some(folder))?;
    io::copy(data, &mut file)?;
    file.persist(to).map(drop).map_err(|error| error.error)
}

fn create(folder: Option<&Path>) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("workerman.upload.");
    match folder {
        Some(folder) => builder.tempfile_in(folder),
        None => builder.tempfile(),
    }
}

/// Runs what may block on a thread for that.
pub(super) async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Drops what removes a file: the last block of a large one can take a while.
fn drop_elsewhere(file: impl Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        // A runtime that shuts down drops the closure at once, and the file with it.
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(file))),
        Err(_) => drop(file),
    }
}
