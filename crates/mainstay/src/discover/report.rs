//! From what was seen to what is proposed, and what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::survey::{Face, Machine, SHORT, Stopped, Survey, is_same_subnet, is_usable};
use super::wire::{Address, Heard, Net};

/// What `mainstay discover` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this shape: 1.
    pub schema: u32,
    /// Whether what others said was sealed with what was entered here. If not, anybody on the wire
    /// may have made it up.
    pub authenticated: bool,
    /// This machine's name.
    pub node: String,
    /// All machines, this one first.
    pub nodes: Vec<FoundNode>,
    /// Networks that would work.
    pub networks: Vec<FoundNetwork>,
    /// What is in the way, or odd.
    pub findings: Vec<Finding>,
    /// The networks as a part of a configuration.
    pub toml: String,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundNode {
    /// Its name.
    pub name: String,
    /// The cluster whose daemon runs there; not told to strangers.
    pub cluster: Option<String>,
    /// Whether it has answered to this very run.
    pub proven: bool,
    /// Its interfaces.
    pub interfaces: Vec<FoundInterface>,
}

/// An interface of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundInterface {
    /// Its name.
    pub name: String,
    /// Bytes that it takes in one frame.
    pub mtu: u32,
    /// Addresses with prefixes.
    pub addresses: Vec<String>,
}

/// A proposed network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoundNetwork {
    /// `net_ether_01` and so on.
    pub name: String,
    /// `udp` or `ethernet`.
    pub kind: String,
    /// The end of each node: address with prefix, or interface.
    pub nodes: BTreeMap<String, String>,
    /// The subnet, or why it is raw Ethernet.
    pub why: String,
}

/// Something in the way, or odd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What.
    pub text: String,
    /// What to do.
    pub help: String,
}

/// The ends of machines in one subnet: interface and address.
type Ends<'a> = BTreeMap<u64, (&'a str, Net)>;

/// A machine in the picture, the own one included.
struct Place<'a> {
    number: u64,
    /// All its runs, the daemon among them. While one of them is proven, only such ones.
    numbers: Vec<u64>,
    is_proven: bool,
    name: &'a str,
    interfaces: Vec<(&'a str, &'a Face)>,
}

impl Place<'_> {
    /// Whether another run is one of the same machine: it has the same name and, on each interface
    /// that both have, the same addresses.
    fn is_same(&self, other: &Place<'_>) -> bool {
        let all = |face: &Face| face.addresses.iter().copied().collect::<BTreeSet<Net>>();
        let mut alike = self.interfaces.iter().filter_map(|(name, face)| {
            let (_, its) = other.interfaces.iter().find(|(its, _)| its == name)?;
            Some(all(face) == all(its))
        });
        self.name == other.name && alike.next() == Some(true) && alike.all(|same| same)
    }
}

/// What follows from the survey.
#[must_use]
pub fn report(survey: &Survey, authenticated: bool) -> Report {
    let picture = Picture::of(survey);
    let (networks, mut findings) = picture.networks();
    picture.find(&mut findings);
    let findings: BTreeSet<Finding> = findings.into_iter().collect();
    let node = |place: &Place<'_>| {
        let runs = place.numbers.iter().filter_map(|number| survey.machines.get(number));
        let cluster = match place.number == survey.own.machine {
            true => survey.own.cluster.clone(),
            false => runs.filter_map(|machine| machine.cluster.clone()).next(),
        };
        let interface = |(name, face): &(&str, &Face)| FoundInterface {
            name: (*name).to_owned(),
            mtu: face.mtu,
            addresses: face.addresses.iter().map(written).collect(),
        };
        FoundNode {
            name: place.name.to_owned(),
            cluster,
            proven: place.is_proven,
            interfaces: place.interfaces.iter().map(interface).collect(),
        }
    };
    Report {
        schema: api::v1::SCHEMA,
        authenticated,
        node: survey.own.name.clone(),
        nodes: picture.places.iter().map(node).collect(),
        toml: toml(&networks, authenticated),
        networks,
        findings: findings.into_iter().collect(),
    }
}

