//! Binds the socket's file without ever taking a live daemon's away.
//!
//! Whoever holds the lock file beside the socket is the daemon; a socket that is there while we
//! hold the lock was left behind by a dead one. The new socket is bound under another name, given
//! its mode, and renamed over the old one, so that a client finds either the old one (and is
//! refused) or the whole new one.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use os::lock::{Lock, LockError};

/// Bytes of a path that the kernel takes as a socket's address (`sun_path` without its zero).
const ADDRESS_SIZE_MAX: usize = 107;

/// Why the daemon does not listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon does.
    #[error("a daemon listens on {} already", .0.display())]
    InUse(PathBuf),
    /// The lock file can not be used.
    #[error(transparent)]
    Lock(LockError),
    /// The directory or the socket can not be made.
    #[error("can not {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bound socket. Dropped, it takes its file away.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    /// Held as long as the file is ours.
    _lock: Lock,
}

/// Binds `path`, making its directory when needed.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, Bound), SocketError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| SocketError::Io { doing, path, source }
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(failed("create", directory))?;
    let lock = match Lock::take(
        &path.with_extension("lock"),
        &format!("the daemon with process number {}", std::process::id()),
    ) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Err(SocketError::InUse(path.to_owned())),
        Err(error) => return Err(SocketError::Lock(error)),
    };
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", &temporary)(error)),
    }
    let listener = bind_at(&temporary).map_err(failed("bind", &temporary))?;
    listener.set_nonblocking(true).map_err(failed("open", &temporary))?;
    // Anybody may look; who may change things is decided for each caller.
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o666))
        .map_err(failed("change the mode of", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("rename to", path))?;
    Ok((listener, Bound { path: path.to_owned(), _lock: lock }))
}

/// A path that is too long for a socket's address is reached through its directory's descriptor.
fn bind_at(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() <= ADDRESS_SIZE_MAX {
        return UnixListener::bind(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(directory)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    UnixListener::bind(short)
}

impl Drop for Bound {
    fn drop(&mut self) {
        // We hold the lock, so the file is ours; when it is gone already, that is what was wanted.
        let _already_gone = fs::remove_file(&self.path);
    }
}
