//! Which interface of this node a service address goes on: one pure function, [`place`].
//!
//! A node may have several interfaces in a network, and the addresses of its services are shared out
//! over them (HACMP's "distribution preference", seed 004). Two kinds of reasons meet here. What an
//! interface *can* carry is no matter of taste: it works, it does not stand by, the address is in its
//! subnet where some interface of the node has that subnet, and where a service address *replaces* the
//! boot address it is the only one. What an interface *should* carry is a [`Distribution`]: it decides
//! among those that can, and is dropped, and said to be dropped, before an address is nowhere.
//!
//! ```text
//! all interfaces ── can carry ──► candidates ── distribution ──► fewest ── in the order written ──► one
//!                       │              │ the wish leaves none: dropped, all of them again
//!                       └ none: nowhere, and why not on each
//! ```
//!
//! **Nothing moves without a cause.** An address on an interface that can carry it stays there; what the
//! distribution says of it now, after a change of the configuration, say, is told ([`Placement::later`]) and
//! acts when the address has to move anyway, or when somebody asks for it ([`Occasion::Rebalance`]). Even
//! then one moves only if that is better, not if it is as good, and a persistent address moves only off an
//! interface that cannot carry it: those that want to be beside it would run after it.
//!
//! **Order.** Persistent addresses first, since others look at where they are; then what stands where it can
//! stay, then a source address, then the rest, each in the order of the input. The same input gives the same output on any node.

use core::net::IpAddr;

mod choose;
mod words;

/// How the service addresses of a network, or of one service, are shared out over a node's interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distribution {
    /// On the interface with the fewest addresses, persistent ones counted.
    #[default]
    LeastLoad,
    /// All on one.
    Collocation,
    /// As far apart as possible; persistent addresses decide only between equals.
    AntiCollocation,
    /// All on the one with the persistent address.
    CollocationPersistent,
    /// Apart, and not on the one with the persistent address.
    AntiCollocationPersistent,
    /// All on the one with the network's source address.
    CollocationSource,
    /// Apart, and not on the one with the network's source address.
    AntiCollocationSource,
}

impl Distribution {
    /// All of them, by the names that the configuration has for them.
    pub const NAMED: [(&'static str, Distribution); 7] = [
        ("least-load", Distribution::LeastLoad),
        ("collocation", Distribution::Collocation),
        ("anti-collocation", Distribution::AntiCollocation),
        ("collocation-with-persistent", Distribution::CollocationPersistent),
        ("anti-collocation-with-persistent", Distribution::AntiCollocationPersistent),
        ("collocation-with-source", Distribution::CollocationSource),
        ("anti-collocation-with-source", Distribution::AntiCollocationSource),
    ];

    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Distribution::NAMED.iter().find(|(_, distribution)| *distribution == self);
        named.expect("all of them have names").0
    }
}

/// What a service address is to the interface that it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takeover {
    /// One more address beside those that are there.
    #[default]
    Alias,
    /// It takes the place of the boot address, alone, until it goes.
    Replacement,
}

/// An interface of this node in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Why it does not work, in a few words.
    pub trouble: Option<String>,
    /// It stands by for another one; with an own address on it that one has been switched to it.
    pub is_standby: bool,
    /// This node's own addresses on it, with the bits of their subnets; with [`Takeover::Replacement`] also
    /// one that is replaced at the moment.
    pub own: Vec<(IpAddr, u8)>,
    /// The addresses on it that were placed: of services, and persistent ones.
    pub carries: Vec<IpAddr>,
}

/// The interfaces of this node in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// What people call the network.
    pub net: String,
    /// How addresses are shared out unless their service says otherwise.
    pub distribution: Distribution,
    /// What they are to their interface.
    pub takeover: Takeover,
    /// The address whose interface [`Distribution::CollocationSource`] and its opposite are about.
    pub source: Option<IpAddr>,
    /// In the order in which they are preferred among equals.
    pub cards: Vec<Card>,
}

