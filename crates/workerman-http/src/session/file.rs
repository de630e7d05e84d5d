//! Sessions in files, shared by the processes of a machine.
//!
//! A session is one file, `session_` and its id, whose modification time is the moment at which it expires. Who has the
//! session has the file locked (`flock`). It is never written: a new file is written beside it, locked, and renamed to
//! its name, so that a crash leaves the old one or the new one. Whoever waited for the old file gets the lock of a file
//! without a name, sees that, and opens the new one, which is locked until its writer is done.
//!
//! Within a process requests queue for a session in their order; among processes, who asks first after it became free
//! has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::locks::{Held, Locks};
use super::{Record, SessionId, Store, StoreError, StoreFuture};

/// What the name of a session's file begins with.
const PREFIX: &str = "session_";

/// What the name of a file begins with that is not a session yet.
const UNFINISHED: &str = "tmp_";

/// Longer ids would not fit into the name of a file; ours have 40.
const MAX_ID: usize = 200;

/// An unfinished file is left alone for this long, as its writer may not have locked it yet.
const GRACE: Duration = Duration::from_secs(60);

/// Between two attempts at a file that another process has: the first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Sessions in files of a folder, one each, shared by all processes of the machine that use the folder.
///
/// Each is replaced as a whole and locked among processes, so that no update is lost and no crash breaks one. Files are
/// not forced to the disk: what was saved last may be gone after a loss of power.
///
/// How many there are is bounded by their lifetime and the disk. A clone is another handle to the same folder.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: Arc<Path>,
    locks: Locks,
    max_size: u64,
    /// How many files of the folder the collection has passed.
    passed: Arc<AtomicUsize>,
}

impl FileStore {
    /// Sessions in this folder, which is made if it is missing: for its owner alone. It blocks; call it at the start.
    ///
    /// # Errors
    /// The folder could not be made.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder: folder.into(), locks: Locks::default(), max_size: 1 << 20, passed: Arc::default() })
    }

    /// Most bytes of a file that is read. Default 1 MiB; a larger one is an error.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    fn path(&self, id: &SessionId) -> PathBuf {
        self.folder.join(format!("{PREFIX}{}", id.as_str()))
    }
}

impl Store for FileStore {
    fn open<'a>(&'a self, id: &'a SessionId, now: SystemTime) -> StoreFuture<'a, Option<Box<dyn Record>>> {
        Box::pin(async move {
            if id.as_str().len() > MAX_ID {
                return Ok(None);
            }
            let held = self.locks.lock(id).await;
            let mut pause = PAUSE.0;
            loop {
                let (path, max_size) = (self.path(id), self.max_size);
                match elsewhere(move || attempt(&path, now, max_size)).await? {
                    Attempt::Missing => return Ok(None),
                    // Not a lock that is waited for: each wait would take one of few threads, and cannot be given up.
                    Attempt::Busy => tokio::time::sleep(pause).await,
                    Attempt::Open { file, data } => {
                        let lock = Some(Lock { _file: Some(file), _held: Some(held) });
                        let (folder, path) = (Arc::clone(&self.folder), self.path(id));
                        let record: Box<dyn Record> = Box::new(FileRecord { folder, path, data, lock });
                        return Ok(Some(record));
                    }
                }
                pause = PAUSE.1.min(pause * 2);
            }
        })
    }

    fn create(&self, id: &SessionId) -> Box<dyn Record> {
        let (folder, path) = (Arc::clone(&self.folder), self.path(id));
        let lock = Some(Lock { _file: None, _held: None });
        Box::new(FileRecord { folder, path, data: Bytes::new(), lock })
    }

    fn load<'a>(&'a self, id: &'a SessionId, now: SystemTime) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            if id.as_str().len() > MAX_ID {
                return Ok(None);
            }
            let (path, max_size) = (self.path(id), self.max_size);
            elsewhere(move || {
                let Some(mut file) = open(&path, false)? else { return Ok(None) };
                if file.metadata()?.modified()? <= now {
                    return Ok(None);
                }
                read(&mut file, max_size).map(Some)
            })
            .await
        })
    }

    fn collect(&self, now: SystemTime, most: usize) -> StoreFuture<'_, usize> {
        let store = self.clone();
        Box::pin(elsewhere(move || store.sweep(now, most)))
    }
}

impl FileStore {
    fn sweep(&self, now: SystemTime, most: usize) -> Result<usize, StoreError> {
        let passed = self.passed.load(Ordering::Relaxed);
        let (mut seen, mut removed) = (0, 0);
        for entry in fs::read_dir(&self.folder)?.skip(passed).take(most) {
            seen += 1;
            removed += usize::from(sweep_one(&entry?, now)?);
        }
        // The folder has fewer files now; behind its end, the next time begins anew.
        let next = if seen < most { 0 } else { passed + seen - removed };
        self.passed.store(next, Ordering::Relaxed);
        Ok(removed)
    }
}

