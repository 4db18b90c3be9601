//! Another interface takes over: its addresses, and the routes and permanent neighbours that hang on
//! them, go to another interface of the same machine.
//!
//! Everything is put there before anything is taken away: a route that is replaced, and an address that
//! is on two interfaces of one machine for a moment, break nothing that is open, while a socket whose
//! address is gone cannot send. Whatever the moment at which this program is killed, what is missing
//! can be seen from what is there.
//!
//! Messages of the kernel are sent back to it with another interface in them, so whatever they say of
//! an address or a route (scope, metric, table, flags) stays. Left where they are: what the kernel makes
//! itself (subnet routes, which come and go with their addresses), what routers announced, and routes
//! by nexthop objects, which are named as trouble.

use std::net::IpAddr;

use super::*;

pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const IFA_LABEL: u16 = 3;
const IFA_F_SECONDARY: u32 = 0x01;
const IFA_F_PERMANENT: u32 = 0x80;
/// No route to the subnet comes with the address: who added it (NetworkManager does so) adds one that
/// looks like the kernel's, and not on another interface.
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
pub(super) const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_NH_ID: u16 = 30;
const RTPROT_REDIRECT: u8 = 1;
const RTPROT_KERNEL: u8 = 2;
const RTPROT_RA: u8 = 9;
const RTN_UNICAST: u8 = 1;
const RTM_F_CLONED: u32 = 0x200;
/// Flags of a nexthop that are a wish, not a state (RTNH_F_PERVASIVE, RTNH_F_ONLINK).
const RTNH_WISHES: u32 = 0x2 | 0x4;
const NUD_PERMANENT: u16 = 0x80;
/// Room for one message with all its attributes.
const MESSAGE_MAX: usize = 4_096;
/// Bytes of struct ifaddrmsg, struct rtmsg and struct ndmsg.
pub(super) const ADDRESS_HEAD: usize = 8;
pub(super) const ROUTE_HEAD: usize = 12;
const NEIGHBOUR_HEAD: usize = 12;

/// What was taken along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Routes.
    pub routes: usize,
    /// Permanent neighbour entries.
    pub neighbours: usize,
    /// Addresses that the other interface does not take, each with why. They are where they were, with the
    /// routes and neighbours of their family if none of it was taken.
    pub left: Vec<(IpAddr, String)>,
    /// What else could not be taken along, in words.
    pub troubles: Vec<String>,
}

pub(super) type Raw = Message<MESSAGE_MAX>;

