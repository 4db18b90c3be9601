//! What only a node can say about a configuration: whether somebody has a service address already, a card of its own
//! has a hardware address, a hook's program is there, a standby is what a standby must be.
//!
//! A [`Question`] is what a configuration asks of one node, small enough to be told to another one in [parts](Question::parts);
//! [`Question::answer`] looks at the machine, and may wait for answers from the wire; the [`Fact`]s that come of it become
//! sentences where the configuration's text is known, each with its place there. Asked of a node that runs, only
//! what a change brings is in the question: what runs in the cluster has its address by right.

mod alive;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use api::v1;
use base::NodeId;
use network::wire::{self, Mac};
use os::netlink::{Interface, Netlink};
use serde::{Deserialize, Serialize};

use crate::config::diagnostic::FINDINGS_MAX;
use crate::config::{Cluster, Diagnostics, addresses_of};

/// Addresses in one part of a question: all of them may be in use, and that must fit into one message.
const ADDRESSES_PER_PART: usize = 100;
/// Networks with standbys in one part. A program is one of its own: paths may be long.
const STANDBYS_PER_PART: usize = 4;

/// What a node is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Service addresses that nobody should have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<IpAddr>,
    /// Hardware addresses that no card should have, each with the service address that brings it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hardware: Vec<(IpAddr, Mac)>,
    /// Programs that should be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) programs: Vec<String>,
    /// Interfaces that should be fit to stand by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) standbys: Vec<Standbys>,
}

/// The interfaces of one node in one network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Standbys {
    /// The network.
    pub(crate) network: String,
    /// What they stand by for.
    pub(crate) primary: String,
    /// Their names.
    pub(crate) interfaces: Vec<String>,
    /// The node's own addresses in the network: they are on a standby after a switch.
    pub(crate) own: Vec<IpAddr>,
}

/// What a node has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fact {
    /// Somebody answers for the address.
    InUse { address: IpAddr, interface: String, mac: Mac },
    /// The node could not look at this.
    Unasked { subject: Subject, cause: Cause },
    /// The interface has the hardware address that a service address brings.
    Station { address: IpAddr, mac: Mac, interface: String },
    /// It cannot be run.
    NoProgram { program: String, why: String },
    /// The interface is not fit to stand by.
    Standby { network: String, interface: String, fault: Fault },
}

/// What a node looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// Whether addresses are in use.
    Addresses,
    /// Whether a card has a hardware address.
    Hardware,
    /// Whether programs are there.
    Programs,
    /// Whether interfaces are fit to stand by.
    Standbys,
}

/// Why a node could not look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// The kernel does not let this process.
    NotAllowed(String),
    /// There is too much else at the moment.
    Busy(String),
    /// The kernel does not answer.
    Hangs(String),
    /// Anything else that the kernel says.
    Failed(String),
}

/// Why an interface is not fit to stand by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// It is not there.
    Absent,
    /// It has an address of its own.
    HasAddress(IpAddr),
    /// One of the two speaks Ethernet and the other one does not.
    OtherKind { primary: String },
    /// It takes other frames than the primary.
    OtherMtu { mtu: u32, primary: String, expected: u32 },
}

/// What a fact says to a person.
pub(crate) struct Words {
    /// What in the text it is about, without quotes; and what stands before that, where there are several.
    pub(crate) about: (Option<String>, String),
    /// One sentence.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
}

/// What a configuration asks of its nodes; where one is in force already, only what is new.
pub(crate) struct Questions<'a> {
    cluster: &'a Cluster,
    in_force: Option<&'a Cluster>,
    shared: Question,
}

