//! Interfaces, addresses and neighbours by netlink messages (rtnetlink(7)), without a program.
//!
//! One request at a time, each acknowledged: the kernel's answer is the result. A socket belongs to
//! the network namespace in which it was opened, whichever thread uses it later.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_ERROR, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, Parseable,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily as Family, RecvFlags, SendFlags, SocketFlags, SocketType};

/// An Ethernet address.
pub type Hardware = [u8; 6];

/// Room for one reply: the kernel sends at most this much at once for what we ask.
const REPLY_MAX: usize = 32 * 1024;
/// `struct nlmsghdr`
const HEADER: usize = 16;

/// Opens a netlink socket in the namespace of the calling thread; protocol 0 (`None`) is rtnetlink.
pub(crate) fn open(protocol: Option<rustix::net::Protocol>) -> Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(Family::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .context("opening a netlink socket")?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))
        .context("binding a netlink socket")?;
    Ok(socket)
}

/// Receives one batch of messages and hands each (type, payload) to `each` until that says stop.
pub(crate) fn receive_messages(
    socket: &OwnedFd,
    mut each: impl FnMut(u16, &[u8]) -> Result<bool>,
) -> Result<()> {
    let mut buffer = vec![0u8; REPLY_MAX];
    loop {
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())
        })
        .context("waiting for the kernel's answer")?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let total = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            ensure!(total >= HEADER && total <= rest.len(), "a netlink message of wrong length");
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            if each(kind, &rest[HEADER..total])? {
                return Ok(());
            }
            rest = &rest[total.next_multiple_of(4).min(rest.len())..];
        }
    }
}

/// The kernel's error number in an `NLMSG_ERROR` payload: 0 is an acknowledgement.
pub(crate) fn error_number(payload: &[u8]) -> Result<i32> {
    let bytes = payload.get(..4).context("a netlink acknowledgement that is too short")?;
    Ok(-i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// How a route gets there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RouteBy {
    Gateway(std::net::Ipv4Addr),
    /// Directly, in packets of at most so many bytes.
    Mtu(u32),
}

/// One end of a virtual cable, for [`RouteSocket::add_cable`].
pub(crate) struct CableEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) hardware: Hardware,
}

/// A socket for interfaces, addresses and neighbours of one network namespace.
pub(crate) struct RouteSocket {
    socket: OwnedFd,
    sequence: u32,
}

