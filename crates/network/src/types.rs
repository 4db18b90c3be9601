//! What goes in, what comes out, and what can be looked at.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::place::{Distribution, Takeover};

/// What does not change while the node runs, except through [`Input::Configure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// L of the timing: decides the kernel lifetime of an address.
    pub lease: Duration,
    /// All service addresses of the configuration, wherever their services run. One of them that
    /// is found on an interface here without being owned is removed. Must not contain an address
    /// by which a node is reached itself (the configuration check refuses that).
    pub addresses: Vec<IpAddr>,
    /// Where this node has standby interfaces.
    pub nets: Vec<Net>,
    /// Service addresses that no standby may carry.
    pub fixed: Vec<IpAddr>,
    /// What is done about conflicts of service addresses, where it is not to defend them.
    pub conflicts: BTreeMap<IpAddr, OnConflict>,
    /// The service addresses of which gateways are asked whether they have learned where they are.
    pub verify: BTreeMap<IpAddr, Verify>,
    /// The networks of which it is said how addresses are shared out over interfaces.
    pub shares: Vec<Share>,
    /// What an earlier life of the daemon took from interfaces, by their numbers, and did not give back.
    pub taken: BTreeMap<u32, Taken>,
}

/// What is done when another machine uses an address that this node owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnConflict {
    /// It is kept, and announced, once in ten seconds at most (RFC 5227 §2.4 c).
    #[default]
    Defend,
    /// It is announced once; when the other one goes on within ten seconds, it is given up (RFC 5227 §2.4 b).
    Yield,
    /// It is kept, and nothing but said.
    Alarm,
}

impl OnConflict {
    /// All of them, by the names that the configuration has for them.
    pub const NAMED: [(&'static str, OnConflict); 3] = [
        ("defend", OnConflict::Defend),
        ("yield", OnConflict::Yield),
        ("alarm", OnConflict::Alarm),
    ];
}

/// Who is asked whether it has learned where a service address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// All of them, of the address's family.
    pub gateways: Vec<IpAddr>,
    /// An address of this node that they answer as well if they answer anybody, for a node that has none in the
    /// gateway's subnet.
    pub own: IpAddr,
}

/// What an echo request from a service address, and from an own one, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The gateway answered the service address, on the interface that has it.
    Service,
    /// It answered the own address only.
    Own,
    /// It answered neither.
    Neither,
    /// What was asked, from the service address or from the own one, did not leave this node.
    Unasked,
}

/// What is known of a gateway and a service address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It sends to where the address is.
    Learned {
        /// At most so long after the address was announced.
        took: Duration,
    },
    /// It answers this node's own address, and what it answers the service address does not come.
    NotLearned,
    /// It cannot be told.
    Untold {
        /// Why, in a few words.
        why: String,
    },
}

impl Lesson {
    /// For people, of this gateway and this address.
    #[must_use]
    pub fn sentence(&self, gateway: IpAddr, address: IpAddr, service: &str) -> String {
        let address = format!("{address} of {service}");
        match self {
            Lesson::Learned { took } => {
                format!("gateway {gateway} has learned {address} after {} ms", took.as_millis())
            }
            Lesson::NotLearned => format!(
                "gateway {gateway} has not learned where {address} is: it answers this node's own address, \
                 and what it sends to that one does not come here"
            ),
            Lesson::Untold { why } => {
                format!("whether gateway {gateway} has learned {address} cannot be told: {why}")
            }
        }
    }
}

/// What a service address took from the interface that it is on, and what is put back after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Own addresses with the bits of their subnets.
    pub boot: Vec<(IpAddr, u8)>,
    /// The hardware address that the interface had, if it has another one now.
    pub mac: Option<[u8; 6]>,
}

/// What a service address takes from the interface that it goes on; nothing for an alias.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taking {
    /// Own addresses that go away, with the bits of their subnets.
    pub boot: Vec<(IpAddr, u8)>,
    /// Bits of the subnet that is reached over the interface from now on; none: no route is needed.
    pub subnet: Option<u8>,
    /// The hardware address that the interface gets.
    pub mac: Option<[u8; 6]>,
}