/// What an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This node, whatever runs here.
    Persistent,
    /// A service.
    Service {
        /// Its name.
        name: String,
        /// Its own distribution: of its addresses among themselves.
        distribution: Option<Distribution>,
        /// No standby may carry it.
        is_fixed: bool,
    },
}

/// An address that has to be somewhere on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The address.
    pub address: IpAddr,
    /// Bits of its subnet as configured.
    pub prefix: u8,
    /// The network.
    pub net: String,
    /// What it belongs to.
    pub holder: Holder,
}

/// Why addresses are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Something happened. What stands well stays.
    Event,
    /// Somebody wants them where the distribution would have them now.
    Rebalance,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// It is there already.
    Stays,
    /// No other interface can carry it.
    Only,
    /// A distribution preferred the interface.
    Preferred(Distribution),
    /// Of equals the first one.
    First,
    /// No interface can carry it.
    Nowhere,
}

/// Where an address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The address.
    pub address: IpAddr,
    /// The name of the interface; none when no interface can carry it.
    pub card: Option<String>,
    /// What decided.
    pub rule: Rule,
    /// The same as a sentence.
    pub why: String,
    /// Why it is not on the interface any more that it was on.
    pub left: Option<String>,
    /// Which wish could not be fulfilled, and why not.
    pub dropped: Option<String>,
    /// Where the distribution would have an address that stays elsewhere, and when it goes there.
    pub later: Option<String>,
}

/// Says where each of the addresses goes, in the order of `wanted`. An address that stands on an interface
/// (`carries`) and is not wanted counts as load there. Takes time in proportion to the addresses times the
/// interfaces of one network.
#[must_use]
pub fn place(grounds: &[Ground], wanted: &[Wanted], occasion: Occasion) -> Vec<Placement> {
    let mut tables: Vec<choose::Table<'_>> = grounds.iter().map(choose::Table::new).collect();
    for want in wanted {
        if let Some(table) = table(&mut tables, &want.net) {
            table.note(want);
        }
    }
    let turn = |want: &Wanted| table(&mut tables, &want.net).map(|table| table.turn(want));
    let turns: Vec<Option<choose::Turn>> = wanted.iter().map(turn).collect();
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|index| turns[*index]);
    let mut placed: Vec<Option<Placement>> = wanted.iter().map(|_| None).collect();
    for index in order {
        let want = &wanted[index];
        placed[index] = Some(match table(&mut tables, &want.net) {
            Some(table) => table.place(want, occasion),
            None => words::no_network(want),
        });
    }
    placed.into_iter().map(|placed| placed.expect("each address had its turn")).collect()
}

/// Says where some addresses of one network go, one after the other, as [`place`] does for all of `wanted`,
/// which tell what the others are. An address that is none of these is on no interface.
#[must_use]
pub fn place_some<'a>(
    ground: &'a Ground,
    wanted: &'a [Wanted],
    some: impl Iterator<Item = &'a Wanted>,
) -> Vec<Placement> {
    let mut table = choose::Table::new(ground);
    for other in wanted {
        table.note(other);
    }
    some.map(|want| table.place(want, Occasion::Event)).collect()
}

/// Whether an interface can carry the address, whatever the others carry.
///
/// # Errors
/// A sentence that says why each of them cannot.
pub fn can_carry(ground: &Ground, want: &Wanted) -> Result<(), String> {
    let table = choose::Table::new(ground);
    let mut seats = 0..ground.cards.len();
    if seats.any(|seat| table.obstacle(seat, want).is_none()) {
        return Ok(());
    }
    Err(words::nowhere(&table, want, None).why)
}

/// Why the interface of that name cannot carry the address, in a few words; none when it can.
#[must_use]
pub fn obstacle(ground: &Ground, card: &str, want: &Wanted) -> Option<String> {
    let Some(seat) = ground.cards.iter().position(|one| one.name == card) else {
        return Some(format!("is no interface of {}", ground.net));
    };
    choose::Table::new(ground).obstacle(seat, want)
}

fn table<'t, 'a>(
    tables: &'t mut [choose::Table<'a>],
    net: &str,
) -> Option<&'t mut choose::Table<'a>> {
    tables.iter_mut().find(|table| table.ground.net == net)
}
