//! What goes wrong in a run: kinds of faults, and the single faults of each kind with their times.
//!
//! Each run draws its own set of kinds (swarm testing: Groce et al., ISSTA 2012), because faults
//! that are always present hide each other. Each kind draws from a generator of its own, so that
//! leaving one out changes nothing about the others; that is what makes runs shrinkable.

use core::ops::RangeInclusive;

use base::Prng;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Clocks run up to 0.5 % too fast or too slow.
    Drift,
    /// Datagrams get lost.
    Loss,
    /// Datagrams arrive twice.
    Duplication,
    /// Datagrams overtake each other by far.
    Reordering,
    /// Bits flip, and nonsense arrives.
    Corruption,
    /// Old datagrams arrive again, also of earlier sessions.
    Replay,
    /// Networks are slow, and now and then very slow.
    Delay,
    /// Some pairs of nodes cannot reach each other on some networks.
    Cut,
    /// Some nodes cannot reach some others, but the other way round they can.
    OneWay,
    /// A network fails as a whole.
    NetworkDown,
    /// The nodes fall apart into groups that cannot reach each other on any network.
    Split,
    /// Interfaces lose their carrier.
    Carrier,
    /// Machines lose power.
    PowerOff,
    /// All machines lose power.
    Blackout,
    /// A machine comes back without its state directory.
    Wipe,
    /// A machine comes back with a damaged state file and falls back to the one before.
    Stale,
    /// Daemons are killed; their guards start them again.
    DaemonKill,
    /// Daemons are stopped for a while.
    Pause,
    /// Everything on a machine is stopped for a while, its guard and its services included; its kernel
    /// goes on.
    Freeze,
    /// Loops run late.
    Slow,
    /// Disks are slow.
    SlowDisk,
    /// Processes of services die.
    Crash,
    /// Starts fail.
    StartFails,
    /// Processes do not end when asked.
    StopHangs,
    /// Processes do not even end when killed (state D).
    Unkillable,
    /// Operators change things.
    Operator,
    /// The configuration changes.
    Configure,
    /// Nodes leave and come back.
    Leave,
    /// Whoever decides about the next view is cut off before it could tell anybody.
    Decision,
    /// Not a fault: the nodes have a shared disk, or serial lines, besides their networks.
    Media,
    /// All networks fail at once; disks and lines stay.
    AllDown,
    /// What is written to the shared disk tears, gets lost or lands late; what is read is stale.
    DiskDamage,
    /// The shared disk is slow, or stands still, or takes nothing from one node.
    DiskTrouble,
    /// Serial lines lose and change bytes.
    LineNoise,
    /// Serial lines are unplugged.
    Unplug,
    /// Not a fault: most networks have one heartbeat for all nodes.
    Shared,
    /// Some nodes do not hear from some others what is for all, though the rest arrives.
    Deaf,
    /// Not a fault: arbiters outside the cluster decide at exactly half.
    Arbiters,
    /// An arbiter answers nobody, or one node cannot reach it.
    ArbiterDown,
    /// Not a fault: machines can be turned off by fence agents.
    Fencing,
    /// Fence agents refuse, hang, lie, and do late what they have accepted.
    FenceTrouble,
    /// Some services write to storage, some machines have a watchdog; and a machine is cut off from all
    /// others for longer than they wait for that.
    Storage,
    /// A machine's gateway does not answer.
    Gateway,
    /// The nodes fall apart into two halves while a change of the configuration, and with it often of the
    /// tie-breaker, is delivered to some of them and not to the others.
    Between,
    /// Not a fault: machines have two cards in some networks.
    Cards,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 45] = [
        Kind::Drift,
        Kind::Loss,
        Kind::Duplication,
        Kind::Reordering,
        Kind::Corruption,
        Kind::Replay,
        Kind::Delay,
        Kind::Cut,
        Kind::OneWay,
        Kind::NetworkDown,
        Kind::Split,
        Kind::Carrier,
        Kind::PowerOff,
        Kind::Blackout,
        Kind::Wipe,
        Kind::Stale,
        Kind::DaemonKill,
        Kind::Pause,
        Kind::Freeze,
        Kind::Slow,
        Kind::SlowDisk,
        Kind::Crash,
        Kind::StartFails,
        Kind::StopHangs,
        Kind::Unkillable,
        Kind::Operator,
        Kind::Configure,
        Kind::Leave,
        Kind::Decision,
        Kind::Media,
        Kind::AllDown,
        Kind::DiskDamage,
        Kind::DiskTrouble,
        Kind::LineNoise,
        Kind::Unplug,
        Kind::Shared,
        Kind::Deaf,
        Kind::Arbiters,
        Kind::ArbiterDown,
        Kind::Fencing,
        Kind::FenceTrouble,
        Kind::Storage,
        Kind::Gateway,
        Kind::Between,
        Kind::Cards,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Drift => "drift",
            Kind::Loss => "loss",
            Kind::Duplication => "duplication",
            Kind::Reordering => "reordering",
            Kind::Corruption => "corruption",
            Kind::Replay => "replay",
            Kind::Delay => "delay",
            Kind::Cut => "cut",
            Kind::OneWay => "one-way",
            Kind::NetworkDown => "network-down",
            Kind::Split => "split",
            Kind::Carrier => "carrier",
            Kind::PowerOff => "power-off",
            Kind::Blackout => "blackout",
            Kind::Wipe => "wipe",
            Kind::Stale => "stale",
            Kind::DaemonKill => "daemon-kill",
            Kind::Pause => "pause",
            Kind::Freeze => "freeze",
            Kind::Slow => "slow",
            Kind::SlowDisk => "slow-disk",
            Kind::Crash => "crash",
            Kind::StartFails => "start-fails",
            Kind::StopHangs => "stop-hangs",
            Kind::Unkillable => "unkillable",
            Kind::Operator => "operator",
            Kind::Configure => "configure",
            Kind::Leave => "leave",
            Kind::Decision => "decision",
            Kind::Media => "media",
            Kind::AllDown => "all-down",
            Kind::DiskDamage => "disk-damage",
            Kind::DiskTrouble => "disk-trouble",
            Kind::LineNoise => "line-noise",
            Kind::Unplug => "unplug",
            Kind::Shared => "shared",
            Kind::Deaf => "deaf",
            Kind::Arbiters => "arbiters",
            Kind::ArbiterDown => "arbiter-down",
            Kind::Fencing => "fencing",
            Kind::FenceTrouble => "fence-trouble",
            Kind::Storage => "storage",
            Kind::Gateway => "gateway",
            Kind::Between => "between",
            Kind::Cards => "cards",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// In how many of a hundred runs it occurs.
    const fn share(self) -> u64 {
        match self {
            Kind::Blackout | Kind::Between => 15,
            Kind::Wipe | Kind::Stale | Kind::Decision => 25,
            Kind::Unkillable => 10,
            Kind::PowerOff | Kind::Split | Kind::Pause | Kind::DaemonKill | Kind::Operator => 50,
            _ => 35,
        }
    }

    /// Whether it makes nodes come, go and forget: what views and fences are about.
    const fn is_stormy(self) -> bool {
        matches!(
            self,
            Kind::Cut
                | Kind::Split
                | Kind::PowerOff
                | Kind::Blackout
                | Kind::Wipe
                | Kind::DaemonKill
                | Kind::Pause
                | Kind::Freeze
                | Kind::SlowDisk
                | Kind::Decision
        )
    }

    /// The most faults of this kind in a run, for kinds that come as single faults.
    const fn most(self) -> u64 {
        match self {
            Kind::Cut | Kind::OneWay | Kind::Split | Kind::Carrier | Kind::Deaf => 5,
            Kind::NetworkDown | Kind::Decision | Kind::ArbiterDown | Kind::Gateway => 3,
            Kind::PowerOff | Kind::Pause | Kind::Freeze | Kind::DaemonKill => 4,
            Kind::Blackout | Kind::Leave => 1,
            Kind::AllDown | Kind::DiskTrouble | Kind::Unplug | Kind::Storage | Kind::Between => 2,
            Kind::Slow | Kind::SlowDisk => 3,
            Kind::Replay => 12,
            Kind::Crash => 6,
            Kind::Operator => 12,
            Kind::Configure => 2,
            _ => 0,
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix(u64);

impl Mix {
    /// The mix of a run. A storm has much of what makes nodes come and go, and little else.
    #[must_use]
    pub fn draw(prng: &mut Prng, is_storm: bool) -> Mix {
        let mut mix = Mix::default();
        // Now and then nearly nothing or nearly everything.
        let scale = prng.range(20..=160);
        for kind in Kind::ALL {
            let share = match (is_storm, kind.is_stormy()) {
                _ if matches!(
                    kind,
                    Kind::Media
                        | Kind::Shared
                        | Kind::Arbiters
                        | Kind::Fencing
                        | Kind::Storage
                        | Kind::Cards
                ) =>
                {
                    25
                }
                (true, true) => 70,
                (true, false) => 8,
                (false, _) => (kind.share() * scale / 100).min(95),
            };
            if prng.chance(share, 100) {
                mix = mix.with(kind);
            }
        }
        mix
    }

    /// Whether the kind is in it.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u64 != 0
    }

    /// The mix and that kind.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Mix {
        Mix(self.0 | 1 << kind as u64)
    }

    /// The mix without that kind.
    #[must_use]
    pub const fn without(self, kind: Kind) -> Mix {
        Mix(self.0 & !(1 << kind as u64))
    }

    /// The kinds in it.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Of which kind.
    pub kind: Kind,
    /// Real time at which it begins.
    pub at: u64,
    /// How long it lasts; what that means depends on the kind.
    pub lasts: u64,
    /// The machine that it strikes; drawn when none.
    pub machine: Option<usize>,
    /// The network that it strikes; drawn when none.
    pub network: Option<usize>,
    /// Everything else about it is drawn from here.
    pub prng: Prng,
}

/// The single faults of a run, each kind from a generator of its own.
#[must_use]
pub fn schedule(
    prng: &Prng,
    mix: Mix,
    is_storm: bool,
    times: RangeInclusive<u64>,
    unit: u64,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for kind in mix.kinds().filter(|kind| kind.most() > 0) {
        let own = prng.child(kind.name());
        let mut prng = own.clone();
        let count = prng.range(1..=kind.most() * if is_storm { 2 } else { 1 });
        for number in 0..count {
            let mut at = prng.range(times.clone());
            if kind == Kind::Decision && number == 0 && prng.chance(1, 2) {
                // The decision to form a view comes before everything else.
                at = 0;
            }
            faults.push(Fault {
                kind,
                at,
                lasts: lasts(&mut prng, unit),
                machine: None,
                network: None,
                prng: own.child(&number.to_string()),
            });
        }
    }
    faults
}

/// From a fraction of the time in which a peer is lost to many times that; mostly around it.
fn lasts(prng: &mut Prng, unit: u64) -> u64 {
    match prng.range(0..=9) {
        0..=1 => prng.range(0..=unit / 2),
        2..=5 => prng.range(unit / 2..=unit * 3),
        6..=8 => prng.range(unit..=unit * 10),
        _ => prng.range(unit * 5..=unit * 30),
    }
}
