//! One interface at link level: counters, what kind it is, and what it lies upon.
//!
//! One request (`RTM_GETLINK` by name) answers all that health needs about a card at one moment, in
//! one look of the kernel at its own structures: flags, carrier as the driver left it, and the
//! counters of `IFLA_STATS64`. It costs about as much as `RTM_GETSTATS` and two calls less.
//!
//! The *kind* is what the kernel's own drivers of virtual interfaces call themselves
//! (`IFLA_LINKINFO`); a card of a machine has none. What an interface lies upon is told in two ways:
//! a VLAN or a macvlan names the interface below it (`IFLA_LINK`), while the ports of a bond or a
//! bridge name the one above (`IFLA_MASTER`). For a virtual cable `IFLA_LINK` is the other end,
//! which is nothing below; an interface whose lower one is in another namespace has none here.

use std::collections::{BTreeMap, BTreeSet};

use rustix::net::{SendFlags, send};

use super::{
    ARPHRD_ETHER, IFF_LOOPBACK, IFF_UP, IFLA_ADDRESS, IFLA_CARRIER, IFLA_IFNAME, Message,
    NLM_F_REQUEST, NLMSG_ERROR, Netlink, NetlinkError, RTM_GETLINK, RTM_NEWLINK, each_attribute,
    read_errno, socket_error, u16_at, u32_at,
};

// linux/if_link.h
const IFLA_LINK: u16 = 5;
/// `IFLA_MASTER`.
const PORT_OF: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
// struct rtnl_link_stats64: counters of eight bytes.
const RX_FRAMES: usize = 0;
const TX_FRAMES: usize = 1;
const TX_ERRORS: usize = 5;
const TX_ABORTED_ERRORS: usize = 16;
const TX_CARRIER_ERRORS: usize = 17;
/// Bytes of a name with the zero at its end.
const NAME_SIZE: usize = 16;

/// What drives an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A driver of hardware, or of what a hypervisor shows as such.
    Card,
    /// A virtual LAN of this number upon another interface.
    Vlan(u16),
    /// Several interfaces that work as one.
    Bond,
    /// The same, by the newer driver.
    Team,
    /// A switch made of interfaces.
    Bridge,
    /// A further station upon another interface.
    Macvlan,
    /// One end of a virtual cable.
    Veth,
    /// As the kernel calls it.
    Other(String),
}

impl Kind {
    /// As the kernel calls it; `card` for hardware.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Kind::Card => "card",
            Kind::Vlan(_) => "vlan",
            Kind::Bond => "bond",
            Kind::Team => "team",
            Kind::Bridge => "bridge",
            Kind::Macvlan => "macvlan",
            Kind::Veth => "veth",
            Kind::Other(name) => name,
        }
    }
}

/// One interface at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Set up by the administrator.
    pub up: bool,
    /// The driver has a signal.
    pub carrier: bool,
    /// The machine's own loop.
    pub loopback: bool,
    /// Its Ethernet address, if it is of that kind.
    pub mac: Option<[u8; 6]>,
    /// What drives it.
    pub kind: Kind,
    /// The number of the interface that it lies upon, in this namespace.
    pub lower: Option<u32>,
    /// The number of the bond or bridge that it is a port of.
    pub port_of: Option<u32>,
    /// Frames received since it exists.
    pub rx: u64,
    /// Frames sent, or at least handed to the hardware.
    pub tx: u64,
    /// Frames that were not sent because the hardware or its signal failed.
    pub errors: u64,
}

impl Netlink {
    /// The interface of that name as it is now; `None` when there is none.
    ///
    /// # Errors
    /// When the socket fails, or the kernel refuses for another reason.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        if name.is_empty() || name.len() >= NAME_SIZE || name.contains('\0') {
            return Ok(None);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut message = Message::<64>::new(RTM_GETLINK, NLM_F_REQUEST, sequence);
        message.put(&[0; 16]);
        let mut zero_terminated = [0; NAME_SIZE];
        zero_terminated[..name.len()].copy_from_slice(name.as_bytes());
        message.attribute(IFLA_IFNAME, &zero_terminated[..=name.len()]);
        message.finish();
        send(&self.socket, message.bytes(), SendFlags::empty())
            .map_err(socket_error("ask for an interface"))?;
        let mut answer = None;
        while answer.is_none() {
            self.receive(|header, body| {
                if header.sequence == sequence {
                    match header.kind {
                        RTM_NEWLINK => answer = Some(Ok(read_link(body))),
                        NLMSG_ERROR => answer = Some(Err(read_errno(body))),
                        _ => {}
                    }
                }
                true
            })?;
        }
        match answer.expect("the loop ends with one") {
            Ok(link) => Ok(link),
            Err(libc::ENODEV) => Ok(None),
            Err(errno) => Err(NetlinkError::Refused {
                operation: format!("show interface {name}"),
                source: std::io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// All interfaces as they are now, in the order of their numbers. One that came or went while they
    /// were listed may be missing: its event is a reason to look again.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        self.dump(RTM_GETLINK, &[0; 16], |kind, body| {
            if kind == RTM_NEWLINK {
                links.extend(read_link(body));
            }
        })?;
        links.sort_by_key(|link: &Link| link.index);
        Ok(links)
    }
}