impl<'a> Questions<'a> {
    /// Compares the two.
    #[must_use]
    pub(crate) fn new(cluster: &'a Cluster, in_force: Option<&'a Cluster>) -> Questions<'a> {
        let hardware = |cluster: &Cluster| {
            let shared = cluster.shared.iter();
            shared.filter_map(|(address, one)| Some((*address, one.hardware?))).collect()
        };
        let programs = |cluster: &Cluster| {
            let programs = cluster.hooks.iter().map(|hook| hook.command[0].clone());
            programs.collect::<BTreeSet<String>>().into_iter().collect()
        };
        let shared = Question {
            addresses: added(cluster, in_force, |one| one.service_addresses().collect()),
            hardware: added(cluster, in_force, hardware),
            programs: added(cluster, in_force, programs),
            standbys: Vec::new(),
        };
        Questions { cluster, in_force, shared }
    }

    /// What each node is asked: most of it, so it is made once.
    #[must_use]
    pub(crate) fn shared(&self) -> &Question {
        &self.shared
    }

    /// What this node alone is asked.
    #[must_use]
    pub(crate) fn own(&self, node: NodeId) -> Question {
        let standbys = |cluster: &Cluster| {
            let networks = cluster.networks.iter();
            let all = networks.filter_map(|network| {
                let end = network.endpoints.get(&node)?;
                let placing = network.placing.iter();
                let persistent = placing.filter_map(|placing| placing.persistent.get(&node));
                let persistent = persistent.flatten().map(|(address, _)| *address);
                let own = end.has_address().then_some(end.address).into_iter();
                Some(Standbys {
                    network: network.name.clone(),
                    primary: end.interface.clone()?,
                    interfaces: end.standby.as_ref()?.interfaces.clone(),
                    own: own.chain(persistent).collect(),
                })
            });
            all.collect::<Vec<Standbys>>()
        };
        let standbys = added(self.cluster, self.in_force, standbys);
        Question { standbys, ..Question::default() }
    }
}

impl Question {
    /// All that a configuration asks of a node; where one is in force already, only what is new.
    #[must_use]
    pub(crate) fn of(cluster: &Cluster, node: NodeId, in_force: Option<&Cluster>) -> Question {
        let questions = Questions::new(cluster, in_force);
        let standbys = questions.own(node).standbys;
        Question { standbys, ..questions.shared }
    }

    /// The question in parts, each of which fits into a message with its answer.
    #[must_use]
    pub(crate) fn parts(&self) -> Vec<Question> {
        let mut parts = Vec::new();
        for some in self.addresses.chunks(ADDRESSES_PER_PART) {
            parts.push(Question { addresses: some.to_vec(), ..Question::default() });
        }
        for some in self.hardware.chunks(ADDRESSES_PER_PART) {
            parts.push(Question { hardware: some.to_vec(), ..Question::default() });
        }
        for program in &self.programs {
            parts.push(Question { programs: vec![program.clone()], ..Question::default() });
        }
        for some in self.standbys.chunks(STANDBYS_PER_PART) {
            parts.push(Question { standbys: some.to_vec(), ..Question::default() });
        }
        parts
    }

    /// Looks at this machine and asks its wires, which takes a moment. `services`: addresses that belong to no node.
    #[must_use]
    pub(crate) fn answer(&self, services: &BTreeSet<IpAddr>) -> Vec<Fact> {
        let mut facts = Vec::new();
        for program in &self.programs {
            if let Some(why) = no_program(program) {
                facts.push(Fact::NoProgram { program: program.clone(), why });
            }
        }
        if self.addresses.is_empty() && self.hardware.is_empty() && self.standbys.is_empty() {
            return facts;
        }
        let services: BTreeSet<IpAddr> = services.iter().chain(&self.addresses).copied().collect();
        match interfaces() {
            Ok(interfaces) => {
                facts.extend(self.standby_facts(&interfaces, &services));
                facts.extend(self.stations(&interfaces));
                facts.extend(alive::ask(&self.addresses, &interfaces, &services));
            }
            Err(why) => {
                let machine = Question { programs: Vec::new(), ..self.clone() };
                facts.extend(machine.unasked(&Cause::Failed(why)));
            }
        }
        facts
    }

    /// The answer of who cannot look at any of it.
    #[must_use]
    pub(crate) fn unasked(&self, cause: &Cause) -> Vec<Fact> {
        let subjects = [
            (Subject::Addresses, self.addresses.is_empty()),
            (Subject::Hardware, self.hardware.is_empty()),
            (Subject::Programs, self.programs.is_empty()),
            (Subject::Standbys, self.standbys.is_empty()),
        ];
        let asked = subjects.into_iter().filter(|(_, is_empty)| !is_empty);
        asked.map(|(subject, _)| Fact::Unasked { subject, cause: cause.clone() }).collect()
    }

    fn stations(&self, interfaces: &[Interface]) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (address, mac) in &self.hardware {
            // While an interface has the service address, it has the hardware address from there.
            let is_owner = |one: &&Interface| {
                one.mac == Some(*mac) && !one.addresses.iter().any(|own| own.address == *address)
            };
            facts.extend(interfaces.iter().find(is_owner).map(|one| Fact::Station {
                address: *address,
                mac: *mac,
                interface: one.name.clone(),
            }));
        }
        facts
    }

    fn standby_facts(&self, interfaces: &[Interface], services: &BTreeSet<IpAddr>) -> Vec<Fact> {
        let mut facts = Vec::new();
        for standbys in &self.standbys {
            let named = |name: &String| interfaces.iter().find(|one| one.name == *name);
            for name in &standbys.interfaces {
                let fault = match named(name) {
                    None => Some(Fault::Absent),
                    Some(one) => fault(one, named(&standbys.primary), &standbys.own, services),
                };
                facts.extend(fault.map(|fault| Fact::Standby {
                    network: standbys.network.clone(),
                    interface: name.clone(),
                    fault,
                }));
            }
        }
        facts
    }
}