impl Netlink {
    /// Puts addresses of interface `from` on interface `to`, with their routes and permanent
    /// neighbours. What is there already is no error; IPv6 addresses come without the kernel's duplicate
    /// detection. An address that `to` does not take stays and keeps no other one back.
    ///
    /// # Errors
    /// When no address can be put there, or the interface or the kernel's answer is gone in the middle: then all
    /// are where they were, and some may be on both.
    pub fn switch(
        &mut self,
        from: u32,
        to: u32,
        addresses: &[(IpAddr, u8)],
    ) -> Result<Taken, NetlinkError> {
        let bodies = self.collect(RTM_GETADDR, RTM_NEWADDR, &[0; ADDRESS_HEAD], |body| {
            let Some((index, seen)) = read_address(body) else { return false };
            index == from && addresses.contains(&(seen.address, seen.prefix))
        })?;
        let mut routes = self.collect(RTM_GETROUTE, RTM_NEWROUTE, &[0; ROUTE_HEAD], |body| {
            is_moved_route(body, from)
        })?;
        let mut neighbours =
            self.collect(RTM_GETNEIGH, RTM_NEWNEIGH, &[0; NEIGHBOUR_HEAD], |body| {
                u32_at(body, 4) == Some(from) && u16_at(body, 8) == Some(NUD_PERMANENT)
            })?;
        let mut added = Vec::new();
        let mut refused: Vec<(IpAddr, NetlinkError)> = Vec::new();
        for body in &bodies {
            let seen = read_address(body).map(|(_, seen)| seen).expect("it was read before");
            let result = self.put(address_message(body, to), || {
                format!("put {}/{} on interface {to}", seen.address, seen.prefix)
            });
            match result {
                Ok(()) => added.push(seen.address),
                // It is this address that is refused, by an interface that is there.
                Err(error @ NetlinkError::Refused { .. })
                    if error.errno() != Some(libc::ENODEV) =>
                {
                    refused.push((seen.address, error));
                }
                // What is on both by now is seen in the next picture, and the switch is finished.
                Err(error) => return Err(error),
            }
        }
        if added.is_empty() && !refused.is_empty() {
            return Err(refused.remove(0).1);
        }
        let has_stayed = |address: &IpAddr| refused.iter().any(|(one, _)| one == address);
        // Without an address of its family there is nothing that a route could hang on.
        let is_gone = |four: bool| {
            refused.iter().all(|(address, _)| address.is_ipv4() != four)
                || added.iter().any(|address| address.is_ipv4() == four)
        };
        let goes = |body: &Vec<u8>| is_gone(i32::from(body[0]) == libc::AF_INET);
        routes.retain(goes);
        neighbours.retain(goes);
        let mut taken = Taken::default();
        for body in &neighbours {
            let message = neighbour_message(RTM_NEWNEIGH, body, to);
            match self.put(message, || format!("put a neighbour on interface {to}")) {
                Ok(()) => taken.neighbours += 1,
                Err(error) => taken.troubles.push(error.whole()),
            }
        }
        // A gateway may need another of these routes, in whatever order the kernel lists them.
        let mut left: Vec<&Vec<u8>> = routes.iter().collect();
        loop {
            let before = left.len();
            let mut troubles = Vec::new();
            left.retain(|body| match self.take_route(body, from, to) {
                Ok(()) => false,
                Err(trouble) => {
                    troubles.push(trouble);
                    true
                }
            });
            if left.is_empty() || left.len() == before {
                taken.routes = routes.len() - left.len();
                taken.troubles.append(&mut troubles);
                break;
            }
        }
        for (address, prefix) in addresses.iter().filter(|(address, _)| !has_stayed(address)) {
            if let Err(error) = self.remove_address(from, *address, *prefix) {
                taken.troubles.push(error.whole());
            }
        }
        for body in &neighbours {
            let message = neighbour_message(RTM_DELNEIGH, body, from);
            // It goes with the last address in some kernels.
            let _gone = self.put(message, || "take a neighbour away".to_owned());
        }
        taken.left = refused.into_iter().map(|(address, error)| refusal(address, &error)).collect();
        Ok(taken)
    }

    fn take_route(&mut self, body: &[u8], from: u32, to: u32) -> Result<(), String> {
        let message = route_message(body, from, to)
            .ok_or_else(|| "a route by nexthop objects stays where it is".to_owned())?;
        let put = self.put(Some(message), || format!("take a route to interface {to}"));
        put.map_err(|error| error.whole())
    }

