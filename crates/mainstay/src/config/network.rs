//! `[[network]]`: which node has which address in which network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::NodeId;
use base::limits::{NETWORKS_MAX, PATHS_PER_PEER_MAX};
use toml::de::DeValue;

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Span, Value};
use super::section::{Names, duplicate};
use super::{Endpoint, Network, Priority};

/// The longest name that Linux gives an interface (IFNAMSIZ without its zero).
const INTERFACE_SIZE_MAX: usize = 15;

/// An address that something in the file claims, with its place.
pub(super) struct Claimed {
    pub(super) address: IpAddr,
    pub(super) owner: String,
    pub(super) span: Span,
}

/// Reads all networks.
pub(super) fn networks<'a>(
    sections: Vec<Section<'a>>,
    nodes: &Names<'a, NodeId>,
    claimed: &mut Vec<Claimed>,
    found: &mut Diagnostics,
) -> Vec<Network> {
    let mut networks = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        if index == NETWORKS_MAX {
            found.error(
                section.span.clone(),
                format!("there are more than {NETWORKS_MAX} networks"),
            );
            break;
        }
        section.require("name", "\"net0\"", found);
        let name = section.text("name", found).and_then(|written| {
            duplicate(&mut names, &written, "networks", found);
            read::name(&written, "a network", found)
        });
        let priority = section.text("priority", found).and_then(|written| {
            let words = [("high", Priority::High), ("low", Priority::Low)];
            read::choice(&written, "priority", &words, found)
        });
        let span = section.span.clone();
        let mut endpoints = BTreeMap::new();
        let example = "{ n1 = \"10.77.0.1/24\", n2 = \"10.77.0.2/24\" }";
        if let Some(value) = section.require("nodes", example, found)
            && let Some(table) = read::table(value, "`nodes` of a network", found)
        {
            for (node, value) in table.entries() {
                let id = nodes.find(&node, "node", found);
                let endpoint = endpoint(value, found);
                if let Some((endpoint, span)) = endpoint {
                    let owner = format!("node {}", node.value);
                    claim(claimed, endpoint.address, owner, span, found);
                    if let Some(id) = id {
                        endpoints.insert(id, endpoint);
                    }
                }
            }
        }
        if let Some(value) = section.take("kind") {
            let written = read::text(value, "kind", found);
            if let Some(written) = written
                && written.value != "udp"
            {
                unsupported(&written, "network", "udp", found);
            }
        }
        section.finish(found);
        let network = Network {
            name: name.unwrap_or_default(),
            priority: priority.unwrap_or_default(),
            endpoints,
        };
        if !found.has_errors() {
            check_network(&network, span, nodes, found);
        }
        networks.push(network);
    }
    networks
}

/// What is odd about one network on its own.
fn check_network(
    network: &Network,
    span: Span,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    let absent: Vec<&str> = nodes
        .iter()
        .filter(|(_, id)| !network.endpoints.contains_key(id))
        .map(|(name, _)| name)
        .collect();
    if !absent.is_empty() && !network.endpoints.is_empty() {
        found
            .warning(
                span.clone(),
                format!(
                    "network {} has no address for {}: no path over it leads there",
                    network.name,
                    absent.join(", ")
                ),
            )
            .help(
                "add the address under `nodes`, or leave it so if the node has no such interface",
            );
    }
    let mut subnets = network
        .endpoints
        .values()
        .map(|endpoint| (subnet(endpoint.address, endpoint.prefix), endpoint.prefix));
    if let Some(first) = subnets.next()
        && subnets.any(|other| other != first)
    {
        found
            .warning(
                span,
                format!("the addresses of network {} are in different subnets", network.name),
            )
            .help("that works when a router connects them; service addresses need one subnet");
    }
}

/// What is odd about all networks together: pairs of nodes without a path, and with too many.
/// Only for files without errors: half a picture looks odd everywhere.
pub(super) fn check_paths(
    networks: &[Network],
    span: Span,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    const PAIRS_SHOWN: usize = 4;
    let all: Vec<(&str, NodeId)> = nodes.iter().collect();
    let mut without = Vec::new();
    for (index, (from, from_id)) in all.iter().enumerate() {
        for (to, to_id) in &all[index + 1..] {
            let both = |network: &&Network| {
                network.endpoints.contains_key(from_id) && network.endpoints.contains_key(to_id)
            };
            match networks.iter().filter(both).count() {
                0 => without.push(format!("{from} and {to}")),
                1..=PATHS_PER_PEER_MAX => {}
                paths => {
                    found.error(
                        span.clone(),
                        format!(
                            "there are {paths} paths between {from} and {to}; \
                             {PATHS_PER_PEER_MAX} are possible"
                        ),
                    );
                }
            }
        }
    }
    if without.is_empty() {
        return;
    }
    let more = without.len().saturating_sub(PAIRS_SHOWN);
    let shown = without[..without.len().min(PAIRS_SHOWN)].join(", between ");
    let more = if more > 0 { format!(", nor between {more} other pairs") } else { String::new() };
    found
        .warning(span, format!("there is no path between {shown}{more}"))
        .help("such nodes can never be in one view; give both an address in one network");
}