/// What is in the list of one configuration and not of the other.
fn added<T: Ord>(
    cluster: &Cluster,
    in_force: Option<&Cluster>,
    list: impl Fn(&Cluster) -> Vec<T>,
) -> Vec<T> {
    let before: BTreeSet<T> = in_force.map(&list).unwrap_or_default().into_iter().collect();
    list(cluster).into_iter().filter(|one| !before.contains(one)).collect()
}

fn interfaces() -> Result<Vec<Interface>, String> {
    let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
    netlink.interfaces().map_err(|error| error.whole())
}

/// What keeps an interface from standing by for the primary. The kernel makes link-local addresses by itself.
fn fault(
    standby: &Interface,
    primary: Option<&Interface>,
    own: &[IpAddr],
    services: &BTreeSet<IpAddr>,
) -> Option<Fault> {
    let is_ours = |address: &IpAddr| own.contains(address) || services.contains(address);
    let is_made = |address: &IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    let mut addresses = standby.addresses.iter().map(|seen| seen.address);
    if let Some(address) = addresses.find(|address| !is_ours(address) && !is_made(address)) {
        return Some(Fault::HasAddress(address));
    }
    let primary = primary?;
    let kind = |one: &Interface| (one.loopback, one.mac.is_some());
    if kind(standby) != kind(primary) {
        return Some(Fault::OtherKind { primary: primary.name.clone() });
    }
    (standby.mtu != primary.mtu).then(|| Fault::OtherMtu {
        mtu: standby.mtu,
        primary: primary.name.clone(),
        expected: primary.mtu,
    })
}

/// Why a file cannot be run as a program.
fn no_program(path: &str) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Err(error) => Some(format!("{path}: {error}")),
        Ok(found) if !found.is_file() => Some(format!("{path} is no file")),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Some(format!("{path} is not executable"))
        }
        Ok(_) => None,
    }
}

impl Fact {
    /// What it says, of the node where it was found. `is_whose`: whether it is known that no node of the cluster
    /// has an address that somebody answers for.
    #[must_use]
    pub(crate) fn words(&self, cluster: &Cluster, node: &str, is_whose: bool) -> Words {
        let words = |about: String, message: String, help: String| Words {
            about: (None, about),
            message,
            help,
        };
        match self {
            Fact::InUse { address, interface, mac } => {
                let mut services = cluster.services.iter();
                let service = services.find(|one| addresses_of(one).any(|one| one == *address));
                let service = service.map_or("no service", |service| service.name.as_str());
                let mac = wire::text(*mac);
                let whose = if is_whose { "" } else { "if no node of this cluster has it: " };
                words(
                    address.to_string(),
                    format!(
                        "{address} of {service} is in use: {mac} answers for it on {interface} of {node}"
                    ),
                    format!(
                        "{whose}a start of {service} waits for it and fails, and connections to two machines \
                         of one address break at random; take it from that machine, or choose another one"
                    ),
                )
            }
            Fact::Unasked { subject, cause } => {
                let subject = match subject {
                    Subject::Addresses => "service addresses are in use",
                    Subject::Hardware => "a card has a hardware address of a service",
                    Subject::Programs => "the programs of hooks are there",
                    Subject::Standbys => "interfaces are fit to stand by",
                };
                let (why, help) = cause.words();
                words(
                    String::new(),
                    format!("{node} could not see whether {subject}: {why}"),
                    help.to_owned(),
                )
            }
            Fact::Station { address, mac, interface } => {
                let mac = wire::text(*mac);
                words(
                    mac.clone(),
                    format!("{mac} of {address} is the hardware address of {interface} of {node}"),
                    "two stations of one hardware address on a wire take each other's frames: choose one \
                     that no card has"
                        .to_owned(),
                )
            }
            Fact::NoProgram { program, why } => {
                let mut hooks = cluster.hooks.iter();
                let hook = hooks.find(|hook| hook.command[0] == *program);
                let hook = hook.map_or("", |hook| hook.name.as_str());
                words(
                    program.clone(),
                    format!("the hook {hook} cannot be run on {node}: {why}"),
                    "put the program there on every node, and make it executable".to_owned(),
                )
            }
            Fact::Standby { network, interface, fault } => {
                let (what, help) = fault.words();
                Words {
                    about: (Some(network.clone()), interface.clone()),
                    message: format!(
                        "{interface} of {node}, a standby in network {network}, {what}"
                    ),
                    help,
                }
            }
        }
    }
}

