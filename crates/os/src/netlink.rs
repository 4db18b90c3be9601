//! Interfaces and addresses, by rtnetlink(7): the full picture, a bell when it changes, and changes.
//!
//! Multicast events have no flow control and may be late (the kernel holds back events about links
//! that are not urgent for up to a second), so an event is only ever a reason to look again:
//! [`Watch::take`] says *whether* something changed, and an overrun (`ENOBUFS`) counts as "yes". The
//! picture itself comes from dumps, which the kernel marks when they were interrupted by a change;
//! such a dump is repeated. Carrier loss is seen sooner by asking the driver ([`Netlink::carrier`],
//! a few microseconds): poll that.
//!
//! Messages are built and read by hand: a dozen fixed fields, the same in all kernels since 2.6, and
//! the guard must be able to send one without allocating ([`Removal`]).
//!
//! Service addresses carry a lifetime (`IFA_CACHEINFO`, whole seconds; it ends within one second
//! after), and IPv6 ones are added without the kernel's duplicate detection (`IFA_F_NODAD`), which
//! would take 1 to 2 s: whoever claims an address probes first.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use crate::sys;

pub mod link;
mod message;
pub mod replace;
mod switch;

pub(crate) use message::*;
pub use switch::Taken;

/// Room for one datagram of a dump; the kernel sends at most 32 KiB at a time.
const DATAGRAM_MAX: usize = 64 << 10;
/// Room for events that nobody has read yet.
const EVENT_BUFFER: i32 = 1 << 20;
/// Dumps of one picture before a machine that changes all the time is reported as such.
const ATTEMPTS_MAX: usize = 8;
/// Longest wait for an answer that the kernel owes us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an address message with all its attributes.
const ADDRESS_MESSAGE_MAX: usize = 96;

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_CARRIER: u16 = 33;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFF_UP: u32 = 1;
pub(crate) const IFF_LOOPBACK: u32 = 8;
const IFF_RUNNING: u32 = 0x40;
const ARPHRD_ETHER: u16 = 1;
const FOREVER: u32 = u32::MAX;
const RTMGRP_LINK: u32 = 1;
const RTMGRP_TC: u32 = 8;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// One interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number; never used again for another one of this machine's life.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Set up by the administrator.
    pub up: bool,
    /// Connected at link level, and running as far as the kernel says. After a carrier came, the
    /// kernel may throw frames away for up to a second until it switches the queue on, and some
    /// drivers do not let it say so: repeat what matters.
    pub carrier: bool,
    /// The machine's own loop.
    pub loopback: bool,
    /// Its Ethernet address, if it is of that kind.
    pub mac: Option<[u8; 6]>,
    /// Bytes of the largest payload of a frame.
    pub mtu: u32,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<AddressSeen>,
}

/// One address of an interface as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSeen {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part.
    pub prefix: u8,
    /// How long it will last if nobody extends it, in whole seconds; `None`: for ever.
    pub lifetime: Option<Duration>,
    /// Not usable yet: the kernel's duplicate detection runs.
    pub tentative: bool,
    /// The kernel found the address on another machine and does not use it.
    pub duplicate: bool,
    /// Not chosen as a source any more.
    pub deprecated: bool,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it.
    #[error("the kernel refused to {operation}")]
    Refused {
        /// What was asked.
        operation: String,
        /// What it said.
        source: io::Error,
    },
    /// The socket failed.
    #[error("netlink socket: cannot {operation}")]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel did not answer in time, or not in its own format.
    #[error("netlink: {0}")]
    Answer(String),
}

impl NetlinkError {
    /// In one line, with what the kernel said.
    #[must_use]
    pub fn whole(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    /// The kernel's error number, if it refused the request.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            NetlinkError::Refused { source, .. } => source.raw_os_error(),
            NetlinkError::Socket { .. } | NetlinkError::Answer(_) => None,
        }
    }
}

