//! A service address takes the place of an interface's own addresses and of its hardware address, and what
//! was there is put back.
//!
//! With the last address of a subnet the kernel takes away the route to that subnet, with the last address
//! of an interface all routes over it, and with any address the routes that name it as their source. So nothing is
//! taken before its successor is there: the service address first, a route to the subnet with it as the source, the routes
//! that named the old address, and only then the old address goes. The other way round it comes first.
//!
//! The route to the subnet has a protocol of its own by which it is found again ([`PROTOCOL`]); it stands
//! before one that another interface has to the same subnet.
//!
//! What was there is kept as the kernel said it (as in [`super::switch`]), so that whatever it says of an
//! address or a route (scope, metric, table, lifetime) is so again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::switch::*;
use super::*;

#[cfg(test)]
mod tests;

/// The protocol number of routes that were made here; nobody else's in `rt_protos`.
pub const PROTOCOL: u8 = 77;
const RTM_SETLINK: u16 = 19;
const RTM_DELROUTE: u16 = 25;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// Before the kernel's own routes to subnets, which have 256.
const METRIC_SIX: u32 = 128;

/// What an interface had before something took its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The addresses, as the kernel describes them.
    pub addresses: Vec<Vec<u8>>,
    /// The routes over it that a person or a program made.
    pub routes: Vec<Vec<u8>>,
}

