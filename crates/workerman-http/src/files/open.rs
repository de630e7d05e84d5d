//! Opening a file below a root: never one outside of it, whatever links and renames say meanwhile.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What a path below a root is.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A regular file, open, and what `fstat` says of it.
    File(File, Metadata),
    Folder,
}

/// Opens what the names lead to, below `root`.
///
/// First every name is opened in the folder before it, and none may be a link (`O_NOFOLLOW`): there is no moment in
/// which a path is checked and another one opened. If a link is met and `links` allows it, all links are resolved at
/// once, the result must be below the resolved root, and *that* path is opened the same way: a link that somebody puts
/// into it in between is refused.
///
/// Where the system has no `openat`, the resolved path is checked and then opened; who can rename folders below the
/// root in between could lead one open astray there.
///
/// # Errors
/// `NotFound` for everything that is not there for the peer: links that lead out, pipes, devices.
pub(crate) fn open(root: &Path, names: &[OsString], links: bool) -> io::Result<Entry> {
    match walk(root, names) {
        Err(Stop::Link) if links => {}
        other => return other.map_err(Stop::error),
    }
    let root = root.canonicalize()?;
    let mut path: PathBuf = root.clone();
    path.extend(names);
    let path = path.canonicalize()?;
    let below = path.strip_prefix(&root).map_err(|_| ErrorKind::NotFound)?;
    let names: Vec<OsString> = below.iter().map(OsString::from).collect();
    walk(&root, &names).map_err(Stop::error)
}

/// Why a walk ended.
enum Stop {
    /// A link is in the way.
    Link,
    System(io::Error),
}

impl Stop {
    fn error(self) -> io::Error {
        match self {
            Self::Link => ErrorKind::NotFound.into(),
            Self::System(error) => error,
        }
    }
}

impl<E: Into<io::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::System(error.into())
    }
}

#[cfg(unix)]
fn walk(root: &Path, names: &[OsString]) -> Result<Entry, Stop> {
    use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
    use rustix::io::Errno;

    // Passing through a folder takes the right to search it, not to list it, where the system can express that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const PASS: OFlags = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const PASS: OFlags = OFlags::RDONLY;

    let folder = PASS | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The root itself may be a link: it is the operator's.
    let mut at = openat(CWD, root, folder, Mode::empty())?;
    let Some((last, before)) = names.split_last() else { return Ok(Entry::Folder) };
    for name in before {
        at = match openat(&at, name, folder | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(next) => next,
            // Systems differ in what they say of a link here.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK)
                if FileType::from_raw_mode(statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
                    == FileType::Symlink =>
            {
                return Err(Stop::Link);
            }
            Err(error) => return Err(error.into()),
        };
    }
    // Asked before it is opened: opening a pipe or a device is an act.
    match FileType::from_raw_mode(statat(&at, last, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Ok(Entry::Folder),
        FileType::Symlink => return Err(Stop::Link),
        _ => return Err(io::Error::from(ErrorKind::NotFound).into()),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(&at, last, flags, Mode::empty()) {
        Ok(file) => Ok(regular(file.into())?),
        Err(Errno::LOOP | Errno::MLINK) => Err(Stop::Link),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn walk(root: &Path, names: &[OsString]) -> Result<Entry, Stop> {
    let mut path = root.to_path_buf();
    for name in names {
        path.push(name);
        if path.symlink_metadata()?.file_type().is_symlink() {
            return Err(Stop::Link);
        }
    }
    if path.metadata()?.is_dir() { Ok(Entry::Folder) } else { Ok(regular(File::open(path)?)?) }
}

/// Opens a file that the program named itself: links are followed.
///
/// # Errors
/// `NotFound` for what is not a regular file, and what the system says.
pub(crate) fn open_named(path: &Path) -> io::Result<(File, Metadata)> {
    // Asked before it is opened, as above; `regular` sees to it that the answer held.
    if !path.metadata()?.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    #[cfg(unix)]
    let file = {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        File::from(rustix::fs::open(path, flags, Mode::empty())?)
    };
    #[cfg(not(unix))]
    let file = File::open(path)?;
    match regular(file)? {
        Entry::File(file, metadata) => Ok((file, metadata)),
        Entry::Folder => Err(ErrorKind::NotFound.into()),
    }
}

fn regular(file: File) -> io::Result<Entry> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(Entry::File(file, metadata)) } else { Err(ErrorKind::NotFound.into()) }
}

/// The number of a file in its file system, where there is one.
#[cfg(unix)]
pub(crate) fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
pub(crate) fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(all(test, unix))]
mod tests;