fn socket_error(operation: &'static str) -> impl FnOnce(Errno) -> NetlinkError {
    move |error| NetlinkError::Socket { operation, source: error.into() }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    sys::set_number(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, EVENT_BUFFER).or_else(
        |_| sys::set_number(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, EVENT_BUFFER),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// A socket for requests. Each call waits for the kernel's answer (microseconds; longer while
/// another program holds the kernel's lock on the network configuration).
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    /// An ordinary socket, for requests to drivers.
    driver: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Netlink {
    /// Opens the sockets, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn open() -> io::Result<Netlink> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Netlink {
            socket: open(0)?,
            driver: socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?,
            sequence: 0,
            buffer: vec![0; DATAGRAM_MAX].into_boxed_slice(),
        })
    }

    /// All interfaces with all their addresses, in the order of their numbers.
    ///
    /// # Errors
    /// When the socket fails or the machine's configuration changes faster than it can be read.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, NetlinkError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut interfaces = Vec::new();
            let mut changed = self.dump(RTM_GETLINK, &[0; 16], |kind, body| {
                if kind == RTM_NEWLINK {
                    interfaces.extend(read_interface(body));
                }
            })?;
            let mut addresses = Vec::new();
            changed |= self.dump(RTM_GETADDR, &[0; 8], |kind, body| {
                if kind == RTM_NEWADDR {
                    addresses.extend(read_address(body));
                }
            })?;
            if changed {
                continue;
            }
            interfaces.sort_by_key(|interface: &Interface| interface.index);
            for (index, address) in addresses {
                // An interface that came between the two dumps: its event makes us look again.
                if let Ok(at) = interfaces.binary_search_by_key(&index, |found| found.index) {
                    interfaces[at].addresses.push(address);
                }
            }
            return Ok(interfaces);
        }
        Err(NetlinkError::Answer("the interfaces change faster than they can be read".to_owned()))
    }

    /// Adds an address that lasts `lifetime` (rounded up to whole seconds; `None`: for ever).
    ///
    /// # Errors
    /// `EEXIST` when the interface has it already, `EPERM` without `CAP_NET_ADMIN`, `ENODEV`.
    pub fn add_address(
        &mut self,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        lifetime: Option<Duration>,
    ) -> Result<(), NetlinkError> {
        self.change(Verb::Add, interface, address, prefix, lifetime)
    }

    /// Extends the lifetime of an address, **and adds it if it is not there**: the kernel has no way to
    /// ask for only the former. So ask the lease before.
    ///
    /// # Errors
    /// As [`Netlink::add_address`], without `EEXIST`.
    pub fn refresh_address(
        &mut self,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        lifetime: Option<Duration>,
    ) -> Result<(), NetlinkError> {
        self.change(Verb::Refresh, interface, address, prefix, lifetime)
    }

    /// Removes an address; one that is not there is no error.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`.
    pub fn remove_address(
        &mut self,
        interface: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), NetlinkError> {
        match self.change(Verb::Remove, interface, address, prefix, None) {
            Err(error) if matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Whether the driver of the interface has a carrier now; does not wait for anything.
    ///
    /// # Errors
    /// `ENODEV` when the interface is gone, `EOPNOTSUPP` when its driver does not say.
    pub fn carrier(&self, name: &str) -> io::Result<bool> {
        sys::carrier(self.driver.as_fd(), name)
    }

    fn change(
        &mut self,
        verb: Verb,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        lifetime: Option<Duration>,
    ) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::new(verb, interface, address, prefix, lifetime, 0);
        match self.ask(&mut message.0)? {
            0 => Ok(()),
            errno => Err(NetlinkError::Refused {
                operation: format!(
                    "{} {address}/{prefix} {} interface {interface}",
                    verb.word(),
                    if verb == Verb::Remove { "from" } else { "on" },
                ),
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Sends a finished request that wants an answer; the kernel's error number, 0 for "done".
    pub(crate) fn ask<const N: usize>(
        &mut self,
        message: &mut Message<N>,
    ) -> Result<i32, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        message.number(sequence);
        send(&self.socket, message.bytes(), SendFlags::empty())
            .map_err(socket_error("send a request"))?;
        let mut result = None;
        loop {
            self.receive(|header, body| {
                if header.kind == NLMSG_ERROR && header.sequence == sequence {
                    result = Some(read_errno(body));
                }
                true
            })?;
            if let Some(errno) = result {
                return Ok(errno);
            }
        }
    }

    /// Asks for a dump; true if the kernel says that it was disturbed by a change.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<bool, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut message = Message::<64>::new(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence);
        message.put(body);
        message.finish();
        send(&self.socket, message.bytes(), SendFlags::empty())
            .map_err(socket_error("ask for a dump"))?;
        let mut disturbed = false;
        let mut done = None;
        while done.is_none() {
            self.receive(|header, body| {
                if header.sequence != sequence {
                    return true;
                }
                disturbed |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => done = Some(read_errno(body)),
                    kind => take(kind, body),
                }
                true
            })?;
        }
        match done {
            Some(0) | None => Ok(disturbed),
            Some(errno) => Err(NetlinkError::Refused {
                operation: "list what belongs to its interfaces".to_owned(),
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Waits for one datagram and hands over its messages.
    fn receive(&mut self, take: impl FnMut(Header, &[u8]) -> bool) -> Result<(), NetlinkError> {
        let length = loop {
            match recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => break length,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => wait_readable(self.socket.as_fd())?,
                Err(error) => return Err(socket_error("receive an answer")(error)),
            }
        };
        if length > self.buffer.len() {
            return Err(NetlinkError::Answer(format!("a datagram of {length} bytes")));
        }
        each_message(&self.buffer[..length], take);
        Ok(())
    }
}

fn wait_readable(socket: BorrowedFd<'_>) -> Result<(), NetlinkError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: ANSWER_TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => Err(NetlinkError::Answer(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(socket_error("wait for an answer")(error)),
    }
}

/// Listens for changes of interfaces, their addresses and their filters.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
}

impl Watch {
    /// Opens the socket, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn open() -> io::Result<Watch> {
        let groups = RTMGRP_LINK | RTMGRP_TC | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        Ok(Watch { socket: open(groups)? })
    }

    /// As [`Watch::open`], for interfaces and their filters alone.
    ///
    /// # Errors
    /// As there.
    pub fn of_filters() -> io::Result<Watch> {
        Ok(Watch { socket: open(RTMGRP_LINK | RTMGRP_TC)? })
    }

    /// Takes all pending events; true if there was one, or if some were lost: look again.
    ///
    /// # Errors
    /// When the socket itself is broken.
    pub fn take(&self) -> io::Result<bool> {
        let mut changed = false;
        let mut buffer = [0_u8; 8_192];
        // Bounded: more events than this are reported by the next turn.
        for _ in 0..1_024 {
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS) => changed = true,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(changed),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(changed)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Removes addresses without allocating and without waiting: the guard's way.
#[derive(Debug)]
pub struct Removal {
    socket: OwnedFd,
}

impl Removal {
    /// Opens the socket, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn open() -> io::Result<Removal> {
        Ok(Removal { socket: open(0)? })
    }

    /// Removes one address; false if it was not there, or its interface is gone.
    ///
    /// # Errors
    /// The kernel's error number.
    pub fn remove(&self, interface: u32, address: IpAddr, prefix: u8) -> Result<bool, i32> {
        let message = AddressMessage::new(Verb::Remove, interface, address, prefix, None, 1);
        send(&self.socket, message.bytes(), SendFlags::empty()).map_err(|e| e.raw_os_error())?;
        // The kernel works on a request within send(2), so the answer is there already.
        let mut buffer = [0_u8; 1_024];
        let (_, length) = recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT)
            .map_err(|error| error.raw_os_error())?;
        let mut result = 0;
        each_message(&buffer[..length.min(buffer.len())], |header, body| {
            if header.kind == NLMSG_ERROR {
                result = read_errno(body);
            }
            true
        });
        match result {
            0 => Ok(true),
            libc::EADDRNOTAVAIL | libc::ENODEV => Ok(false),
            errno => Err(errno),
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Messages
// ---------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Refresh,
    Remove,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Refresh => "extend",
            Verb::Remove => "remove",
        }
    }
}

struct AddressMessage(Message<ADDRESS_MESSAGE_MAX>);

impl AddressMessage {
    fn new(
        verb: Verb,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        lifetime: Option<Duration>,
        sequence: u32,
    ) -> AddressMessage {
        let (kind, flags) = match verb {
            Verb::Add => (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL),
            Verb::Refresh => (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE),
            Verb::Remove => (RTM_DELADDR, 0),
        };
        let mut message = Message::new(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence);
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        message.put(&[u8::try_from(family).expect("a small number"), prefix, 0, 0]);
        message.put(&interface.to_ne_bytes());
        match address {
            IpAddr::V4(address) => {
                message.attribute(IFA_LOCAL, &address.octets());
                message.attribute(IFA_ADDRESS, &address.octets());
            }
            IpAddr::V6(address) => message.attribute(IFA_ADDRESS, &address.octets()),
        }
        if verb != Verb::Remove {
            let seconds = lifetime.map_or(FOREVER, |lifetime| {
                let whole = lifetime.as_secs() + u64::from(lifetime.subsec_nanos() > 0);
                u32::try_from(whole).unwrap_or(FOREVER - 1).clamp(1, FOREVER - 1)
            });
            // struct ifa_cacheinfo: preferred, valid, created, updated. Never longer preferred than
            // valid.
            let mut cache = [0_u8; 16];
            cache[..4].copy_from_slice(&seconds.to_ne_bytes());
            cache[4..8].copy_from_slice(&seconds.to_ne_bytes());
            message.attribute(IFA_CACHEINFO, &cache);
            if address.is_ipv6() {
                message.attribute(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
            }
        }
        message.finish();
        AddressMessage(message)
    }

    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// From an RTM_NEWLINK's body: struct ifinfomsg (family, kind, index, flags, change), attributes.
fn read_interface(body: &[u8]) -> Option<Interface> {
    let kind = u16_at(body, 2)?;
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let mut interface = Interface {
        index,
        name: String::new(),
        up: flags & IFF_UP != 0,
        carrier: false,
        loopback: flags & IFF_LOOPBACK != 0,
        mac: None,
        mtu: 0,
        addresses: Vec::new(),
    };
    each_attribute(body.get(16..)?, |attribute, value| match attribute {
        IFLA_IFNAME => {
            let name = value.split(|&byte| byte == 0).next().unwrap_or(&[]);
            interface.name = String::from_utf8_lossy(name).into_owned();
        }
        IFLA_ADDRESS if kind == ARPHRD_ETHER => interface.mac = value.try_into().ok(),
        IFLA_MTU => interface.mtu = u32_at(value, 0).unwrap_or(0),
        IFLA_CARRIER => {
            let carrier = value.first().is_some_and(|&carrier| carrier != 0);
            interface.carrier = carrier && flags & IFF_RUNNING != 0;
        }
        _ => {}
    });
    Some(interface)
}

/// From an RTM_NEWADDR's body: struct ifaddrmsg, attributes.
fn read_address(body: &[u8]) -> Option<(u32, AddressSeen)> {
    let family = i32::from(*body.first()?);
    let prefix = *body.get(1)?;
    let mut flags = u32::from(*body.get(2)?);
    let index = u32_at(body, 4)?;
    let (mut local, mut address, mut lifetime) = (None, None, None);
    let read = |value: &[u8]| -> Option<IpAddr> {
        match family {
            libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
            _ => None,
        }
    };
    each_attribute(body.get(8..)?, |attribute, value| match attribute {
        // On a point-to-point interface IFA_ADDRESS is the other end's.
        IFA_LOCAL => local = read(value),
        IFA_ADDRESS => address = read(value),
        IFA_CACHEINFO => {
            lifetime = u32_at(value, 4)
                .filter(|&valid| valid != FOREVER)
                .map(|valid| Duration::from_secs(u64::from(valid)));
        }
        IFA_FLAGS => flags = u32_at(value, 0).unwrap_or(flags),
        _ => {}
    });
    let seen = AddressSeen {
        address: local.or(address)?,
        prefix,
        lifetime,
        tentative: flags & IFA_F_TENTATIVE != 0,
        duplicate: flags & IFA_F_DADFAILED != 0,
        deprecated: flags & IFA_F_DEPRECATED != 0,
    };
    Some((index, seen))
}