/// How the addresses of a network are shared out over interfaces of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What people call the network.
    pub net: String,
    /// Names of the interfaces that share, in the order in which they are preferred among equals.
    pub cards: Vec<String>,
    /// Interfaces that take part once the node's own addresses were switched to them.
    pub standbys: Vec<String>,
    /// The preference.
    pub distribution: Distribution,
    /// What the addresses are to their interface.
    pub takeover: Takeover,
    /// The address that some preferences look at.
    pub source: Option<IpAddr>,
    /// Whether the addresses are shared out anew when an interface works again.
    pub rebalances: bool,
    /// Addresses of this node in the network, which are always on one of the interfaces.
    pub persistent: Vec<(IpAddr, u8)>,
    /// The service addresses of the network, with the preference of their service where it has one.
    pub addresses: Vec<(IpAddr, Option<Distribution>)>,
    /// Those that bring a hardware address with them, where they replace.
    pub hardware: BTreeMap<IpAddr, [u8; 6]>,
    /// Own addresses that no service address takes the place of: heartbeats go over them.
    pub spared: Vec<IpAddr>,
}

/// The interfaces of this node in one network, when one may take over from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// What people call the network.
    pub name: String,
    /// Names of the interfaces: the primary, then the standbys in the order in which they are tried.
    pub cards: Vec<String>,
    /// Whether the addresses go back by themselves when the primary works again.
    pub auto_return: bool,
}

impl Config {
    /// The kernel lifetime of an address: whole seconds, because the kernel counts in them. The
    /// kernel lets go up to one second later.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        let partial = u64::from(self.lease.subsec_nanos() > 0);
        Duration::from_secs(self.lease.as_secs() + partial + 1)
    }
}

/// An interface of this node as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number; a re-created interface has another.
    pub index: u32,
    /// For people.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it has a signal.
    pub carrier: bool,
    /// What polls say of it. In a picture nothing: [`Input::Health`] says it.
    pub condition: Condition,
    /// Its Ethernet address; none on loopback, tunnels and the like, where nothing is probed or
    /// announced.
    pub mac: Option<[u8; 6]>,
    /// The addresses on it, anyone's.
    pub addresses: Vec<AddressSeen>,
}

impl Interface {
    /// Why it does not work, in a few words; none when it does.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Interface { up: false, .. } => Some("is switched off"),
            Interface { carrier: false, .. } => Some("has no carrier"),
            Interface { condition: Condition::Fails(why), .. } => Some(why),
            Interface { .. } => None,
        }
    }

    /// Whether it works as far as anybody can tell: who has not been found to, and is asked, does not.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        let is_believed = matches!(self.condition, Condition::Unpolled | Condition::Works);
        self.trouble().is_none() && is_believed
    }
}

