//! Sockets with what `rustix` does not offer: receive stamps and addresses in control messages
//! (ip(7), ipv6(7), socket(7)), and frames (packet(7)).

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// One received datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    pub(crate) source: SocketAddr,
    /// To which of our addresses it was sent, when the socket asks for it.
    pub(crate) destination: Option<IpAddr>,
    /// When the kernel received it (wall clock), when the socket asks for it.
    pub(crate) stamp: Option<Duration>,
}

/// One received frame: who sent it on the wire, and the kernel's wall-clock stamp.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) length: usize,
    pub(crate) hardware: [u8; 6],
    pub(crate) stamp: Option<Duration>,
}

/// Room for control messages, aligned as they must be.
type Control = [u64; 24];

fn outcome(answer: isize) -> io::Result<usize> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as usize) }
}

/// Sets a socket option that is a number.
pub(crate) fn set_number(
    socket: impl AsFd,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one c_int from a live variable.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as u32,
        )
    };
    outcome(answer as isize).map(drop)
}

/// Wake-ups of this thread on time: ordinary threads may be woken 50 µs late.
pub(crate) fn wake_slack() {
    // SAFETY: a number for this thread; a refusal changes nothing.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000u64) };
}

/// Receives without waiting.
fn receive<A>(
    socket: impl AsFd,
    buffer: &mut [u8],
    name: &mut A,
) -> io::Result<(usize, Option<IpAddr>, Option<Duration>)> {
    let mut control: Control = [0; 24];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let (mut destination, mut stamp) = (None, None);
    // SAFETY: the message header points at memory of this function and of the caller, with its
    // true lengths; the CMSG_ functions walk what the kernel wrote, and each payload is read
    // unaligned and only as the type that its level and type stand for.
    let length = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_name = ptr_of(name);
        message.msg_namelen = size_of::<A>() as u32;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        let length = outcome(libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT,
        ))?;
        let mut part = libc::CMSG_FIRSTHDR(&message);
        while let Some(header) = part.as_ref() {
            let payload = libc::CMSG_DATA(header);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let found = payload.cast::<libc::in_pktinfo>().read_unaligned();
                    destination = Some(IpAddr::from(found.ipi_addr.s_addr.to_ne_bytes()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let found = payload.cast::<libc::in6_pktinfo>().read_unaligned();
                    destination = Some(IpAddr::from(found.ipi6_addr.s6_addr));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let found = payload.cast::<libc::timespec>().read_unaligned();
                    stamp = Some(Duration::new(found.tv_sec as u64, found.tv_nsec as u32));
                }
                _ => {}
            }
            part = libc::CMSG_NXTHDR(&message, header);
        }
        length
    };
    Ok((length, destination, stamp))
}

fn ptr_of<A>(value: &mut A) -> *mut c_void {
    (value as *mut A).cast()
}

