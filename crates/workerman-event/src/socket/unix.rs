//! The file of a unix socket: made, replaced when stale, removed at the end.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::ListenOptions;

/// Removes a socket's file when dropped, if it is still the same file.
#[derive(Debug)]
pub(crate) struct Unlink {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Unlink {
    fn new(path: &Path) -> io::Result<Self> {
        // Absolute, since the process may change its directory before the listener is closed.
        let path = std::path::absolute(path)?;
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }

    fn is(&self, metadata: &Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }
}

impl Drop for Unlink {
    fn drop(&mut self) {
        // A successor may have replaced the file by its own, which must stay.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| self.is(&metadata)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) fn bind(path: &Path, options: &ListenOptions) -> io::Result<(UnixListener, Unlink)> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = stream_socket()?;
    socket.bind(&address)?;
    let unlink = Unlink::new(path)?;
    // Before `listen`, so that nobody connects who shall not.
    if let Some(mode) = options.mode {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if options.owner.is_some() || options.group.is_some() {
        chown(path, options.owner, options.group)?;
    }
    socket.listen(options.clamped_backlog())?;
    Ok((OwnedFd::from(socket).into(), unlink))
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(why),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"));
    }
    match stream_socket()?.connect(address) {
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => return Err(why),
        // Somebody answers, has a full queue, or holds it with a socket of another type.
        _ => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")),
    }
    // Only the file that was asked: somebody else may have replaced it since.
    let now = fs::symlink_metadata(path);
    if now.is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino())) {
        fs::remove_file(path)?;
    }
    Ok(())
}