/// What polls say of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nobody polls it: its signal alone counts.
    #[default]
    Unpolled,
    /// It is proven to work.
    Works,
    /// It is polled and has not been found to work yet. It is good enough to begin on.
    Unproven,
    /// It hears nothing, and neither does any other interface of this node on that network.
    Silent,
    /// Why it does not work, in a few words that follow its name.
    Fails(String),
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSeen {
    /// The address.
    pub address: IpAddr,
    /// Bits of its subnet.
    pub prefix: u8,
    /// What is left of its kernel lifetime; none = for ever.
    pub lifetime: Option<Duration>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// All interfaces of this node with all addresses, after each change. Until the first one
    /// claims and releases wait.
    Interfaces(Vec<Interface>),
    /// What polls say of interfaces, by name; of those that are not named they say nothing. It holds
    /// for all pictures until it is said otherwise.
    Health(BTreeMap<String, Condition>),
    /// The configuration has other service addresses now.
    Configure {
        /// All of them.
        addresses: Vec<IpAddr>,
        /// Where this node has standby interfaces.
        nets: Vec<Net>,
        /// Service addresses that no standby may carry.
        fixed: Vec<IpAddr>,
        /// What is done about conflicts, where it is not to defend them.
        conflicts: BTreeMap<IpAddr, OnConflict>,
        /// Of which addresses gateways are asked whether they have learned where they are.
        verify: BTreeMap<IpAddr, Verify>,
        /// How addresses are shared out over interfaces.
        shares: Vec<Share>,
    },
    /// The service addresses of a network shall be where the distribution would have them now.
    Rebalance {
        /// The network.
        net: String,
    },
    /// The addresses of a network shall go back to the primary interface if that works.
    Return {
        /// The network.
        net: String,
    },
    /// An address that an earlier life of the daemon claimed, with its service still running:
    /// owned from now on if it stands on an interface, else [`Output::Lost`]. To be fed before the
    /// first [`Input::Interfaces`], which would have it removed as a leftover.
    Adopt {
        /// The service that it belongs to.
        service: String,
        /// The address.
        address: IpAddr,
    },
    /// This node shall own the address. Answered by [`Output::Claimed`] or, once nothing of it is
    /// left here, [`Output::Failed`].
    Claim {
        /// Names the answer.
        id: u64,
        /// The service that it belongs to.
        service: String,
        /// The address.
        address: IpAddr,
        /// Bits of its subnet as configured, for messages; the interface decides.
        prefix: u8,
        /// Fails when not claimed by then.
        deadline: Instant,
    },
    /// This node shall not have the address. Answered by [`Output::Released`] (also when it was
    /// not here) or [`Output::Failed`]. Ends a claim that is under way; that one is answered first.
    Release {
        /// Names the answer.
        id: u64,
        /// The address.
        address: IpAddr,
    },
    /// An Ethernet frame heard on an interface that [`Output::Listen`] named. Anything is allowed;
    /// what is not about an address of ours is ignored.
    Frame {
        /// Where it was heard.
        interface: u32,
        /// From the Ethernet header on.
        bytes: Vec<u8>,
    },
    /// What came of [`Output::Add`], [`Output::Remove`], [`Output::Give`] or [`Output::Switch`]. Removing what is not there is `Ok`.
    Done {
        /// Which one.
        operation: u64,
        /// `Err` says why not.
        result: Result<(), Failure>,
    },
    /// What came of [`Output::Ask`].
    Asked {
        /// Which one.
        question: u64,
        /// The address.
        address: IpAddr,
        /// What each gateway did; `Err` says in a few words why none could be asked.
        result: Result<Vec<(IpAddr, Echo)>, String>,
    },
    /// A path over this interface came back, so part of the network may have missed announcements.
    Heal {
        /// The interface.
        interface: u32,
    },
    /// Time has passed.
    Tick,
}

/// Why the driver did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Through no fault of the address or the interface: it may be done with a newer lease.
    NotNow(String),
    /// It cannot be done, as far as the driver can tell.
    Lasting(String),
    /// Of a switch: all is done but for these addresses, which stay where they are; each with why.
    AllBut(Vec<(IpAddr, String)>),
}