/// Receives one datagram without waiting (`WouldBlock` when there is none).
pub(crate) fn receive_datagram(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Datagram> {
    // SAFETY: a socket address of zeros is a valid value of this plain structure.
    let mut name: libc::sockaddr_storage = unsafe { zeroed() };
    let (length, destination, stamp) = receive(socket, buffer, &mut name)?;
    let source = match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in into larger, aligned storage.
            let v4 = unsafe { &*(&raw const name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the kernel wrote a sockaddr_in6 into larger, aligned storage.
            let v6 = unsafe { &*(&raw const name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            SocketAddr::V6(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id))
        }
        _ => return Err(io::Error::other("a datagram without an IP source")),
    };
    Ok(Datagram { length, source, destination, stamp })
}

/// Sends one datagram, from the given address of ours if one is given.
pub(crate) fn send_datagram(
    socket: impl AsFd,
    bytes: &[u8],
    target: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<()> {
    let mut control: Control = [0; 24];
    let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut c_void, iov_len: bytes.len() };
    // SAFETY: name, part and control are memory of this function with their true lengths; the
    // control buffer has room for the one message that is written into it.
    let sent = unsafe {
        let mut name: libc::sockaddr_storage = zeroed();
        let name_length = match target {
            SocketAddr::V4(v4) => {
                let place = &mut *(&raw mut name).cast::<libc::sockaddr_in>();
                place.sin_family = libc::AF_INET as u16;
                place.sin_port = v4.port().to_be();
                place.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let place = &mut *(&raw mut name).cast::<libc::sockaddr_in6>();
                place.sin6_family = libc::AF_INET6 as u16;
                place.sin6_port = v6.port().to_be();
                place.sin6_addr.s6_addr = v6.ip().octets();
                place.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        let mut message: libc::msghdr = zeroed();
        message.msg_name = ptr_of(&mut name);
        message.msg_namelen = name_length as u32;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(source) = source {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of::<Control>() as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            let used = match source {
                IpAddr::V4(v4) => {
                    let mut found: libc::in_pktinfo = zeroed();
                    found.ipi_spec_dst.s_addr = u32::from_ne_bytes(v4.octets());
                    (*header).cmsg_level = libc::IPPROTO_IP;
                    (*header).cmsg_type = libc::IP_PKTINFO;
                    libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().write_unaligned(found);
                    size_of::<libc::in_pktinfo>()
                }
                IpAddr::V6(v6) => {
                    let mut found: libc::in6_pktinfo = zeroed();
                    found.ipi6_addr.s6_addr = v6.octets();
                    (*header).cmsg_level = libc::IPPROTO_IPV6;
                    (*header).cmsg_type = libc::IPV6_PKTINFO;
                    libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().write_unaligned(found);
                    size_of::<libc::in6_pktinfo>()
                }
            };
            (*header).cmsg_len = libc::CMSG_LEN(used as u32) as _;
            message.msg_controllen = libc::CMSG_SPACE(used as u32) as _;
        }
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_DONTWAIT)
    };
    outcome(sent).map(drop)
}

fn hardware_name(interface: u32, protocol: u16, hardware: Option<[u8; 6]>) -> libc::sockaddr_ll {
    // SAFETY: a plain structure for which zeros are a valid value.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = protocol.to_be();
    name.sll_ifindex = interface as i32;
    if let Some(hardware) = hardware {
        name.sll_halen = 6;
        name.sll_addr[..6].copy_from_slice(&hardware);
    }
    name
}

/// A socket for what follows the Ethernet header, of one protocol on one interface.
pub(crate) fn bind_to_interface(interface: u32, protocol: u16) -> io::Result<OwnedFd> {
    bind_frames(libc::SOCK_DGRAM, interface, protocol)
}

/// A socket for whole frames with their Ethernet header on one interface; it hears everything, or
/// nothing (protocol 0).
pub(crate) fn bind_raw(interface: u32, hears: bool) -> io::Result<OwnedFd> {
    bind_frames(libc::SOCK_RAW, interface, if hears { libc::ETH_P_ALL as u16 } else { 0 })
}

fn bind_frames(kind: c_int, interface: u32, protocol: u16) -> io::Result<OwnedFd> {
    let name = hardware_name(interface, protocol, None);
    // SAFETY: a new descriptor that nobody else owns; then the kernel reads a live address of the
    // given length.
    unsafe {
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0 receives nothing until it is bound: no frames of other interfaces get in.
        let raw = libc::socket(libc::AF_PACKET, kind, 0);
        outcome(raw as isize)?;
        let socket = OwnedFd::from_raw_fd(raw);
        let length = size_of::<libc::sockaddr_ll>() as u32;
        outcome(libc::bind(raw, (&raw const name).cast(), length) as isize)?;
        Ok(socket)
    }
}

/// Sends one frame to a hardware address.
pub(crate) fn send_frame(
    socket: impl AsFd,
    bytes: &[u8],
    interface: u32,
    protocol: u16,
    hardware: [u8; 6],
) -> io::Result<()> {
    let name = hardware_name(interface, protocol, Some(hardware));
    // SAFETY: the kernel reads live bytes and a live address, each with its length.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    outcome(sent).map(drop)
}

/// Receives one frame without waiting.
pub(crate) fn receive_frame(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Frame> {
    let mut name = hardware_name(0, 0, None);
    let (length, _, stamp) = receive(socket, buffer, &mut name)?;
    let mut hardware = [0; 6];
    hardware.copy_from_slice(&name.sll_addr[..6]);
    Ok(Frame { length, hardware, stamp })
}

/// From now on this thread comes before all ordinary ones and before the daemons' loops (SCHED_RR),
/// as the interrupts of a network card do.
pub(crate) fn hurry(priority: i32) -> io::Result<()> {
    // SAFETY: a plain structure for which zeros are a valid value, read by the kernel.
    let answer = unsafe {
        let mut parameters: libc::sched_param = zeroed();
        parameters.sched_priority = priority;
        libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters)
    };
    outcome(answer as isize).map(drop)
}