fn written(net: &Net) -> String {
    format!("{}/{}", net.address.0, net.prefix)
}

/// The networks in the words of a configuration.
fn toml(networks: &[FoundNetwork], authenticated: bool) -> String {
    let mut text = String::new();
    if !authenticated && !networks.is_empty() {
        text += "# From announcements that anybody on the wire could have made.\n";
    }
    for network in networks {
        text += &format!("\n# {}\n[[network]]\nname = \"{}\"\n", network.why, network.name);
        if network.kind != "udp" {
            text += &format!("kind = \"{}\"\n", network.kind);
        }
        let ends = network.nodes.iter().map(|(node, end)| {
            format!("{} = {}", toml_edit::Key::new(node), toml_edit::Value::from(end.as_str()))
        });
        text += &format!("nodes = {{ {} }}\n", ends.collect::<Vec<_>>().join(", "));
    }
    text.trim_start().to_owned()
}

/// The survey with the own machine among the others.
struct Picture<'a> {
    survey: &'a Survey,
    /// The own one first, the others by name.
    places: Vec<Place<'a>>,
}

impl<'a> Picture<'a> {
    fn of(survey: &'a Survey) -> Picture<'a> {
        let faces = survey.interfaces.values().map(|(name, face)| (name.as_str(), face)).collect();
        let own = &survey.own;
        let own = Place {
            number: own.machine,
            numbers: vec![own.machine],
            is_proven: true,
            name: &own.name,
            interfaces: faces,
        };
        let mut places = vec![own];
        let mut runs: Vec<(&u64, &Machine)> = survey.machines.iter().collect();
        // Where runs of one machine differ, the proven and newest of them is right.
        runs.sort_by_key(|(number, run)| {
            std::cmp::Reverse((survey.is_proven(**number), run.newest, **number))
        });
        for (number, run) in runs {
            let run = Place {
                number: *number,
                numbers: vec![*number],
                is_proven: survey.is_proven(*number),
                name: &run.name,
                interfaces: run.interfaces.iter().map(|(n, f)| (n.as_str(), f)).collect(),
            };
            let same = places.iter_mut().find(|place| {
                place.is_same(&run) && !are_clones(survey, &place.numbers, run.number)
            });
            let Some(same) = same else {
                places.push(run);
                continue;
            };
            if same.is_proven && !run.is_proven {
                continue;
            }
            same.numbers.push(*number);
            let is_own = same.number == survey.own.machine;
            for (name, face) in run.interfaces.into_iter().filter(|_| !is_own) {
                if same.interfaces.iter().all(|(known, _)| *known != name) {
                    same.interfaces.push((name, face));
                }
            }
        }
        places[1..].sort_by_key(|place| (place.name, place.number));
        Picture { survey, places }
    }

    /// All runs of the machine of that number.
    fn runs(&self, number: u64) -> &[u64] {
        let place = self.places.iter().find(|place| place.number == number);
        place.map_or(&[], |place| &place.numbers)
    }

    /// Whether `by` hears what `of` says on its interface, and on which own one.
    fn hears(&self, by: (u64, &str), of: (u64, &str)) -> bool {
        let survey = self.survey;
        let one = |listener: u64, machine: u64| {
            let heard = Heard { interface: by.1.to_owned(), machine, from: of.1.to_owned() };
            survey.machines.get(&listener).map_or(&survey.heard, |one| &one.hears).contains(&heard)
        };
        self.runs(by.0).iter().any(|by| self.runs(of.0).iter().any(|of| one(*by, *of)))
    }

    /// The longest datagram that came from one machine's address to another's.
    fn arrived(&self, (from, source): (u64, Address), (to, target): (u64, Address)) -> Option<u32> {
        let survey = self.survey;
        let one = |from: u64, to: u64| {
            let at = survey.machines.get(&to).map_or(&survey.arrivals, |one| &one.arrivals);
            let receipt = survey.receipts.get(&(to, source, target));
            let receipt = receipt.filter(|_| from == survey.own.machine);
            at.get(&(from, source, target)).max(receipt).copied()
        };
        let pairs = self
            .runs(from)
            .iter()
            .flat_map(|from| self.runs(to).iter().map(move |to| (*from, *to)));
        pairs.filter_map(|(from, to)| one(from, to)).max()
    }

    /// Names that several machines have: no configuration can tell them apart.
    fn doubles(&self) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let names = self.places.iter().filter(|place| place.is_proven).map(|place| place.name);
        names.filter(|name| !seen.insert(*name)).collect()
    }