impl Failure {
    /// In words.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Failure::NotNow(reason) | Failure::Lasting(reason) => reason,
            Failure::AllBut(left) => {
                let left = left.into_iter().map(|(address, why)| format!("{address}: {why}"));
                left.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure::Lasting(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Failure {
        Failure::Lasting(reason.to_owned())
    }
}

/// What the driver must do, each one completed (or handed to somebody who works in order) before
/// the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Start or stop hearing ARP and neighbour discovery on an interface: a packet socket that
    /// also receives multicast of groups this node has not joined.
    Listen {
        /// The interface.
        interface: u32,
        /// Start or stop.
        on: bool,
    },
    /// Put a frame on the wire.
    Send {
        /// The interface.
        interface: u32,
        /// A whole Ethernet frame without checksum.
        bytes: Vec<u8>,
    },
    /// Add the address without duplicate detection by the kernel (it was done here), replacing one
    /// that is there; answer with [`Input::Done`].
    Add {
        /// Names the answer.
        operation: u64,
        /// The interface.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// 32 or 128.
        prefix: u8,
        /// Valid for so long; whole seconds.
        lifetime: Duration,
        /// What it takes the place of, in the same step: if that cannot be done, nothing is.
        taking: Taking,
    },
    /// Extend the lifetime of an address. No answer: if it fails the address runs out and the
    /// next picture shows it.
    Refresh {
        /// The interface.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// 32 or 128.
        prefix: u8,
        /// Valid for so long from now; whole seconds.
        lifetime: Duration,
    },
    /// Remove the address; answer with [`Input::Done`].
    Remove {
        /// Names the answer.
        operation: u64,
        /// The interface.
        interface: u32,
        /// The address.
        address: IpAddr,
        /// As it was seen or added.
        prefix: u8,
        /// What was taken from the interface is put back before. If that cannot be done the address goes all
        /// the same, and [`Output::Give`] follows.
        gives: bool,
    },
    /// Put back what was taken from an interface, without a service address there; answer with
    /// [`Input::Done`]. What is there already is no error.
    Give {
        /// Names the answer.
        operation: u64,
        /// The interface.
        interface: u32,
    },
    /// Put this node's own addresses on another interface, with the routes and permanent neighbours
    /// that hang on them; answer with [`Input::Done`]. What stands there already is no error. What cannot be
    /// put there stays where it is and keeps nothing else back ([`Failure::AllBut`]).
    Switch {
        /// Names the answer.
        operation: u64,
        /// Where they are.
        from: u32,
        /// Where they shall be.
        to: u32,
        /// The addresses with the bits of their subnets.
        addresses: Vec<(IpAddr, u8)>,
        /// The network.
        net: String,
        /// Why they do not stay.
        why: String,
    },
    /// Ask gateways by an echo from a service address, over the interface that has it and no other one;
    /// those that do not answer, from an own address as well. Answer with [`Input::Asked`]; takes as long as an echo.
    Ask {
        /// Names the answer.
        question: u64,
        /// The interface's name.
        interface: String,
        /// The service address.
        address: IpAddr,
        /// Each gateway, and the own address that it should answer in any case.
        gateways: Vec<(IpAddr, IpAddr)>,
    },
    /// Another thing is known of a gateway and an owned address.
    Gateway {
        /// The service that the address belongs to.
        service: String,
        /// The address.
        address: IpAddr,
        /// The gateway.
        gateway: IpAddr,
        /// What is known.
        lesson: Lesson,
    },
    /// This node's own addresses in a network went to another interface, or could not.
    Switched {
        /// The network.
        net: String,
        /// Where they were.
        from: String,
        /// Where they are.
        to: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Addresses that could not be put there and stay where they were, each with why.
        left: Vec<(IpAddr, String)>,
        /// Why they are not where they were.
        why: String,
        /// Why they are there all the same.
        failure: Option<String>,
    },
    /// An interface that stands by for others of its network can carry their addresses again.
    StandbyJoined {
        /// The network.
        net: String,
        /// Its name.
        interface: String,
    },
    /// An interface that stands by for others of its network cannot carry their addresses.
    StandbyFailed {
        /// The network.
        net: String,
        /// Its name.
        interface: String,
        /// Why, in a few words that follow its name.
        why: String,
    },
    /// The answer to a claim: the address is here. Announcements follow.
    Claimed {
        /// Of the claim.
        id: u64,
        /// Where.
        interface: u32,
        /// Since the claim came in.
        took: Duration,
    },
    /// The answer to a claim that could not be fulfilled through no fault of the address, nor of where it should
    /// be: it may be with a newer lease. Nothing of it is here.
    NotNow {
        /// Of the claim.
        id: u64,
        /// A sentence for people.
        reason: String,
    },
    /// The answer to a claim or a release that could not be fulfilled.
    Failed {
        /// Of the claim or release.
        id: u64,
        /// A sentence for people.
        reason: String,
    },
    /// The answer to a release: the address is not here.
    Released {
        /// Of the release.
        id: u64,
    },
    /// An owned address is gone and could not be put back. It is owned no more.
    Lost {
        /// The service that it belonged to.
        service: String,
        /// The address.
        address: IpAddr,
        /// A sentence for people.
        why: String,
    },
    /// An owned address was given up, because somebody else uses it as well. It is not here any more.
    Yielded {
        /// The service that it belonged to.
        service: String,
        /// The address.
        address: IpAddr,
        /// A sentence for people.
        why: String,
    },
    /// An owned address went from one interface of this node to another.
    Moved {
        /// The service that it belongs to.
        service: String,
        /// The address.
        address: IpAddr,
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
        /// Why not there.
        why: String,
        /// Why here and not on a third one.
        rule: String,
    },
    /// Somebody else uses an address that this node owns or wants; at most one a second for each
    /// address. What becomes of an owned one is a matter of [`OnConflict`].
    Conflict {
        /// The service that it belongs to.
        service: String,
        /// The address.
        address: IpAddr,
        /// The other's Ethernet address.
        mac: [u8; 6],
    },
}

/// Why this layer wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Send the next probe, or see that none was answered.
    Probe,
    /// A claim runs out of time.
    Claim,
    /// Announce an owned address again.
    Announce,
    /// Ask a gateway whether it has learned where an owned address is.
    Ask,
    /// Extend the lifetime of an owned address.
    Refresh,
    /// Try again to remove a leftover.
    Sweep,
    /// Put the node's own addresses on another interface, or announce them there.
    Switch,
    /// Share addresses out anew over interfaces that work again.
    Rebalance,
}

