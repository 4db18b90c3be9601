//! The service of the lab: it answers every probe with its name.
//!
//! It listens on all addresses and answers from the one that was asked (`IP_PKTINFO`, ip(7)), so it
//! needs no configuration and can be started before or after its address is there. By UDP it echoes
//! number and time and adds its process id and name; by TCP it writes `name pid` and closes.
//! On the next port it carries streams ([`crate::stream`]). If told to, it also writes [stamps](crate::stamps): what a
//! process does that nobody asks.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::client::{Question, Reply};
use crate::clock;
use crate::stamps::Pen;
use crate::stream::Server;
use crate::sys;

/// The port when none is given.
pub const PORT: u16 = 7700;

/// Where a responder at that port carries streams.
pub fn stream_port(port: u16) -> u16 {
    port + 1
}

/// Answers until it is killed.
///
/// The name is that of the node: the same command runs on all of them, so without a name the host
/// name is taken. Stamps go to a file that is there, if one is named.
///
/// # Errors
/// When the port is taken, the kernel has no sockets for us, or a stamp cannot be written.
pub fn run(name: Option<&str>, port: u16, stamps: Option<&Path>) -> Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.unwrap_or(&host);
    let pid = std::process::id();
    let mut datagrams = vec![UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("UDP port")?];
    sys::set_number(&datagrams[0], libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    let mut listeners = vec![listen_v4(port).context("TCP port")?];
    let mut streams = vec![listen_v4(stream_port(port)).context("TCP port of streams")?];
    // A machine without IPv6 has no such sockets.
    if let Ok((socket, listener, stream)) = open_v6(port) {
        datagrams.push(socket);
        listeners.push(listener);
        streams.push(stream);
    }
    let mut streams = Server::new(streams);
    let mut pen = stamps.map(|path| Pen::open(path, &host)).transpose()?;
    loop {
        let limit = pen.as_mut().map(Pen::write_when_due).transpose()?.map(clock::timespec);
        let mut entries: Vec<PollFd<'_>> = datagrams
            .iter()
            .map(AsFd::as_fd)
            .chain(listeners.iter().map(AsFd::as_fd))
            .map(|fd| (fd, PollFlags::IN))
            .chain(streams.waits())
            .map(|(fd, what)| PollFd::from_borrowed_fd(fd, what))
            .collect();
        match poll(&mut entries, limit.as_ref()) {
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
        streams.serve();
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

/// IPv6 sockets beside the IPv4 ones: they must not claim the IPv4 ports too.
fn open_v6(port: u16) -> Result<(UdpSocket, TcpListener, TcpListener)> {
    let datagrams = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    sockopt::set_ipv6_v6only(&datagrams, true)?;
    rustix::net::bind(&datagrams, &any_v6(port))?;
    sys::set_number(&datagrams, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    let streams = listen_v6(stream_port(port))?;
    Ok((UdpSocket::from(datagrams), listen_v6(port)?, streams))
}

fn any_v6(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn listen_v6(port: u16) -> Result<TcpListener> {
    let stream = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&stream, true)?;
    sockopt::set_ipv6_v6only(&stream, true)?;
    rustix::net::bind(&stream, &any_v6(port))?;
    rustix::net::listen(&stream, 64)?;
    let listener = TcpListener::from(stream);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
