//! Telling the service manager how far we are (sd_notify(3)).
//!
//! A service manager that started us with `Type=notify` has left the address of a datagram socket in
//! `NOTIFY_SOCKET`. What is sent there are lines of `NAME=value`: `READY=1`, `STOPPING=1`,
//! `STATUS=words for people`, `EXTEND_TIMEOUT_USEC=n` (this stop takes as long from now on). Without such an
//! address nobody wants to know. Nothing waits for a reader, and sending does not allocate.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, if there is one that wants to know.
#[derive(Debug)]
pub struct Init {
    socket: Option<UnixDatagram>,
}

impl Init {
    /// The one that started this process.
    ///
    /// # Errors
    /// When there is an address that cannot be used.
    pub fn of_this_process() -> io::Result<Init> {
        Init::at(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// The one at this address: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn at(address: Option<OsString>) -> io::Result<Init> {
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return Ok(Init::nobody());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        match address.as_bytes() {
            [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            path => socket.connect(OsStr::from_bytes(path))?,
        }
        Ok(Init { socket: Some(socket) })
    }

    /// Nobody wants to know.
    #[must_use]
    pub fn nobody() -> Init {
        Init { socket: None }
    }

    /// Sends lines; false when they were not taken. True when nobody wants to know.
    pub fn tell(&self, lines: &str) -> bool {
        self.socket.as_ref().is_none_or(|socket| socket.send(lines.as_bytes()).is_ok())
    }
}

#[cfg(test)]
mod tests;
