//! What goes in, what comes out, and what can be looked at.

use core::time::Duration;

use base::{Instant, NetworkId, NodeId};

use super::wire::Station;
use crate::wire::Mac;

/// The nets of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of the cluster.
    pub cluster: u32,
    /// This node.
    pub node: NodeId,
    /// Of this life of the node: larger than that of all lives before.
    pub life: u64,
    /// Where this node has cards. A card that several nets name belongs to the first.
    pub nets: Vec<Net>,
}

/// Cards that hear each other, as far as they are this node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// The same on all nodes.
    pub number: NetworkId,
    /// Names of the interfaces, the primary first, then the standbys in their order.
    pub cards: Vec<String>,
    /// Names of further interfaces on the same wire, which carry service addresses as the primary does.
    pub sharing: Vec<String>,
    /// Length of a round; the same on all nodes.
    pub poll_interval: Duration,
    /// After how many bad rounds a card is down, and after how many good ones it is up.
    pub polls: u32,
    /// What makes a round bad.
    pub detection: Detection,
}

impl Net {
    /// All its cards, each with its role, in the order in which they are shown.
    pub fn all_cards(&self) -> impl Iterator<Item = (&String, Role)> + Clone {
        let cards = self.cards.iter().enumerate().map(|(rank, name)| match rank {
            0 => (name, Role::Primary),
            _ => (name, Role::Standby),
        });
        cards.chain(self.sharing.iter().map(|name| (name, Role::Sharing)))
    }
}

/// What a card is in its net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It has the node's own addresses.
    Primary,
    /// It takes over from the primary.
    Standby,
    /// It carries service addresses beside the primary.
    Sharing,
}

impl Role {
    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Sharing => "sharing",
        }
    }
}

/// What makes a round bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detection {
    /// Nothing came in and nothing was heard elsewhere.
    #[default]
    InOut,
    /// That, or nothing came in although there was something.
    InOnlyOrInOut,
}

impl Detection {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Detection::InOut => "inout",
            Detection::InOnlyOrInOut => "inonly-or-inout",
        }
    }
}

/// An interface at the moment of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The kernel's number; a re-created interface has another.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; without one it can neither say nor hear polls.
    pub mac: Option<Mac>,
    /// Switched on.
    pub up: bool,
    /// Has a signal.
    pub carrier: bool,
    /// Frames received since the interface exists.
    pub rx: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames that the driver could not send.
    pub errors: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Other nets. A card that stays in its net keeps what is known of it.
    Configure(Config),
    /// All interfaces as they are now; several times in each round, or the round does not count.
    Sample(Vec<Card>),
    /// The kernel did not tell of an interface when it was looked at: to be fed before the sample of that look,
    /// which is without it then. Nothing is concluded from its counters; other interfaces are judged.
    Unread {
        /// Its name.
        card: String,
        /// What its driver says of its carrier, where that can be had.
        carrier: Option<bool>,
    },
    /// The opened body of a frame that was heard on an interface. Anything is allowed.
    Frame {
        /// Its number.
        interface: u32,
        /// The body.
        bytes: Vec<u8>,
    },
    /// The kernel did not take the frame of an [`Output::Send`].
    Refused {
        /// Of that output.
        interface: u32,
    },
    /// What became of asking the net's targets from an interface in this round.
    Target {
        /// Its number.
        interface: u32,
        /// Whether one of them answered.
        answers: bool,
    },
    /// Take a card for failed, or as it is again.
    Disable {
        /// Its name.
        card: String,
        /// Disable, or enable.
        on: bool,
    },
    /// Time has passed. Frames and a sample that are there already are to be fed before.
    Tick,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Seal a body and put it on the wire at once; answer [`Input::Refused`] if that fails.
    Send {
        /// The interface.
        interface: u32,
        /// The station, or all of them.
        to: Mac,
        /// The body.
        bytes: Vec<u8>,
    },
    /// Another verdict on a card.
    Verdict {
        /// Its net.
        net: NetworkId,
        /// Its name.
        card: String,
        /// The verdict.
        verdict: Verdict,
    },
}

/// Whether a card works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is proven to.
    Up,
    /// Nobody can tell. What is on it stays; nothing is moved to it that could go elsewhere.
    Unsure(Doubt),
    /// It does not.
    Down(Fault),
}

/// Why nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// It has a signal, and not proven itself yet.
    Unproven,
    /// No card of this node has traffic on the whole net.
    Silent,
}