/// The interfaces that one lies upon in the end: itself, where there is nothing below. Two
/// interfaces that share one of these fail together.
#[must_use]
pub fn roots(links: &[Link], index: u32) -> BTreeSet<u32> {
    let known: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    let (mut roots, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![index]);
    while let Some(index) = open.pop() {
        if !seen.insert(index) {
            continue;
        }
        let is_port = |link: &&Link| link.port_of == Some(index);
        let ports: Vec<u32> = links.iter().filter(is_port).map(|link| link.index).collect();
        let lower = known.get(&index).and_then(|link| link.lower);
        if ports.is_empty() && lower.is_none() {
            roots.insert(index);
        }
        open.extend(ports);
        open.extend(lower);
    }
    roots
}

/// From an RTM_NEWLINK's body: struct ifinfomsg (family, kind, index, flags, change), attributes.
fn read_link(body: &[u8]) -> Option<Link> {
    let hardware = u16_at(body, 2)?;
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        up: flags & IFF_UP != 0,
        carrier: false,
        loopback: flags & IFF_LOOPBACK != 0,
        mac: None,
        kind: Kind::Card,
        lower: None,
        port_of: None,
        rx: 0,
        tx: 0,
        errors: 0,
    };
    let mut is_elsewhere = false;
    each_attribute(body.get(16..)?, |attribute, value| match attribute {
        IFLA_IFNAME => link.name = text(value),
        IFLA_ADDRESS if hardware == ARPHRD_ETHER => link.mac = value.try_into().ok(),
        IFLA_CARRIER => link.carrier = value.first().is_some_and(|&carrier| carrier != 0),
        IFLA_LINK => link.lower = u32_at(value, 0).filter(|index| *index != 0),
        IFLA_LINK_NETNSID => is_elsewhere = true,
        PORT_OF => link.port_of = u32_at(value, 0).filter(|index| *index != 0),
        IFLA_LINKINFO => link.kind = read_kind(value),
        IFLA_STATS64 => {
            let count = |at: usize| u64_at(value, at * 8).unwrap_or(0);
            link.rx = count(RX_FRAMES);
            link.tx = count(TX_FRAMES);
            // Some drivers count a lost signal among all errors as well: only growth matters.
            link.errors = [TX_ERRORS, TX_ABORTED_ERRORS, TX_CARRIER_ERRORS]
                .map(count)
                .into_iter()
                .fold(0, u64::wrapping_add);
        }
        _ => {}
    });
    if is_elsewhere || link.kind == Kind::Veth || link.lower == Some(link.index) {
        link.lower = None;
    }
    Some(link)
}

fn read_kind(value: &[u8]) -> Kind {
    let (mut name, mut vlan) = (String::new(), None);
    each_attribute(value, |attribute, value| match attribute {
        IFLA_INFO_KIND => name = text(value),
        IFLA_INFO_DATA => each_attribute(value, |attribute, value| {
            if attribute == IFLA_VLAN_ID {
                vlan = u16_at(value, 0);
            }
        }),
        _ => {}
    });
    match name.as_str() {
        "" => Kind::Card,
        "vlan" => Kind::Vlan(vlan.unwrap_or(0)),
        "bond" => Kind::Bond,
        "team" => Kind::Team,
        "bridge" => Kind::Bridge,
        "macvlan" => Kind::Macvlan,
        "veth" => Kind::Veth,
        _ => Kind::Other(name),
    }
}

fn text(value: &[u8]) -> String {
    let text = value.split(|&byte| byte == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(text).into_owned()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
