//! The four frames that are sent, and what is read out of those that are heard.
//!
//! ```text
//! ARP, RFC 826, padded to the least Ethernet frame of 60 bytes
//!  0        6        12    14    16    18   19   20    22       28       32       38       42  60
//!  | to     | from   |0806 | 1   |0800 | 6  | 4  | op  | mac    | ip     | mac    | ip     | 0 |
//!                           hw    proto          1 ask   sender            target
//!                                                2 tell
//! Neighbour discovery, RFC 4861 §4.3, §4.4
//!  0        6        12    14        18     20    21    22      38      54     55   56    58
//!  | to     | from   |86DD |6 0 0    |length|58   |255  | from  | to    | type | 0  | sum |
//!  58      62       78                                                   135 solicitation
//!  | flags | target | options: kind, length in 8 bytes, value …          136 advertisement
//! ```
//!
//! The hop limit of 255 proves that no router forwarded the frame (RFC 4861 §7.1.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::codec::{Malformed, Reader};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What a heard frame says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// `mac` uses the address: the sender of an ARP request or reply, of a solicitation, or the
    /// target of an advertisement.
    Uses {
        /// The address.
        address: IpAddr,
        /// Whose it is.
        mac: Mac,
    },
    /// `mac` asks whether it may use the address: an ARP probe or duplicate address detection.
    Probes {
        /// The address.
        address: IpAddr,
        /// Who asks.
        mac: Mac,
    },
}

/// "Does anybody have this address?", asked so that nobody learns a wrong answer from the question:
/// an ARP probe (RFC 5227 §1.1: the sender's address is zero) or duplicate address detection
/// (RFC 4862 §5.4.2: the source is unspecified).
#[must_use]
pub fn probe(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, Ipv4Addr::UNSPECIFIED, address),
        IpAddr::V6(address) => {
            let group = solicited_node(address);
            let mut body = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            body.extend(address.octets());
            discovery(mac, Ipv6Addr::UNSPECIFIED, group, body)
        }
    }
}

/// "This address is here now": a gratuitous ARP request whose sender and target are the address
/// (RFC 5227 §2.3), or an unsolicited advertisement that overrides what neighbours remember
/// (RFC 4861 §7.2.6).
#[must_use]
pub fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, address, address),
        IpAddr::V6(address) => {
            let mut body = vec![ADVERTISEMENT, 0, 0, 0, FLAG_OVERRIDE, 0, 0, 0];
            body.extend(address.octets());
            body.extend([OPTION_TARGET_MAC, 1]);
            body.extend(mac);
            discovery(mac, address, ALL_NODES, body)
        }
    }
}

/// Reads a frame from its Ethernet header on. `None`: correct, and nothing about any address.
///
/// # Errors
/// [`Malformed`] for ARP or neighbour discovery that is cut short or breaks a rule.
pub fn decode(bytes: &[u8]) -> Result<Option<Heard>, Malformed> {
    let mut reader = Reader::new(bytes);
    let _to: Mac = reader.array()?;
    let from: Mac = reader.array()?;
    match reader.u16()? {
        ETHERTYPE_ARP => decode_arp(reader),
        ETHERTYPE_IPV6 => decode_discovery(from, reader),
        _ => Ok(None),
    }
}

/// An Ethernet address as people write it.
#[must_use]
pub fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn arp(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    frame.extend(ARP_ETHERNET_IPV4);
    frame.extend(ARP_REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame.resize(FRAME_SIZE_MIN, 0);
    frame
}

/// An ICMPv6 message, whose checksum field is still zero, in IPv6 in Ethernet.
fn discovery(mac: Mac, from: Ipv6Addr, to: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(from, to, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let group = to.octets();
    // RFC 2464 §7: a multicast group's Ethernet address ends in the group's last four bytes.
    let group = [0x33, 0x33, group[12], group[13], group[14], group[15]];
    let mut frame = ethernet(group, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((body.len() as u16).to_be_bytes());
    frame.extend([ICMPV6, HOP_LIMIT]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(body);
    frame
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_SIZE_MAX);
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame
}

/// RFC 4291 §2.7.1: where the owner of `address`, and who wants to become it, listen.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let [high, low] = [0xff00 | u16::from(a), u16::from_be_bytes([b, c])];
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low)
}

/// RFC 4443 §2.3: over the addresses, the length, the protocol and the message. A message that
/// carries its correct checksum sums to zero.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        let pair = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
        bytes.chunks(2).map(pair).sum()
    };
    // A message is shorter than 64 KiB, so 32 bits hold the sum of its words.
    let length = u32::try_from(message.len()).expect("a frame is short");
    let header = words(&from.octets()) + words(&to.octets()) + u32::from(ICMPV6);
    let mut sum = header + length + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn decode_arp(mut reader: Reader<'_>) -> Result<Option<Heard>, Malformed> {
    if reader.array::<6>()? != ARP_ETHERNET_IPV4 {
        return Ok(None);
    }
    let operation = reader.u16()?;
    let mac = reader.array()?;
    let sender = Ipv4Addr::from(reader.u32()?);
    let _target_mac: Mac = reader.array()?;
    let target = Ipv4Addr::from(reader.u32()?);
    Ok(match operation {
        // RFC 5227 §2.1.1: a request or a reply alike.
        ARP_REQUEST | ARP_REPLY if !sender.is_unspecified() => {
            Some(Heard::Uses { address: sender.into(), mac })
        }
        ARP_REQUEST => Some(Heard::Probes { address: target.into(), mac }),
        _ => None,
    })
}

fn decode_discovery(from: Mac, mut reader: Reader<'_>) -> Result<Option<Heard>, Malformed> {
    if reader.u32()? >> 28 != 6 {
        return Err(Malformed);
    }
    let length = usize::from(reader.u16()?);
    let [next, hop_limit] = reader.array()?;
    let source = Ipv6Addr::from(reader.u128()?);
    let destination = Ipv6Addr::from(reader.u128()?);
    if next != ICMPV6 {
        return Ok(None);
    }
    // What follows the message is padding.
    let message = reader.take(length)?;
    let mut reader = Reader::new(message);
    let [kind, code] = reader.array()?;
    if kind != SOLICITATION && kind != ADVERTISEMENT {
        return Ok(None);
    }
    // RFC 4861 §7.1.1 and §7.1.2.
    if hop_limit != HOP_LIMIT || code != 0 || checksum(source, destination, message) != 0 {
        return Err(Malformed);
    }
    let _checksum_and_flags = reader.take(6)?;
    let target = Ipv6Addr::from(reader.u128()?);
    if target.is_multicast() || source.is_multicast() {
        return Err(Malformed);
    }
    let mut mac = from;
    let mut options = Reader::new(reader.rest());
    while let Ok(option) = options.u8() {
        let eights = usize::from(options.u8()?);
        let value = options.take((eights * 8).checked_sub(2).ok_or(Malformed)?)?;
        if kind == ADVERTISEMENT && option == OPTION_TARGET_MAC {
            mac = Reader::new(value).array()?;
        }
    }
    Ok(Some(match kind {
        ADVERTISEMENT => Heard::Uses { address: target.into(), mac },
        _ if source.is_unspecified() => Heard::Probes { address: target.into(), mac },
        _ => Heard::Uses { address: source.into(), mac },
    }))
}

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const FRAME_SIZE_MIN: usize = 60;
const FRAME_SIZE_MAX: usize = 86;
/// Hardware type Ethernet, protocol IPv4, and the sizes of their addresses.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// "Replace what you remember". The router and solicited flags stay clear.
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_TARGET_MAC: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
