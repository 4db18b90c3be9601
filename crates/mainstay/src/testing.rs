//! What tests of several modules need.
//!
//! They run beside each other in one process, and some start children. A child holds whatever was open
//! here until its own execve(2): a file, a port or a lock may stay in use for a moment after it was closed.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::net::TcpSocket;

/// Nobody listens there: tcpmux, of RFC 1078, is not used any more.
pub(crate) const DEAF: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A TCP port of loopback that nobody else has as long as it is held.
///
/// It is bound and nobody listens there, so who says SO_REUSEADDR, as all servers do, can listen.
pub(crate) struct FreePort(TcpSocket);

impl FreePort {
    pub(crate) fn new() -> FreePort {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("it is new");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback works");
        FreePort(socket)
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }
}

/// Writes a program that can be run at once.
///
/// A shell writes it: a file that a child holds open for writing cannot be run (ETXTBSY).
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell is there");
    let mut input = shell.stdin.take().expect("it is a pipe");
    input.write_all(text.as_bytes()).expect("the shell reads");
    drop(input);
    assert!(shell.wait().expect("it ends").success(), "{} cannot be written", path.display());
}
