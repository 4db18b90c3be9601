//! Which interface carries an address: the one whose own subnet contains it.
//!
//! The longest such subnet wins, as in routing; of equals the first, unless a network is shared out
//! ([`crate::place`]). Service addresses do not count, nor do /32 and /128, which are subnets of nothing
//! but themselves.

use core::net::IpAddr;

use crate::Interface;

/// The interface on which `address` belongs; `prefix` is what the configuration says of its subnet,
/// for the message. `is_service` tells service addresses from a node's own.
///
/// # Errors
/// A sentence that names what there is instead.
pub(crate) fn select<'a>(
    interfaces: &[&'a Interface],
    (address, prefix): (IpAddr, u8),
    is_service: impl Fn(IpAddr) -> bool,
) -> Result<&'a Interface, String> {
    let own = |interface: &'a Interface| {
        let addresses = interface.addresses.iter();
        addresses
            .filter(|own| own.prefix < bits(own.address) && !is_service(own.address))
            .map(|own| (own.address, own.prefix))
    };
    let mut best: Option<(u8, &Interface)> = None;
    let mut unusable = Vec::new();
    for &interface in interfaces {
        let subnets = own(interface).filter(|own| contains(*own, address));
        let Some(prefix) = subnets.map(|(_, prefix)| prefix).max() else { continue };
        if let Some(trouble) = interface.trouble() {
            unusable.push(format!("{} carries it but {trouble}", interface.name));
        } else if best.is_none_or(|(best_prefix, _)| prefix > best_prefix) {
            best = Some((prefix, interface));
        }
    }
    if let Some((_, interface)) = best {
        return Ok(interface);
    }
    if !unusable.is_empty() {
        return Err(format!("no interface for {address}/{prefix}: {}", unusable.join("; ")));
    }
    let there_is: Vec<String> = interfaces
        .iter()
        .map(|interface| {
            let subnets: Vec<String> = own(interface)
                .filter(|(own, _)| own.is_ipv4() == address.is_ipv4())
                .map(|(own, prefix)| format!("{own}/{prefix}"))
                .collect();
            let subnets = if subnets.is_empty() { "none".into() } else { subnets.join(", ") };
            format!("{} ({subnets})", interface.name)
        })
        .collect();
    let there_is = if there_is.is_empty() { "none".into() } else { there_is.join(", ") };
    Err(format!(
        "no interface has a subnet that contains {address}/{prefix}; interfaces here: {there_is}"
    ))
}

/// Whether an interface carries the address and works.
///
/// # Errors
/// What is wrong with the one that carries it, in a few words.
pub(crate) fn usable(
    interfaces: &[&Interface],
    address: IpAddr,
    is_service: impl Fn(IpAddr) -> bool,
) -> Result<(), String> {
    let mut carriers =
        interfaces.iter().filter(|interface| carries(interface, address, &is_service));
    let first = carriers.clone().next();
    if carriers.any(|interface| interface.trouble().is_none()) {
        return Ok(());
    }
    Err(match first {
        None => format!("no interface has a subnet with {address}"),
        Some(one) => format!("{} {}", one.name, one.trouble().unwrap_or_default()),
    })
}

/// Whether the address is in a subnet of the interface's own.
pub(crate) fn carries(
    interface: &Interface,
    address: IpAddr,
    is_service: impl Fn(IpAddr) -> bool,
) -> bool {
    interface.addresses.iter().any(|own| {
        own.prefix < bits(own.address)
            && !is_service(own.address)
            && contains((own.address, own.prefix), address)
    })
}

/// Bits of an address of that family.
pub(crate) const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether the subnet of `own` contains `address`.
pub(crate) fn contains((own, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    let differing = match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => {
            u128::from(own.to_bits() ^ address.to_bits()) << 96
        }
        (IpAddr::V6(own), IpAddr::V6(address)) => own.to_bits() ^ address.to_bits(),
        _ => return false,
    };
    differing.leading_zeros() >= u32::from(prefix)
}
