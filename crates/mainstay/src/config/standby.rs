//! Standby interfaces of a node in a network, and what is odd about them.

use std::collections::BTreeMap;

use base::NodeId;

use super::diagnostic::Diagnostics;
use super::network::interface;
use super::read::{self, Placed, Section, Span};
use super::section::Names;
use super::{Endpoint, Network, Standby};

/// Standbys that one end of a network may have.
const STANDBYS_MAX: usize = 4;

/// Reads `standby = ["eth1"]` beside the name of the primary interface.
pub(super) fn standby(
    section: &mut Section<'_>,
    primary: Option<&str>,
    is_alias: bool,
    found: &mut Diagnostics,
) -> Option<Standby> {
    let written = section.take("standby")?;
    let span = written.span();
    let list = read::texts(written, "standby", found)?;
    let Some(primary) = primary else {
        found.error(span, "`standby` is given, and not what it stands by for").help(
            "name the primary as well: { address = \"10.77.0.1/24\", interface = \"eth0\", \
             standby = [\"eth1\"] }",
        );
        return None;
    };
    if is_alias {
        found
            .error(span, "a network with `heartbeat_alias` has no standby interfaces")
            .help("give the standby a [[network]] of its own: two paths are better than one");
        return None;
    }
    if list.is_empty() || list.len() > STANDBYS_MAX {
        found
            .error(span, format!("{} standby interfaces; 1 to {STANDBYS_MAX} may be", list.len()))
            .help("leave `standby` out where there is none");
        return None;
    }
    let mut interfaces: Vec<String> = Vec::new();
    for written in list {
        let name = interface(&written, found)?;
        if name == primary || interfaces.contains(&name) {
            found
                .error(written.span, format!("{name} is named twice"))
                .help("a standby is another interface on the same wire");
            return None;
        }
        interfaces.push(name);
    }
    Some(Standby { interfaces, auto_return: true })
}

/// `auto_return`, for all ends of the network.
pub(super) fn auto_return(
    written: Option<Placed<bool>>,
    network: &mut Network,
    found: &mut Diagnostics,
) {
    let Some(Placed { value: auto_return, span }) = written else { return };
    let mut standbys = network.endpoints.values_mut().filter_map(|end| end.standby.as_mut());
    let mut any = false;
    standbys.by_ref().for_each(|standby| (standby.auto_return, any) = (auto_return, true));
    if !any {
        found
            .warning(span, format!("network {} has no standby interface", network.name))
            .help("`auto_return` says when addresses leave a standby; remove it, or name one");
    }
}

/// An interface stands by for one network, and is nobody's primary. `spans` says where each network is.
pub(super) fn check_standbys(
    networks: &[Network],
    spans: &[Span],
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    for (name, node) in nodes.iter() {
        let ends: Vec<(&Network, &Span, &Endpoint)> = (networks.iter().zip(spans))
            .filter_map(|(network, span)| Some((network, span, network.endpoints.get(&node)?)))
            .collect();
        let mut used: BTreeMap<&str, (&Network, &Span)> = BTreeMap::new();
        for (network, span, end) in &ends {
            let Some(standby) = &end.standby else { continue };
            let is_shared = |(other, _, end_there): &&(&Network, &Span, &Endpoint)| {
                other.id != network.id && end_there.interface == end.interface
            };
            if let (Some(interface), Some((other, first, _))) =
                (&end.interface, ends.iter().find(is_shared))
            {
                found
                    .error(
                        (*span).clone(),
                        format!(
                            "{interface} of node {name} has a standby in network {}, and an \
                             address in network {}",
                            network.name, other.name
                        ),
                    )
                    .related((*first).clone(), "this one")
                    .help("all its addresses go to one standby: give each network its interface");
            }
            for interface in &standby.interfaces {
                let what =
                    format!("{interface} of node {name}, a standby in network {}, ", network.name);
                if let Some((other, first)) = used.insert(interface, (network, span)) {
                    found
                        .error(
                            (*span).clone(),
                            format!("{what}is a standby in network {} as well", other.name),
                        )
                        .related(first.clone(), "this one")
                        .help("it can carry the addresses of one of them; give each its own");
                }
                let is_primary = |end: &Endpoint| end.interface.as_ref() == Some(interface);
                if let Some((other, first, _)) = ends.iter().find(|(.., end)| is_primary(end)) {
                    found
                        .error(
                            (*span).clone(),
                            format!("{what}has the node's address in network {}", other.name),
                        )
                        .related((*first).clone(), "this one")
                        .help("a standby has no address of its own: take another interface");
                }
            }
        }
    }
}
