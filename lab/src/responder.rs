//! The service of the lab: it answers every probe with its name.
//!
//! It listens on all addresses and answers from the one that was asked (`IP_PKTINFO`, ip(7)), so it
//! needs no configuration and can be started before or after its address is there. By UDP it echoes
//! number and time and adds its process id and name; by TCP it writes `name pid` and closes.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::client::{Question, Reply};
use crate::sys;

/// The port when none is given.
pub const PORT: u16 = 7700;

/// Answers until it is killed.
///
/// The name is that of the node: the same command runs on all of them, so without a name the host
/// name is taken.
///
/// # Errors
/// When the port is taken or the kernel has no sockets for us.
pub fn run(name: Option<&str>, port: u16) -> Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.unwrap_or(&host);
    let pid = std::process::id();
    let mut datagrams = vec![UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("UDP port")?];
    sys::set_number(&datagrams[0], libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    let mut listeners = vec![listen_v4(port).context("TCP port")?];
    // A machine without IPv6 has no such sockets.
    if let Ok((socket, listener)) = open_v6(port) {
        datagrams.push(socket);
        listeners.push(listener);
    }
    loop {
        let mut entries: Vec<PollFd<'_>> = datagrams
            .iter()
            .map(AsFd::as_fd)
            .chain(listeners.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut entries, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for probes"),
        }
        drop(entries);
        for socket in &datagrams {
            answer(socket, name, pid)?;
        }
        for listener in &listeners {
            while let Ok((mut stream, _)) = listener.accept() {
                // A client that went away again is no reason to end.
                let _ = stream.write_all(format!("{name} {pid}\n").as_bytes());
            }
        }
    }
}

fn answer(socket: &UdpSocket, name: &str, pid: u32) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        let datagram = match sys::receive_datagram(socket, &mut buffer) {
            Ok(datagram) => datagram,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("receiving a probe"),
        };
        if let Some(question) = Question::decode(&buffer[..datagram.length]) {
            let reply = Reply { question, pid, name };
            // Refused when the address has been taken away meanwhile: then silence is right.
            let _ =
                sys::send_datagram(socket, &reply.encode(), datagram.source, datagram.destination);
        }
    }
}

fn listen_v4(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// IPv6 sockets beside the IPv4 ones: they must not claim the IPv4 port too.
fn open_v6(port: u16) -> Result<(UdpSocket, TcpListener)> {
    let any = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    let datagrams = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    let stream = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&stream, true)?;
    for socket in [&datagrams, &stream] {
        sockopt::set_ipv6_v6only(socket, true)?;
        rustix::net::bind(socket, &any)?;
    }
    sys::set_number(&datagrams, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    rustix::net::listen(&stream, 64)?;
    let listener = TcpListener::from(stream);
    listener.set_nonblocking(true)?;
    Ok((UdpSocket::from(datagrams), listener))
}