fn endpoint(value: &Value<'_>, found: &mut Diagnostics) -> Option<(Endpoint, Span)> {
    if let DeValue::String(_) = value.get_ref() {
        let written = read::text(value, "address", found)?;
        let (address, prefix) = address(&written, "address", found)?;
        return Some((Endpoint { address, prefix, interface: None }, written.span));
    }
    let mut section = read::table(value, "an address of a network", found)?;
    section.require("address", "\"10.77.0.1/24\"", found);
    let written = section.text("address", found);
    let parsed = written.as_ref().and_then(|written| address(written, "address", found));
    let interface = section.text("interface", found).and_then(|written| {
        let name = written.value;
        let wrong = name.is_empty()
            || name.len() > INTERFACE_SIZE_MAX
            || name.contains(|c: char| c == '/' || c.is_whitespace())
            || name == "."
            || name == "..";
        if wrong {
            found
                .error(written.span, format!("\"{name}\" is no name of an interface"))
                .label(format!("1 to {INTERFACE_SIZE_MAX} bytes, without `/` and blanks"));
            return None;
        }
        Some(name.to_owned())
    });
    if let Some(standby) = section.take("standby") {
        found
            .error(standby.span(), "standby interfaces are not supported by this version")
            .help("remove `standby`; give the cluster a second [[network]] instead");
    }
    section.finish(found);
    let (address, prefix) = parsed?;
    Some((Endpoint { address, prefix, interface }, written?.span))
}

/// Reads `10.77.0.1/24` as the address of a machine.
pub(super) fn address(
    written: &Placed<&str>,
    key: &str,
    found: &mut Diagnostics,
) -> Option<(IpAddr, u8)> {
    match parse_address(written.value) {
        Ok(read) => Some(read),
        Err((sentence, help)) => {
            let finding = found.error(written.span.clone(), format!("`{key}`: {sentence}"));
            if let Some(help) = help {
                finding.help(help);
            }
            None
        }
    }
}

/// Reads an address with its prefix length.
///
/// # Errors
/// What is wrong, and what to do about it.
pub fn parse_address(text: &str) -> Result<(IpAddr, u8), (String, Option<String>)> {
    let Some((address, prefix)) = text.split_once('/') else {
        let help = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("write the length of the subnet's prefix: \"{text}/24\""),
            Ok(IpAddr::V6(_)) => format!("write the length of the subnet's prefix: \"{text}/64\""),
            Err(_) => "write an address with its prefix: \"10.77.0.1/24\"; host names are not \
                       looked up, since name servers fail too"
                .to_owned(),
        };
        return Err((format!("\"{text}\" has no prefix length"), Some(help)));
    };
    let parsed: IpAddr =
        address.parse().map_err(|_| (format!("\"{address}\" is no IPv4 or IPv6 address"), None))?;
    let most = if parsed.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix.parse::<u8>().ok().filter(|prefix| (1..=most).contains(prefix))
    else {
        return Err((format!("/{prefix} is no prefix length: 1 to {most}"), None));
    };
    if parsed.is_unspecified() || parsed.is_multicast() {
        return Err((format!("{parsed} is not the address of one machine"), None));
    }
    if let IpAddr::V4(four) = parsed
        && prefix < 31
    {
        let bits = u32::from(four);
        let hosts = u32::MAX >> prefix;
        if bits & hosts == 0 || bits & hosts == hosts {
            let kind =
                if bits & hosts == 0 { "the network itself" } else { "the broadcast address" };
            return Err((format!("{parsed}/{prefix} is {kind}, not a machine in it"), None));
        }
    }
    Ok((parsed, prefix))
}

/// The address with all bits behind the prefix zero.
fn subnet(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}

/// Remembers that `owner` has `address`; a second owner is an error.
pub(super) fn claim(
    claimed: &mut Vec<Claimed>,
    address: IpAddr,
    owner: String,
    span: Span,
    found: &mut Diagnostics,
) {
    match claimed.iter().find(|other| other.address == address) {
        Some(other) => {
            found
                .error(span, format!("{address} belongs to {} already", other.owner))
                .label(format!("and here to {owner}"))
                .related(other.span.clone(), "first here");
        }
        None => claimed.push(Claimed { address, owner, span }),
    }
}

/// A kind that is planned and not in this version, or a misspelt one.
pub(super) fn unsupported(
    written: &Placed<&str>,
    what: &str,
    supported: &str,
    found: &mut Diagnostics,
) {
    found
        .error(
            written.span.clone(),
            format!("a {what} of kind \"{}\" is not supported by this version", written.value),
        )
        .help(format!("this version supports: {supported}"));
}