    /// Proposals, and what kept others from being made.
    fn networks(&self) -> (Vec<FoundNetwork>, Vec<Finding>) {
        let doubles = self.doubles();
        let mut findings: Vec<Finding> = (doubles.iter())
            .map(|name| Finding {
                text: format!("several machines are called {name}"),
                help: "give each its own host name, or write its node's name into \
                       etc/mainstay/node"
                    .to_owned(),
            })
            .collect();
        // Ends by subnet: machine, interface, address.
        let mut subnets: BTreeMap<(IpAddr, u8), Ends<'_>> = BTreeMap::new();
        let mut covered: BTreeSet<(u64, &str)> = BTreeSet::new();
        // What was recorded earlier and is said again proves nothing, and stands in nobody's way.
        let named = self.places.iter().filter(|place| place.is_proven);
        let named: Vec<&Place<'_>> = named.filter(|place| !doubles.contains(place.name)).collect();
        for place in &named {
            for (interface, face) in &place.interfaces {
                for net in face.addresses.iter().filter(|net| is_usable(net.address.0)) {
                    let subnet = (masked(net.address.0, net.prefix), net.prefix);
                    let ends = subnets.entry(subnet).or_default();
                    ends.entry(place.number).or_insert((*interface, *net));
                }
            }
        }
        let mut networks = Vec::new();
        for ((subnet, prefix), ends) in &subnets {
            let works = |one: &u64, other: &u64| {
                let end = |number: &u64| (*number, ends[number].1.address);
                one != other
                    && self.arrived(end(one), end(other)).is_some()
                    && self.arrived(end(other), end(one)).is_some()
            };
            let members: BTreeSet<u64> = ends
                .keys()
                .copied()
                .filter(|one| ends.keys().any(|other| works(one, other)))
                .collect();
            if members.len() < 2 {
                continue;
            }
            covered.extend(members.iter().map(|number| (*number, ends[number].0)));
            let nodes = named.iter().filter(|place| members.contains(&place.number));
            networks.push(FoundNetwork {
                name: String::new(),
                kind: "udp".to_owned(),
                nodes: nodes
                    .map(|place| (place.name.to_owned(), written(&ends[&place.number].1)))
                    .collect(),
                why: format!("subnet {subnet}/{prefix}: datagrams go both ways"),
            });
        }
        for segment in self.segments(&named) {
            if segment.iter().filter(|end| covered.contains(*end)).count() > 1 {
                continue;
            }
            let mut nodes = BTreeMap::new();
            for (number, interface) in &segment {
                let place = named.iter().find(|place| place.number == *number);
                let name = place.expect("segments are made of them").name.to_owned();
                nodes.entry(name).or_insert_with(|| (*interface).to_owned());
            }
            if nodes.len() > 1 {
                networks.push(FoundNetwork {
                    name: String::new(),
                    kind: "ethernet".to_owned(),
                    nodes,
                    why: "frames go both ways on this wire, datagrams do not".to_owned(),
                });
            }
        }
        for (index, network) in networks.iter_mut().enumerate() {
            network.name = format!("net_ether_{:02}", index + 1);
        }
        if networks.is_empty() && self.places.len() > 1 {
            findings.push(Finding {
                text: "no wire works in both directions between two machines".to_owned(),
                help:
                    "see the other findings; run `mainstay discover` on all machines at the same \
                       time"
                        .to_owned(),
            });
        }
        (networks, findings)
    }