    /// The bodies of a dump's messages that `is_wanted`.
    pub(super) fn collect(
        &mut self,
        ask: u16,
        answer: u16,
        head: &[u8],
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, NetlinkError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut bodies = Vec::new();
            let disturbed = self.dump(ask, head, |kind, body| {
                if kind == answer && is_wanted(body) {
                    bodies.push(body.to_vec());
                }
            })?;
            if !disturbed {
                return Ok(bodies);
            }
        }
        Err(NetlinkError::Answer("the routes change faster than they can be read".to_owned()))
    }

    pub(super) fn put(
        &mut self,
        message: Option<Raw>,
        what: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        let Some(mut message) = message else {
            return Err(NetlinkError::Answer(format!("cannot {}: it is too long", what())));
        };
        match self.ask(&mut message)? {
            0 => Ok(()),
            errno => Err(NetlinkError::Refused {
                operation: what(),
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }
}

/// Why an address stays where it is, with the mend where the kernel's words do not tell.
fn refusal(address: IpAddr, error: &NetlinkError) -> (IpAddr, String) {
    let is_off = address.is_ipv6() && error.errno() == Some(libc::EACCES);
    let why = match is_off {
        true => format!("{}; set net.ipv6.conf.INTERFACE.disable_ipv6 = 0 there", error.whole()),
        false => error.whole(),
    };
    (address, why)
}

/// Whether a route leads over the interface and was made by a person or a program.
pub(super) fn is_moved_route(body: &[u8], from: u32) -> bool {
    let (Some(&protocol), Some(&kind), Some(flags)) = (body.get(5), body.get(7), u32_at(body, 8))
    else {
        return false;
    };
    let is_made = ![RTPROT_REDIRECT, RTPROT_KERNEL, RTPROT_RA].contains(&protocol)
        && kind == RTN_UNICAST
        && flags & RTM_F_CLONED == 0;
    let mut is_over = false;
    each_attribute(
        body.get(ROUTE_HEAD..).unwrap_or_default(),
        |attribute, value| match attribute {
            RTA_OIF => is_over |= u32_at(value, 0) == Some(from),
            RTA_MULTIPATH => {
                each_nexthop(value, |nexthop| is_over |= u32_at(nexthop, 4) == Some(from));
            }
            _ => {}
        },
    );
    is_made && is_over
}

/// struct rtnexthop: length, flags, hops, interface, attributes.
fn each_nexthop(value: &[u8], mut take: impl FnMut(&[u8])) {
    let mut rest = value;
    while let Some(length) = u16_at(rest, 0) {
        let Some(nexthop) = rest.get(..usize::from(length)).filter(|one| one.len() >= 8) else {
            return;
        };
        take(nexthop);
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or(&[]);
    }
}

pub(super) fn message(kind: u16, flags: u16, body: &[u8]) -> Option<Raw> {
    // Rewritten attributes are no longer than they were, but for the flags of an address.
    (body.len() + 32 <= MESSAGE_MAX)
        .then(|| Message::new(kind, NLM_F_REQUEST | NLM_F_ACK | flags, 0))
}

pub(super) fn address_message(body: &[u8], to: u32) -> Option<Raw> {
    let mut message = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body)?;
    let is_six = i32::from(body[0]) == libc::AF_INET6;
    let mut flags = u32::from(body[2]);
    message.put(&[body[0], body[1], 0, body[3]]);
    message.put(&to.to_ne_bytes());
    each_attribute(&body[ADDRESS_HEAD..], |attribute, value| match attribute {
        IFA_FLAGS => flags = u32_at(value, 0).unwrap_or(flags),
        // It begins with the name of the interface.
        IFA_LABEL => {}
        _ => message.attribute(attribute, value),
    });
    flags &= !(IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED);
    flags &= !(IFA_F_PERMANENT | IFA_F_SECONDARY | IFA_F_NOPREFIXROUTE);
    if is_six {
        flags |= IFA_F_NODAD;
    }
    message.attribute(IFA_FLAGS, &flags.to_ne_bytes());
    message.finish();
    Some(message)
}

/// None for a route by nexthop objects.
pub(super) fn route_message(body: &[u8], from: u32, to: u32) -> Option<Raw> {
    let mut message = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)?;
    let flags = u32_at(body, 8)? & RTNH_WISHES;
    message.put(&body[..8]);
    message.put(&flags.to_ne_bytes());
    let mut is_plain = true;
    each_attribute(&body[ROUTE_HEAD..], |attribute, value| match attribute {
        RTA_OIF => message.attribute(RTA_OIF, &to.to_ne_bytes()),
        RTA_CACHEINFO => {}
        RTA_NH_ID => is_plain = false,
        RTA_MULTIPATH => {
            let mut nexthops = Vec::with_capacity(value.len());
            each_nexthop(value, |nexthop| {
                let start = nexthops.len();
                nexthops.extend_from_slice(nexthop);
                nexthops[start + 2] &= RTNH_WISHES as u8;
                if u32_at(nexthop, 4) == Some(from) {
                    nexthops[start + 4..start + 8].copy_from_slice(&to.to_ne_bytes());
                }
                nexthops.resize(nexthops.len().next_multiple_of(4), 0);
            });
            message.attribute(RTA_MULTIPATH, &nexthops);
        }
        _ => message.attribute(attribute, value),
    });
    message.finish();
    is_plain.then_some(message)
}

fn neighbour_message(kind: u16, body: &[u8], interface: u32) -> Option<Raw> {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    let flags = if kind == RTM_NEWNEIGH { NLM_F_CREATE | NLM_F_REPLACE } else { 0 };
    let mut message = message(kind, flags, body)?;
    message.put(&body[..4]);
    message.put(&interface.to_ne_bytes());
    message.put(&body[8..NEIGHBOUR_HEAD]);
    each_attribute(&body[NEIGHBOUR_HEAD..], |attribute, value| {
        if matches!(attribute, NDA_DST | NDA_LLADDR) {
            message.attribute(attribute, value);
        }
    });
    message.finish();
    Some(message)
}