impl Cause {
    /// Why, and what to do.
    fn words(&self) -> (&str, &'static str) {
        match self {
            Cause::NotAllowed(why) => {
                (why, "raw frames need CAP_NET_RAW: run it as root on a node whose daemon runs")
            }
            Cause::Busy(why) => (why, "check again in a moment"),
            Cause::Hangs(why) => (
                why,
                "see to it, the kernel's log says more, and check again: what hangs here hangs for services too",
            ),
            Cause::Failed(why) => (why, "see to it on that node, and check again"),
        }
    }
}

impl Fault {
    fn words(&self) -> (String, String) {
        match self {
            Fault::Absent => (
                "is not there".to_owned(),
                "nothing takes over when the primary fails: name an interface that the node has".to_owned(),
            ),
            Fault::HasAddress(address) => (
                format!("has the address {address}"),
                "a standby has none: frames to that subnet leave through it although it stands by, and they \
                 stop when it takes over; take the address away, or name another interface"
                    .to_owned(),
            ),
            Fault::OtherKind { primary } => (
                format!("is of another type than {primary}"),
                "the addresses of an interface go to one of the same type alone, because neighbours know them by its \
                 kind of hardware address: name another one"
                    .to_owned(),
            ),
            Fault::OtherMtu { mtu, primary, expected } => (
                format!("has an MTU of {mtu}, and {primary} one of {expected}"),
                format!(
                    "connections that live on after a switch send what does not pass any more: give both \
                     the same, ip link set dev NAME mtu {expected}"
                ),
            ),
        }
    }
}

/// Where something stands in quotes in a text, behind the other thing where that is named.
fn place(text: &str, (behind, what): &(Option<String>, String)) -> Option<Range<usize>> {
    let quoted = |from: usize, what: &str| {
        let pattern = format!("\"{what}");
        let mut places = text[from..].match_indices(&pattern).map(|(at, _)| from + at + 1);
        places.find(|at| text[at + what.len()..].starts_with(['/', '"']))
    };
    if what.is_empty() {
        return None;
    }
    let from = behind.as_ref().map_or(Some(0), |behind| quoted(0, behind))?;
    quoted(from, what).map(|at| at..at + what.len())
}

/// Where a word of the configuration stands in its text.
#[must_use]
pub(crate) fn place_of(text: &str, what: &str) -> Option<Range<usize>> {
    place(text, &(None, what.to_owned()))
}

/// Adds a warning for what was found on a node.
pub(crate) fn warn(words: Words, text: &str, found: &mut Diagnostics) {
    found.warning_at(place(text, &words.about), words.message).help(words.help);
}

/// What nodes have found, in words: not more than findings are kept, each of which is looked for in the whole text.
#[must_use]
pub(crate) fn report(cluster: &Cluster, mut found: Vec<(NodeId, Fact)>) -> Vec<v1::Diagnostic> {
    found.sort_by_key(|(node, _)| *node);
    // Who has an address is the same for all who ask.
    let mut in_use = BTreeSet::new();
    let mut unasked: Vec<(NodeId, Fact)> = Vec::new();
    found.retain(|one| match &one.1 {
        Fact::InUse { address, .. } => in_use.insert(*address),
        // Each part says so.
        Fact::Unasked { .. } if unasked.contains(one) => false,
        Fact::Unasked { .. } => {
            unasked.push(one.clone());
            true
        }
        _ => true,
    });
    let kept = if found.len() > FINDINGS_MAX { FINDINGS_MAX - 1 } else { found.len() };
    let more = found.len() - kept;
    let mut said = Diagnostics::new("the new configuration", &cluster.text);
    for (node, fact) in &found[..kept] {
        // What is asked for is new, so no node of the cluster has it by right.
        warn(fact.words(cluster, &cluster.name_of(*node), true), &cluster.text, &mut said);
    }
    if more > 0 {
        said.warning_at(None, format!("the nodes have found {more} more things like these"))
            .help("mend what is told of, and check again");
    }
    said.report().diagnostics
}