impl Netlink {
    /// Describes addresses of an interface and the routes over it.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn keep(
        &mut self,
        interface: u32,
        addresses: &[(IpAddr, u8)],
    ) -> Result<Kept, NetlinkError> {
        let addresses = self.collect(RTM_GETADDR, RTM_NEWADDR, &[0; ADDRESS_HEAD], |body| {
            let Some((index, seen)) = read_address(body) else { return false };
            index == interface && addresses.contains(&(seen.address, seen.prefix))
        })?;
        let routes = self.collect(RTM_GETROUTE, RTM_NEWROUTE, &[0; ROUTE_HEAD], |body| {
            is_moved_route(body, interface) && body.get(5) != Some(&PROTOCOL)
        })?;
        Ok(Kept { addresses, routes })
    }

    /// Puts `service`, which is on the interface, in the place of own addresses: in routes, and then
    /// altogether. `subnet`: bits of the subnet that is reached over this interface from now on.
    ///
    /// # Errors
    /// When something could not be done; part of it may be. [`Netlink::give_back`] undoes it.
    pub fn take_place(
        &mut self,
        interface: u32,
        service: IpAddr,
        subnet: Option<u8>,
        addresses: &[(IpAddr, u8)],
        kept: &Kept,
    ) -> Result<(), NetlinkError> {
        if let Some(prefix) = subnet {
            let put = self.put(Some(subnet_route(interface, service, prefix)), || {
                format!("put a route to the subnet of {service}/{prefix} on interface {interface}")
            });
            match put {
                Err(error) if error.errno() == Some(libc::EEXIST) => {}
                put => put?,
            }
        }
        for body in &kept.routes {
            let source = address_in(body, RTA_PREFSRC);
            if source.is_some_and(|source| addresses.iter().any(|(own, _)| *own == source)) {
                self.put(route_from(body, interface, service), || {
                    format!("have a route over interface {interface} begin at {service}")
                })?;
            }
        }
        for (address, prefix) in addresses {
            self.remove_address(interface, *address, *prefix)?;
        }
        Ok(())
    }

    /// Puts back what was kept. What is there already is no error. Returns what could not be done.
    pub fn give_back(&mut self, interface: u32, kept: &Kept) -> Vec<String> {
        let mut troubles = Vec::new();
        for body in &kept.addresses {
            let put = self.put(address_message(body, interface), || {
                format!("put an own address back on interface {interface}")
            });
            troubles.extend(put.err().map(|error| error.whole()));
        }
        // A gateway may need another of these routes, in whatever order the kernel listed them.
        let mut left: Vec<&Vec<u8>> = kept.routes.iter().collect();
        loop {
            let before = left.len();
            let mut failed = Vec::new();
            left.retain(|body| {
                let message = route_message(body, interface, interface);
                let put = self.put(message, || format!("put back a route over {interface}"));
                failed.extend(put.as_ref().err().map(NetlinkError::whole));
                put.is_err()
            });
            if left.is_empty() || left.len() == before {
                troubles.append(&mut failed);
                break;
            }
        }
        match self.collect(RTM_GETROUTE, RTM_NEWROUTE, &[0; ROUTE_HEAD], |body| {
            is_moved_route(body, interface) && body.get(5) == Some(&PROTOCOL)
        }) {
            Ok(own) => {
                for body in own {
                    let deleted = self.put(route_deletion(&body), || {
                        format!("take a route of a service off interface {interface}")
                    });
                    // With the address that it began at it may be gone by now.
                    let is_gone = |error: &NetlinkError| error.errno() == Some(libc::ESRCH);
                    troubles.extend(deleted.err().filter(|e| !is_gone(e)).map(|e| e.whole()));
                }
            }
            Err(error) => troubles.push(error.whole()),
        }
        troubles
    }

    /// Gives an interface another hardware address. Its neighbours have to be told.
    ///
    /// # Errors
    /// `EBUSY` from drivers that change it only while the interface is switched off, `EOPNOTSUPP` from those
    /// that never do, `EADDRNOTAVAIL` for one that is no station's.
    pub fn set_hardware_address(
        &mut self,
        interface: u32,
        mac: [u8; 6],
    ) -> Result<(), NetlinkError> {
        let mut message = Message::<64>::new(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 0);
        // struct ifinfomsg: family, kind, index, flags, change.
        message.put(&[0; 4]);
        message.put(&interface.to_ne_bytes());
        message.put(&[0; 8]);
        message.attribute(IFLA_ADDRESS, &mac);
        message.finish();
        match self.ask(&mut message)? {
            0 => Ok(()),
            errno => Err(NetlinkError::Refused {
                operation: format!(
                    "give interface {interface} the hardware address {}{}",
                    mac.map(|byte| format!("{byte:02x}")).join(":"),
                    if errno == libc::EBUSY {
                        " (its driver does so only while the interface is switched off)"
                    } else {
                        ""
                    }
                ),
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }
}

impl Kept {
    /// Leaves out addresses that are others' by now, and the routes that begin at one or whose gateway is in the subnet
    /// of none that is left; gives those addresses.
    pub fn leave_to(&mut self, others: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        let own = |body: &Vec<u8>| read_address(body).map(|(_, seen)| (seen.address, seen.prefix));
        let is_theirs = |own: &(IpAddr, u8)| others.contains(&own.0);
        let theirs: Vec<(IpAddr, u8)> =
            self.addresses.iter().filter_map(own).filter(is_theirs).collect();
        self.addresses.retain(|body| own(body).is_none_or(|own| !is_theirs(&own)));
        let left: Vec<(IpAddr, u8)> = self.addresses.iter().filter_map(own).collect();
        let is_in = |subnets: &[(IpAddr, u8)], address: IpAddr| {
            let same = |(own, prefix): &(IpAddr, u8)| {
                own.is_ipv4() == address.is_ipv4()
                    && network_of(*own, *prefix) == network_of(address, *prefix)
            };
            subnets.iter().any(same)
        };
        self.routes.retain(|body| {
            let begins = address_in(body, RTA_PREFSRC);
            let gateway = address_in(body, RTA_GATEWAY);
            let is_lost = begins.is_some_and(|from| theirs.iter().any(|(own, _)| *own == from))
                || gateway.is_some_and(|to| is_in(&theirs, to) && !is_in(&left, to));
            !is_lost
        });
        theirs.into_iter().map(|(address, _)| address).collect()
    }
}

/// The addresses that were kept, with the bits of their subnets.
#[must_use]
pub fn addresses_of(kept: &Kept) -> Vec<(IpAddr, u8)> {
    let seen = kept.addresses.iter().filter_map(|body| read_address(body));
    seen.map(|(_, seen)| (seen.address, seen.prefix)).collect()
}

/// An address that a route names.
fn address_in(route: &[u8], wanted: u16) -> Option<IpAddr> {
    let mut found = None;
    each_attribute(route.get(ROUTE_HEAD..)?, |attribute, value| {
        if attribute == wanted {
            found = <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
            found = found.or(<[u8; 16]>::try_from(value).ok().map(IpAddr::from));
        }
    });
    found
}

/// The same route with another source.
fn route_from(body: &[u8], interface: u32, source: IpAddr) -> Option<Raw> {
    let mut changed = body.get(..ROUTE_HEAD)?.to_vec();
    each_attribute(&body[ROUTE_HEAD..], |attribute, value| {
        let octets = octets(source);
        let value = if attribute == RTA_PREFSRC { &octets[..] } else { value };
        let length = u16::try_from(4 + value.len()).expect("the kernel sent it");
        changed.extend(length.to_ne_bytes());
        changed.extend(attribute.to_ne_bytes());
        changed.extend(value);
        changed.resize(changed.len().next_multiple_of(4), 0);
    });
    route_message(&changed, interface, interface)
}

/// To the subnet of an address, over the interface that it is on.
fn subnet_route(interface: u32, service: IpAddr, prefix: u8) -> Raw {
    let is_six = service.is_ipv6();
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    // In IPv4 it is put before another one of the same kind.
    let flags = if is_six { flags | NLM_F_REPLACE } else { flags };
    let mut message = Raw::new(RTM_NEWROUTE, flags, 0);
    let family = if is_six { libc::AF_INET6 } else { libc::AF_INET };
    let family = u8::try_from(family).expect("a small number");
    let scope = if is_six { 0 } else { RT_SCOPE_LINK };
    message.put(&[family, prefix, 0, 0, RT_TABLE_MAIN, PROTOCOL, scope, RTN_UNICAST]);
    message.put(&0_u32.to_ne_bytes());
    message.attribute(RTA_DST, &network_of(service, prefix));
    message.attribute(RTA_OIF, &interface.to_ne_bytes());
    message.attribute(RTA_PREFSRC, &octets(service));
    if is_six {
        message.attribute(RTA_PRIORITY, &METRIC_SIX.to_ne_bytes());
    }
    message.finish();
    message
}

fn route_deletion(body: &[u8]) -> Option<Raw> {
    let mut message = message(RTM_DELROUTE, 0, body)?;
    message.put(&body[..8]);
    message.put(&0_u32.to_ne_bytes());
    each_attribute(&body[ROUTE_HEAD..], |attribute, value| {
        if matches!(attribute, RTA_DST | RTA_OIF | RTA_PRIORITY) {
            message.attribute(attribute, value);
        }
    });
    message.finish();
    Some(message)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address with zeros behind its prefix.
fn network_of(address: IpAddr, prefix: u8) -> Vec<u8> {
    let mut bytes = octets(address);
    for (index, byte) in bytes.iter_mut().enumerate() {
        let kept = usize::from(prefix).saturating_sub(index * 8).min(8);
        *byte &= (0xff00_u16 >> kept) as u8;
    }
    bytes
}