/// Removes a file that has expired and that nobody has.
fn sweep_one(entry: &fs::DirEntry, now: SystemTime) -> Result<bool, StoreError> {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let due = if name.starts_with(PREFIX) {
        now
    } else if name.starts_with(UNFINISHED) {
        now.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH)
    } else {
        return Ok(false);
    };
    let path = entry.path();
    let expired = |file: &File| -> io::Result<bool> { Ok(file.metadata()?.modified()? <= due) };
    let Some(file) = open(&path, true)? else { return Ok(false) };
    // Twice: before the lock was ours, somebody may have prolonged it.
    if !expired(&file)? || !lock(&file)? || !is_at(&file, &path)? || !expired(&file)? {
        return Ok(false);
    }
    remove(&path)?;
    Ok(true)
}

/// What came of an attempt to open a session.
enum Attempt {
    Missing,
    /// Somebody has it, or had it a moment ago.
    Busy,
    Open {
        file: File,
        data: Bytes,
    },
}

fn attempt(path: &Path, now: SystemTime, max_size: u64) -> Result<Attempt, StoreError> {
    let Some(mut file) = open(path, true)? else { return Ok(Attempt::Missing) };
    if !lock(&file)? || !is_at(&file, path)? {
        return Ok(Attempt::Busy);
    }
    if file.metadata()?.modified()? <= now {
        remove(path)?;
        return Ok(Attempt::Missing);
    }
    let data = read(&mut file, max_size)?;
    Ok(Attempt::Open { file, data })
}

fn open(path: &Path, to_lock: bool) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    // Some network file systems lock only what may be written.
    options.read(true).write(to_lock).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the file could be locked; it is free again when all its descriptors are closed.
fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether this file, and no later one, has the name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(file: &mut File, limit: u64) -> Result<Bytes, StoreError> {
    let mut data = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut data)?;
    if data.len() as u64 > limit { Err(StoreError::TooLarge { limit }) } else { Ok(data.into()) }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Writes what shall replace a session: complete, locked, and under another name.
fn prepare(folder: &Path, data: &[u8], expires: SystemTime) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).rand_bytes(16).tempfile_in(folder)?;
    if !lock(file.as_file())? {
        return Err(io::Error::other("a new file is locked by somebody"));
    }
    file.write_all(data)?;
    file.as_file().set_modified(expires)?;
    Ok(file)
}

struct FileRecord {
    folder: Arc<Path>,
    path: PathBuf,
    data: Bytes,
    /// `None` once an operation was given up, which then has it.
    lock: Option<Lock>,
}

/// The session is ours. The file is closed first: who waits in this process then finds it free.
struct Lock {
    _file: Option<File>,
    /// A new session needs none: nobody else knows its id before it is answered.
    _held: Option<Held>,
}

impl FileRecord {
    /// Does something with the file on another thread, which keeps the session locked until it is done even if nobody
    /// waits for it any more.
    fn locked(
        &mut self,
        work: impl FnOnce(&Path, &Path) -> io::Result<Option<File>> + Send + 'static,
    ) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let gone = || io::Error::other("an operation on the session was given up");
            let mut lock = self.lock.take().ok_or_else(gone)?;
            let (folder, path) = (Arc::clone(&self.folder), self.path.clone());
            let (lock, result) = elsewhere(move || {
                let result = work(&folder, &path).map(|new| {
                    if new.is_some() {
                        lock._file = new;
                    }
                });
                Ok((lock, result))
            })
            .await?;
            self.lock = Some(lock);
            Ok(result?)
        })
    }
}

impl Record for FileRecord {
    fn data(&self) -> &[u8] {
        &self.data
    }

    fn save(&mut self, data: Bytes, expires: SystemTime) -> StoreFuture<'_, ()> {
        self.locked(move |folder, path| {
            let file = prepare(folder, &data, expires)?;
            Ok(Some(file.persist(path).map_err(|error| error.error)?))
        })
    }

    fn touch(&mut self, expires: SystemTime) -> StoreFuture<'_, ()> {
        self.locked(move |_, path| {
            if let Some(file) = open(path, true)? {
                file.set_modified(expires)?;
            }
            Ok(None)
        })
    }

    fn delete(&mut self) -> StoreFuture<'_, ()> {
        self.locked(|_, path| remove(path).map(|()| None))
    }
}

/// Runs what may block on a thread for that.
async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