/// What is wrong with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// There is no interface of this name.
    Gone,
    /// An operator wants it to count as failed.
    Disabled,
    /// It is switched off.
    SwitchedOff,
    /// It has no signal.
    NoCarrier,
    /// The driver sent nothing of what it was given, and counted errors.
    DriverError,
    /// Nobody hears it, and its driver counts errors.
    SendErrors,
    /// The driver takes no frames, while another one does.
    Refuses,
    /// Nothing comes in and nobody hears it, while others have traffic.
    NoTraffic,
    /// Nothing comes in, although others prove that there was something.
    Deaf,
    /// It hears others, none of which is of this network, and no other card of the network hears it: its
    /// port may be in the wrong VLAN, its cable in the wrong place.
    Apart,
    /// The targets answer another card and not this one.
    NoTarget,
}

impl Fault {
    /// In a few words that follow the card's name.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Fault::Gone => "is not there",
            Fault::Disabled => "is disabled by command",
            Fault::SwitchedOff => "is switched off",
            Fault::NoCarrier => "has no carrier",
            Fault::DriverError => "sends nothing, and its driver counts errors",
            Fault::SendErrors => "is not heard, and its driver counts errors",
            Fault::Refuses => "takes no frames",
            Fault::NoTraffic => "hears nothing and is not heard",
            Fault::Deaf => "hears nothing",
            Fault::Apart => "neither hears its network nor is heard there, though there is traffic",
            Fault::NoTarget => "is not answered by targets that answer another",
        }
    }
}

impl Verdict {
    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Unsure(_) => "unsure",
            Verdict::Down(_) => "down",
        }
    }

    /// Why, in a few words that follow its name; none for one that works.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        Some(match self {
            Verdict::Up => return None,
            Verdict::Unsure(Doubt::Unproven) => "has not proven itself yet",
            Verdict::Unsure(Doubt::Silent) => "hears nothing, and no other card here does either",
            Verdict::Down(fault) => fault.reason(),
        })
    }

    /// Whether what is on the card may stay there.
    #[must_use]
    pub const fn may_stay(self) -> bool {
        !matches!(self, Verdict::Down(_))
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rounds that were judged, of all nets.
    pub rounds: u64,
    /// Rounds that did not count, because this process did not look in time.
    pub void: u64,
    /// Looks at an interface of which the kernel did not tell.
    pub unread: u64,
    /// Frames handed over.
    pub sent: u64,
    /// Frames that the kernel did not take.
    pub refused: u64,
    /// Polls of other nodes that were answered.
    pub answered: u64,
    /// Answers of other nodes to polls of this round.
    pub answers: u64,
    /// Bodies that are none.
    pub malformed: u64,
    /// Frames of another cluster, or on an interface that is in no net.
    pub foreign: u64,
    /// Frames of an earlier round or life, or a second time.
    pub stale: u64,
    /// Frames of another net: two nets share a wire.
    pub misplaced: u64,
    /// Frames that came back to the card that said them.
    pub reflected: u64,
}

/// Everything that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// In the order of the configuration.
    pub nets: Vec<NetStatus>,
    /// Counts since the start.
    pub counters: Counters,
}

/// One net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetStatus {
    /// Its number.
    pub number: NetworkId,
    /// Length of a round.
    pub poll_interval: Duration,
    /// Rounds that decide.
    pub polls: u32,
    /// As configured.
    pub detection: Detection,
    /// What is in force: `inonly-or-inout` needs three cards.
    pub effective: Detection,
    /// Who polls in this round.
    pub poller: Option<String>,
    /// The own cards.
    pub cards: Vec<CardStatus>,
    /// Cards of other nodes that were heard lately.
    pub remotes: Vec<Remote>,
}

/// One own card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardStatus {
    /// Its name.
    pub name: String,
    /// What it is in its net.
    pub role: Role,
    /// As in the newest sample.
    pub seen: Option<Card>,
    /// The verdict.
    pub verdict: Verdict,
    /// Since when.
    pub since: Instant,
    /// Disabled by command.
    pub disabled: bool,
    /// Good rounds in a row.
    pub good: u32,
    /// Bad rounds in a row.
    pub bad: u32,
    /// Whether anything came in in the last round that counted.
    pub came_in: Option<bool>,
    /// Whether it was heard elsewhere then; none when nobody could have.
    pub was_heard: Option<bool>,
    /// Whether a target answered it then; none when none was asked.
    pub target: Option<bool>,
    /// Another net that was heard on it, if any: its cable may be in the wrong place.
    pub misplaced: Option<NetworkId>,
}

/// A card of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Which.
    pub station: Station,
    /// When it was heard last, on any own card.
    pub heard: Instant,
}