    /// Interfaces that hear each other in both directions, in groups.
    fn segments(&self, places: &[&Place<'a>]) -> Vec<BTreeSet<(u64, &'a str)>> {
        let ends = places.iter().flat_map(|place| {
            place.interfaces.iter().map(|(interface, _)| (place.number, *interface))
        });
        let mut segments: Vec<BTreeSet<(u64, &str)>> = Vec::new();
        for end in ends {
            let joins = |segment: &BTreeSet<(u64, &'a str)>| {
                segment.iter().any(|other| self.hears(end, *other) && self.hears(*other, end))
            };
            let (joined, mut rest): (Vec<_>, Vec<_>) = segments.into_iter().partition(joins);
            let mut segment: BTreeSet<(u64, &str)> = joined.into_iter().flatten().collect();
            segment.insert(end);
            rest.push(segment);
            segments = rest;
        }
        segments.retain(|segment| segment.len() > 1);
        segments.sort();
        segments
    }

    /// What is in the way between this machine and the others.
    fn find(&self, findings: &mut Vec<Finding>) {
        let mut say = |text: String, help: &str| {
            findings.push(Finding { text, help: help.to_owned() });
        };
        let survey = self.survey;
        let looped = |number: &u64| match survey.machines.get(number) {
            Some(machine) => machine.looped_name,
            None => survey.own.looped_name,
        };
        for place in &self.places {
            if let Some(address) = looped(&place.number) {
                let name = place.name;
                say(
                    format!("the name {name} leads to {address} on {name}: the machine itself"),
                    "take the name out of that line of /etc/hosts and write it beside the machine's \
                     own address, as the others see it",
                );
            }
        }
        for (from, to) in &survey.looped {
            say(
                format!("{from} and {to} of this machine are on one wire"),
                "as networks they fail together: put one on another switch, or use one of them",
            );
        }
        let (own, others) = self.places.split_first().expect("the own one is there");
        for other in others {
            // Beside a proven machine of its name: that one's earlier run, or the record of one.
            let is_past = !other.is_proven
                && self.places.iter().any(|place| place.is_proven && place.name == other.name);
            if !is_past {
                self.find_between(own, other, &mut say);
            }
        }
        self.find_doubles(&mut say);
    }

    fn find_between(&self, own: &Place<'_>, other: &Place<'_>, say: &mut impl FnMut(String, &str)) {
        let name = other.name;
        for (here, face) in &own.interfaces {
            for (there, their_face) in &other.interfaces {
                let here_end = (own.number, *here);
                let there_end = (other.number, *there);
                let (hears, heard) =
                    (self.hears(here_end, there_end), self.hears(there_end, here_end));
                if hears != heard {
                    let (from, to) =
                        if hears { (name, "this machine") } else { ("this machine", name) };
                    say(
                        format!(
                            "frames from {from} reach {to} ({here} here, {there} on {name}), and \
                             none come back"
                        ),
                        "a switch, a cable or a filter lets one direction through only",
                    );
                }
                if !(hears && heard) {
                    continue;
                }
                if face.mtu != their_face.mtu {
                    let (mtu, theirs) = (face.mtu, their_face.mtu);
                    say(
                        format!(
                            "{here} here has an MTU of {mtu}, and {there} of {name}, on the same \
                             wire, {theirs}"
                        ),
                        "give both the same MTU: longer frames vanish without a word",
                    );
                }
                self.find_datagrams((here, face), other, (there, their_face), say);
            }
        }
    }

    /// Two interfaces hear each other: do datagrams pass between their addresses?
    fn find_datagrams(
        &self,
        (here, face): (&str, &Face),
        other: &Place<'_>,
        (there, their_face): (&str, &Face),
        say: &mut impl FnMut(String, &str),
    ) {
        let (own, name) = (self.survey.own.machine, other.name);
        let mut has_pair = false;
        for net in &face.addresses {
            for (their, port) in their_face.addresses.iter().zip(&their_face.ports) {
                let (from, to) = (net.address, their.address);
                if !is_same_subnet(from.0, to.0, net.prefix.min(their.prefix)) || from == to {
                    continue;
                }
                has_pair = true;
                if net.prefix != their.prefix {
                    let (one, two) = (written(net), written(their));
                    say(
                        format!("{one} here and {two} on {name} have prefixes of different length"),
                        "give both the same prefix: one of them looks for the other behind a router",
                    );
                }
                let out = self.arrived((own, from), (other.number, to));
                let back = self.arrived((other.number, to), (own, from));
                let (from, to) = (from.0, to.0);
                match (out, back) {
                    (Some(out), Some(back)) => {
                        if out.min(back) <= SHORT && face.mtu == their_face.mtu && face.mtu > SHORT
                        {
                            say(
                                format!(
                                    "only short datagrams pass between {from} and {to} ({name}): \
                                     none of {} bytes in one piece",
                                    face.mtu
                                ),
                                "something between them has a smaller MTU than the interfaces: a \
                                 switch, a tunnel, a VLAN",
                            );
                        }
                    }
                    (None, _)
                        if self.survey.stopped.contains_key(&(Address(from), Address(to))) =>
                    {
                        let why = self.survey.stopped[&(Address(from), Address(to))];
                        let why = match why {
                            Stopped::NoRoute => "no route".to_owned(),
                            Stopped::Refused(number) => {
                                std::io::Error::from_raw_os_error(number).to_string()
                            }
                        };
                        say(
                            format!("this machine cannot send from {from} to {to} ({name}): {why}"),
                            "look at `ip route get`, and at this machine's firewall (output)",
                        );
                    }
                    (None, Some(_)) => say(
                        format!(
                            "frames reach {name}, and UDP from {from} to {to} port {port} does not; \
                             the other direction works"
                        ),
                        "a firewall: of the other machine (input) or of this one (output)",
                    ),
                    (Some(_), None) => say(
                        format!(
                            "UDP from {to} ({name}) does not reach {from} here, though its frames \
                             do; the other direction works"
                        ),
                        "a firewall: of this machine (input) or of the other one (output)",
                    ),
                    (None, None) => say(
                        format!(
                            "frames go both ways between {here} and {there} of {name}, and UDP \
                             between {from} and {to} port {port} in neither"
                        ),
                        "firewalls on both machines: open the port, or use a network of kind \
                         \"ethernet\"",
                    ),
                }
            }
        }
        if !has_pair && !face.addresses.is_empty() && !their_face.addresses.is_empty() {
            let all =
                |face: &Face| face.addresses.iter().map(written).collect::<Vec<_>>().join(", ");
            say(
                format!(
                    "{here} here ({}) and {there} of {name} ({}) are on one wire and in no subnet in \
                     common: there is no route between them",
                    all(face),
                    all(their_face)
                ),
                "give them addresses of one subnet, or use a network of kind \"ethernet\"",
            );
        }
    }

    /// Addresses that are there twice.
    fn find_doubles(&self, say: &mut impl FnMut(String, &str)) {
        let mut owners: BTreeMap<Address, BTreeSet<(&str, &str, u64)>> = BTreeMap::new();
        for place in self.places.iter().filter(|place| place.is_proven) {
            for (interface, face) in &place.interfaces {
                for net in &face.addresses {
                    let owner = (place.name, *interface, place.number);
                    owners.entry(net.address).or_default().insert(owner);
                }
            }
        }
        for (address, owners) in owners {
            let machines: BTreeSet<u64> = owners.iter().map(|(_, _, number)| *number).collect();
            if machines.len() > 1 {
                let all = owners.iter().map(|(name, interface, _)| format!("{name} ({interface})"));
                say(
                    format!("{} is on {}", address.0, all.collect::<Vec<_>>().join(" and on ")),
                    "give each machine addresses of its own",
                );
            }
        }
    }
}

/// Whether one of them hears the other on the interface of the same name: no machine hears itself
/// there, so these are two that were made alike.
fn are_clones(survey: &Survey, runs: &[u64], run: u64) -> bool {
    let hears = |by: u64, of: u64| {
        let heard = survey.machines.get(&by).map_or(&survey.heard, |machine| &machine.hears);
        heard.iter().any(|heard| heard.machine == of && heard.interface == heard.from)
    };
    runs.iter().any(|other| hears(*other, run) || hears(run, *other))
}

/// The address with all bits behind the prefix zero.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}