impl RouteSocket {
    /// Opens one for the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self { socket: open(None)?, sequence: 0 })
    }

    /// Sends one request and waits for its acknowledgement; returns what came before that.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty()).context("asking the kernel")?;
        let mut replies = Vec::new();
        receive_messages(&self.socket, |kind, payload| {
            if kind != NLMSG_ERROR {
                replies.push(payload.to_vec());
                return Ok(false);
            }
            match error_number(payload)? {
                0 => Ok(true),
                number => Err(std::io::Error::from_raw_os_error(number).into()),
            }
        })?;
        Ok(replies)
    }

    /// Index and `IFF_` flags of an interface.
    pub(crate) fn interface(&mut self, name: &str) -> Result<(u32, LinkFlags)> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let replies = self
            .request(RouteNetlinkMessage::GetLink(message), 0)
            .with_context(|| format!("looking for interface {name}"))?;
        // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4).
        let Some(reply) = replies.first().filter(|reply| reply.len() >= 16) else {
            bail!("no answer about interface {name}");
        };
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| reply[at + i]));
        Ok((word(4), LinkFlags::from_bits_retain(word(8))))
    }

    /// True when the interface is up and its cable carries.
    pub(crate) fn has_carrier(&mut self, name: &str) -> Result<bool> {
        let (_, flags) = self.interface(name)?;
        Ok(flags.contains(LinkFlags::Up | LinkFlags::LowerUp))
    }

    /// Makes a switch: a bridge that forwards at once and keeps multicast to nobody.
    pub(crate) fn add_switch(&mut self, name: &str) -> Result<u32> {
        let mut message = LinkMessage::default();
        let settings = vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ];
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(settings)),
            ]),
        ];
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("making switch {name}"))?;
        self.set_up(name, true)?;
        Ok(self.interface(name)?.0)
    }

    /// Lays a cable from a port of the switch to a new interface in another namespace. The port
    /// stays down: no carrier yet.
    pub(crate) fn add_cable(
        &mut self,
        switch: u32,
        port: CableEnd<'_>,
        far: CableEnd<'_>,
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(far.name.to_owned()),
            LinkAttribute::Address(far.hardware.to_vec()),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(port.name.to_owned()),
            LinkAttribute::Address(port.hardware.to_vec()),
            LinkAttribute::Controller(switch),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("laying the cable of port {}", port.name))?;
        Ok(())
    }

    /// Takes an interface (and its other end) away.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.request(RouteNetlinkMessage::DelLink(message), 0)
            .with_context(|| format!("removing interface {name}"))?;
        Ok(())
    }

    /// Sets an interface administratively up or down.
    pub(crate) fn set_up(&mut self, name: &str, up: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .with_context(|| format!("setting {name} {}", if up { "up" } else { "down" }))?;
        Ok(())
    }

    /// Sets the size of the largest packet that an interface takes.
    pub(crate) fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .with_context(|| format!("setting the MTU of {name} to {mtu}"))?;
        Ok(())
    }

    /// Adds (or takes away) a route to one IPv4 address out of an interface: by way of a gateway, or
    /// with an MTU of its own.
    pub(crate) fn change_route(
        &mut self,
        add: bool,
        to: std::net::Ipv4Addr,
        name: &str,
        via: RouteBy,
    ) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 32;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet(to)),
            RouteAttribute::Oif(self.interface(name)?.0),
        ];
        match via {
            RouteBy::Gateway(gateway) => {
                message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
            }
            RouteBy::Mtu(mtu) => {
                message.header.scope = RouteScope::Link;
                message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
            }
        }
        let (message, flags) = match add {
            true => (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL),
            false => (RouteNetlinkMessage::DelRoute(message), 0),
        };
        self.request(message, flags).with_context(|| format!("a route to {to} over {name}"))?;
        Ok(())
    }

    /// Gives an interface another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.interface(from)?.0;
        message.attributes.push(LinkAttribute::IfName(to.to_owned()));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .with_context(|| format!("renaming {from} to {to}"))?;
        Ok(())
    }

    fn address_message(index: u32, address: IpAddr, prefix: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix;
        message.attributes.push(AddressAttribute::Local(address));
        match address {
            IpAddr::V4(v4) => {
                message.header.family = AddressFamily::Inet;
                let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                let broadcast = (u32::from(v4) | host).into();
                if prefix < 31 {
                    message.attributes.push(AddressAttribute::Broadcast(broadcast));
                }
            }
            IpAddr::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                message.header.flags = AddressHeaderFlags::Nodad;
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
        }
        message.attributes.push(AddressAttribute::Address(address));
        message
    }

    /// Adds an address (IPv6 without duplicate detection, so that it works at once).
    pub(crate) fn add_address(&mut self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let message = Self::address_message(self.interface(name)?.0, address, prefix);
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
            .with_context(|| format!("adding {address}/{prefix} to {name}"))?;
        Ok(())
    }

    /// Removes an address.
    pub(crate) fn remove_address(&mut self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let message = Self::address_message(self.interface(name)?.0, address, prefix);
        self.request(RouteNetlinkMessage::DelAddress(message), 0)
            .with_context(|| format!("removing {address}/{prefix} from {name}"))?;
        Ok(())
    }

    /// Writes a neighbour that never expires and does not count in the machine-wide table limit.
    pub(crate) fn add_permanent_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        hardware: Hardware,
    ) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        let (family, destination) = match address {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        message.header.family = family;
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(hardware.to_vec()),
        ];
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
            .with_context(|| format!("writing the neighbour {address}"))?;
        Ok(())
    }

    /// The hardware address that the kernel's neighbour table has for an address; `None` when it has
    /// no entry, or one that does not know.
    pub(crate) fn neighbour(&mut self, name: &str, address: IpAddr) -> Result<Option<Hardware>> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = self.interface(name)?.0;
        let (family, destination) = match address {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        message.header.family = family;
        message.attributes = vec![NeighbourAttribute::Destination(destination)];
        let replies = match self.request(RouteNetlinkMessage::GetNeighbour(message), 0) {
            Ok(replies) => replies,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error.context(format!("looking for the neighbour {address}"))),
        };
        let Some(reply) = replies.first() else { return Ok(None) };
        let reply = NeighbourMessage::parse(reply).context("reading a neighbour")?;
        let knows = !matches!(
            reply.header.state,
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
        );
        Ok(reply.attributes.iter().filter(|_| knows).find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => Hardware::try_from(&bytes[..]).ok(),
            _ => None,
        }))
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.raw_os_error() == Some(libc::ENOENT))
}