/// How far an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Kept from an earlier life of the daemon; waits for the first picture.
    Adopting,
    /// Claimed; waits for the picture of the interfaces, or until a leftover is removed.
    Clearing,
    /// Claimed; asks the network whether anybody else has it.
    Probing,
    /// Claimed; being added.
    Adding,
    /// Here.
    Owned,
    /// Being removed.
    Removing,
}

impl Phase {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Adopting => "adopting",
            Phase::Clearing => "clearing",
            Phase::Probing => "probing",
            Phase::Adding => "adding",
            Phase::Owned => "owned",
            Phase::Removing => "removing",
        }
    }
}

/// One address that this node owns, wants or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStatus {
    /// The address.
    pub address: IpAddr,
    /// The service; empty for a release of what no service claimed.
    pub service: String,
    /// How far it is.
    pub phase: Phase,
    /// When it came into this phase.
    pub since: Instant,
    /// The interface, once chosen.
    pub interface: Option<u32>,
    /// Why that one.
    pub why: String,
    /// The Ethernet address of the newest conflict, and when it was heard.
    pub conflict: Option<([u8; 6], Instant)>,
    /// The gateways that are asked about it, with what is known of each by now.
    pub gateways: Vec<(IpAddr, Option<Lesson>)>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Announcements sent.
    pub announcements: u64,
    /// Probes sent.
    pub probes: u64,
    /// Questions to gateways.
    pub questions: u64,
    /// Frames in which another claimed an address of ours.
    pub conflicts: u64,
    /// Frames that were neither ARP nor neighbour discovery in a correct form.
    pub malformed: u64,
    /// Service addresses found without an owner here and removed.
    pub leftovers: u64,
    /// Owned addresses that had vanished and were put back.
    pub restored: u64,
    /// Owned addresses that were given up for another machine.
    pub yielded: u64,
    /// Owned addresses that went to another interface.
    pub moved: u64,
    /// Switches of a node's own addresses to another interface.
    pub switches: u64,
}

/// The interfaces of a network with standbys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetStatus {
    /// The network.
    pub name: String,
    /// Its interfaces, the primary first.
    pub cards: Vec<String>,
    /// The one that has the node's own addresses; none when no interface of the network has any.
    pub seat: Option<String>,
    /// These addresses.
    pub addresses: Vec<IpAddr>,
    /// Why the newest attempt to put them elsewhere did not succeed.
    pub failure: Option<String>,
}

/// Everything that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// In the order of the addresses.
    pub addresses: Vec<AddressStatus>,
    /// The newest picture; none before the first.
    pub interfaces: Option<Vec<Interface>>,
    /// Networks with standby interfaces.
    pub nets: Vec<NetStatus>,
    /// Counts since the start.
    pub counters: Counters,
}
