//! What has to be true of a cluster when something breaks, measured by the outside client.
//!
//! Each scenario starts from a quiet cluster, breaks one thing on the active node, repairs it, waits
//! until the cluster is quiet again, and gives figures with the reasons why they are not good
//! enough, if any.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;

mod cards;
mod fences;
mod frozen;
mod gate;
mod guardless;
mod interfaces;
mod many;
mod media;
mod preferences;
mod replaced;
mod selective;
mod sizes;
mod storm;
mod wrongs;

use self::cards::How;
use self::gate::Gate;
use crate::api;
use crate::census::Census;
use crate::clock::{self, milliseconds};
use crate::device;
use crate::lab::{Lab, Which};
use crate::many::Many;
use crate::scene::{PATIENCE, Scene, Seen};
use crate::spec::{self, Spec};
use crate::switch::Silence;
use crate::trace::Verdict;
use crate::wait;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// After a fault the service answers elsewhere within this time.
    pub takeover: Duration,
    /// A wished move is an outage of less than this.
    pub wished_move: Duration,
    /// Between two heartbeats: what is wrong is named within two.
    pub interval: Duration,
}

impl Limits {
    /// The acceptance criteria are those of `fast`; a slower preset frees a lost node's services
    /// later (its F), and gets twice that.
    pub fn of(detection: &str) -> Self {
        let takeover = match detection {
            "normal" => Duration::from_secs(6),
            "classic" => Duration::from_secs(45),
            _ => Duration::from_secs(2),
        };
        let interval = match detection {
            "ultra" => 20,
            "fast" => 50,
            "normal" => 200,
            _ => 500,
        };
        let (wished_move, interval) = (Duration::from_millis(100), Duration::from_millis(interval));
        Self { takeover, wished_move, interval }
    }
}

/// How long a stopped daemon stays stopped.
pub const STOPPED: Duration = Duration::from_secs(10);
/// How long nothing may happen when nothing should.
const WATCH: Duration = Duration::from_secs(3);

/// One of so many last probes must be answered, else nobody has the service at the end.
const LAST_PROBES: u64 = 40;

/// What to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One network of the active node, one that the client does not use.
    CutOneNetwork,
    /// The network of the active node that its service needs; another one is left.
    ServiceNetwork,
    /// That network of all nodes for 3 s: the switch is off.
    SwitchOff,
    /// All networks of the active node.
    CutAllNetworks,
    /// Between the active node and the others, who all stay in touch with those outside: the
    /// client and the observer would see a second owner.
    Partition,
    /// SIGSTOP of the daemon for 10 s.
    StopDaemon,
    /// SIGSTOP of daemon and guard for 10 s.
    StopDaemonAndGuard,
    /// SIGSTOP of everything on the active node at once; then it is cut off from the others, but not
    /// from those outside.
    FrozenOwner,
    /// SIGSTOP of the guard; 3 s later the active node is cut off from the others.
    StopGuard,
    /// The active node is cut off from the others, and its guard is killed at once.
    KillGuard,
    /// kill -9 of the daemon.
    KillDaemon,
    /// No power for the active node.
    PowerOff,
    /// A wished move to another node.
    Move,
    /// All cables of all nodes for 10 s; the nodes share a disk.
    DiskOnly,
    /// All cables of both nodes for 10 s; there is a serial line between them.
    LineOnly,
    /// One cable of one node after the other, for 30 s.
    PulledCables,
    /// One direction between two nodes, for each of them on each network and line.
    OneWay,
    /// The shared file answers nothing for 10 s; the networks are fine, and so is a second disk.
    DiskFrozen,
    /// Frames replayed, cut, flipped and forged at line rate by a stranger on two networks.
    Storm,
    /// Datagrams of noise for the daemons' port at line rate on one of two networks.
    Flood,
    /// Such a flood at all nodes but the active one, which loses its power.
    FloodedTakeover,
    /// A machine with another key, another cluster's number, or another node's number comes up.
    NamedWrongs,
    /// The active node is cut off and keeps its lease for long; one fence agent after the other fails in
    /// its own way, and the next one really ends the machine.
    FenceRungs,
    /// Fence agents are checked, and a node in standby is reset, turned off and on by hand.
    FenceByHand,
    /// Interfaces are set down, renamed and taken out, and addresses removed, on a node that is not
    /// active; then all is as before.
    Interfaces,
    /// MTUs of 576 to 65,520 bytes, the same everywhere and others on each node; a node joins and a
    /// large configuration is agreed under each.
    Sizes,
    /// The cable of the active node's primary card; there is a standby.
    LocalSwitch,
    /// The same in a cluster of one node.
    LocalSwitchAlone,
    /// Both cards of all nodes for 3 s: the switch is dead.
    SwitchDead,
    /// Both cards of the active node, one after the other; another service needs another network.
    BothCards,
    /// The active node loses its power with 200 addresses of 30 services.
    ManyAddresses,
    /// The same with 1,000 of 500.
    ThousandAddresses,
    /// The active node's primary card loses all frames and keeps its carrier; there is a standby.
    SilentFailure,
    /// It loses those that it should receive; two more cards prove that there are some.
    DeafCard,
    /// The same where only failures of both directions are looked for.
    DeafCardInout,
    /// Both cards of the active node lose all frames and keep their carriers.
    NetworkDown,
    /// The active node loses its power; the service address takes the place of boot addresses.
    Replacement,
    /// The same with a hardware address that goes along.
    HardwareAddress,
    /// Two cards of each node share addresses out by one distribution after the other; cards fail and return.
    Preferences,
}

impl Scenario {
    /// All, in the order of the acceptance criteria.
    pub const ALL: [Self; 39] = [
        Self::CutOneNetwork,
        Self::ServiceNetwork,
        Self::SwitchOff,
        Self::CutAllNetworks,
        Self::Partition,
        Self::StopDaemon,
        Self::StopDaemonAndGuard,
        Self::FrozenOwner,
        Self::StopGuard,
        Self::KillGuard,
        Self::KillDaemon,
        Self::PowerOff,
        Self::Move,
        Self::DiskOnly,
        Self::LineOnly,
        Self::PulledCables,
        Self::OneWay,
        Self::DiskFrozen,
        Self::Storm,
        Self::Flood,
        Self::FloodedTakeover,
        Self::NamedWrongs,
        Self::FenceRungs,
        Self::FenceByHand,
        Self::Interfaces,
        Self::Sizes,
        Self::LocalSwitch,
        Self::LocalSwitchAlone,
        Self::SwitchDead,
        Self::BothCards,
        Self::ManyAddresses,
        Self::ThousandAddresses,
        Self::SilentFailure,
        Self::DeafCard,
        Self::DeafCardInout,
        Self::NetworkDown,
        Self::Replacement,
        Self::HardwareAddress,
        Self::Preferences,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CutOneNetwork => "cut-one-network",
            Self::ServiceNetwork => "service-network",
            Self::SwitchOff => "switch-off",
            Self::CutAllNetworks => "cut-all-networks",
            Self::Partition => "partition",
            Self::StopDaemon => "stop-daemon",
            Self::StopDaemonAndGuard => "stop-daemon-and-guard",
            Self::FrozenOwner => "frozen-owner",
            Self::StopGuard => "stop-guard",
            Self::KillGuard => "kill-guard",
            Self::KillDaemon => "kill-daemon",
            Self::PowerOff => "power-off",
            Self::Move => "move",
            Self::DiskOnly => "disk-only",
            Self::LineOnly => "line-only",
            Self::PulledCables => "pulled-cables",
            Self::OneWay => "one-way",
            Self::DiskFrozen => "disk-frozen",
            Self::Storm => "storm",
            Self::Flood => "flood",
            Self::FloodedTakeover => "flooded-takeover",
            Self::NamedWrongs => "named-wrongs",
            Self::FenceRungs => "fence-rungs",
            Self::FenceByHand => "fence-by-hand",
            Self::Interfaces => "interfaces",
            Self::Sizes => "sizes",
            Self::LocalSwitch => "local-switch",
            Self::LocalSwitchAlone => "local-switch-alone",
            Self::SwitchDead => "switch-dead",
            Self::BothCards => "both-cards",
            Self::ManyAddresses => "many-addresses",
            Self::ThousandAddresses => "thousand-addresses",
            Self::SilentFailure => "silent-failure",
            Self::DeafCard => "deaf-card",
            Self::DeafCardInout => "deaf-card-inout",
            Self::NetworkDown => "network-down",
            Self::Replacement => "replacement",
            Self::HardwareAddress => "hardware-address",
            Self::Preferences => "preferences",
        }
    }

    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// How often the acceptance criteria ask for it.
    pub fn repetitions(self) -> u32 {
        match self {
            Self::KillDaemon => 20,
            Self::FenceRungs => fences::RUNGS.len() as u32,
            _ => 1,
        }
    }

    /// How often it is played in one lab: a node that gets lost again and again is let in later and
    /// later, and so is a card that fails again and again, which is right, and not what is measured.
    pub fn in_one_lab(self) -> u32 {
        match self {
            Self::FrozenOwner => 8,
            Self::LocalSwitch | Self::LocalSwitchAlone | Self::BothCards => 1,
            Self::SilentFailure | Self::DeafCard | Self::NetworkDown | Self::Preferences => 1,
            _ => u32::MAX,
        }
    }

    /// The lab that it is played in.
    ///
    /// # Errors
    /// As [`Spec::new`].
    pub fn spec(self) -> Result<Spec> {
        Ok(match self {
            Self::LineOnly => Spec { ethernet: vec![1], lines: vec![(1, 2)], ..Spec::new(2, 2)? },
            Self::DiskOnly | Self::PulledCables | Self::OneWay | Self::DiskFrozen => Spec {
                ethernet: vec![1],
                disk: true,
                device: device::is_possible(),
                lines: vec![(1, 2)],
                ..Spec::new(3, 2)?
            },
            Self::Storm => {
                Spec { ethernet: vec![2], stranger_networks: vec![1, 2], ..Spec::new(3, 3)? }
            }
            Self::Sizes => Spec { stranger_networks: vec![0, 1], ..Spec::new(3, 2)? },
            Self::Interfaces => Spec { ethernet: vec![2], ..Spec::new(3, 3)? },
            Self::NamedWrongs => {
                Spec { ethernet: vec![1], stranger_networks: vec![0], ..Spec::new(3, 2)? }
            }
            Self::FrozenOwner => Spec { ipv6: true, ..Spec::new(3, 2)? },
            Self::Flood | Self::FloodedTakeover => {
                Spec { stranger_networks: vec![1], ..Spec::new(3, 2)? }
            }
            Self::LocalSwitch => Spec { standbys: true, ipv6: true, ..Spec::new(2, 2)? },
            Self::LocalSwitchAlone => Spec { standbys: true, ipv6: true, ..Spec::new(1, 1)? },
            Self::SwitchDead => Spec { standbys: true, ..Spec::new(3, 2)? },
            Self::SilentFailure | Self::DeafCard | Self::DeafCardInout => {
                Spec { standbys: true, ..Spec::new(2, 2)? }
            }
            Self::BothCards | Self::NetworkDown | Self::Preferences => {
                Spec { standbys: true, client_networks: vec![0, 1], ..Spec::new(2, 2)? }
            }
            _ => Spec::new(3, 2)?,
        })
    }

    /// Whether the service is meant to be elsewhere afterwards.
    fn moves(self) -> bool {
        match self {
            Self::CutOneNetwork | Self::SwitchOff | Self::KillDaemon => false,
            Self::DiskOnly | Self::LineOnly | Self::PulledCables | Self::OneWay => false,
            Self::DiskFrozen | Self::Storm | Self::Flood | Self::NamedWrongs => false,
            Self::Interfaces | Self::Sizes | Self::FenceByHand => false,
            Self::LocalSwitch | Self::LocalSwitchAlone | Self::SwitchDead => false,
            Self::SilentFailure | Self::DeafCard | Self::DeafCardInout => false,
            Self::Preferences => false,
            Self::CutAllNetworks | Self::Partition | Self::Move | Self::PowerOff => true,
            Self::StopDaemon | Self::StopDaemonAndGuard | Self::FrozenOwner => true,
            Self::StopGuard | Self::KillGuard => true,
            Self::FloodedTakeover | Self::FenceRungs | Self::ServiceNetwork => true,
            Self::BothCards | Self::NetworkDown => true,
            Self::ManyAddresses | Self::ThousandAddresses => true,
            Self::Replacement | Self::HardwareAddress => true,
        }
    }

    /// No guard of ours runs on the active node meanwhile.
    fn stops_the_guard(self) -> bool {
        use Scenario::*;
        matches!(self, StopDaemonAndGuard | FrozenOwner | StopGuard | KillGuard)
    }

    /// Where processes run is looked at meanwhile: where a node that is not heard goes on to run, and its guard
    /// too.
    fn counts_processes(self) -> bool {
        use Scenario::*;
        matches!(
            self,
            CutAllNetworks
                | Partition
                | StopDaemon
                | StopDaemonAndGuard
                | StopGuard
                | KillGuard
                | FenceRungs
                | Move
        )
    }

    /// A lab for it, with a cluster that has formed.
    ///
    /// # Errors
    /// As [`Scene::form`].
    pub fn form(self, detection: &str) -> Result<Scene> {
        let mut lab = Lab::new(self.spec()?)?;
        let (scene, _) = match self {
            Self::FenceRungs | Self::FenceByHand => {
                let directory = fences::furnish(&lab)?;
                Scene::form_with(lab, detection, |cluster| fences::adapt(cluster, &directory))?
            }
            Self::BothCards | Self::NetworkDown => {
                let other = cards::service(&lab)?;
                Scene::form_with(lab, detection, |cluster| {
                    cluster.services.push(other);
                    if self == Self::NetworkDown {
                        cards::polled(cluster, "inout");
                    }
                    Ok(())
                })?
            }
            Self::SilentFailure | Self::DeafCard | Self::DeafCardInout => {
                Scene::form_with(lab, detection, |cluster| {
                    let found = if self == Self::DeafCard { "inonly-or-inout" } else { "inout" };
                    cards::polled(cluster, found);
                    Ok(())
                })?
            }
            Self::Replacement | Self::HardwareAddress => {
                Scene::form_with(lab, detection, |cluster| {
                    replaced::adapt(cluster, self == Self::HardwareAddress);
                    Ok(())
                })?
            }
            Self::Preferences => {
                preferences::furnish(&mut lab)?;
                let service = preferences::service(&lab)?;
                Scene::form_with(lab, detection, |cluster| {
                    preferences::adapt(cluster, service);
                    Ok(())
                })?
            }
            Self::ManyAddresses => many::form(lab, detection, Many::SEED)?,
            Self::ThousandAddresses => many::form(lab, detection, Many::LIMIT)?,
            _ => Scene::form(lab, detection)?,
        };
        Ok(scene)
    }

    /// Plays it once. The cluster is quiet before and after.
    ///
    /// # Errors
    /// When the scenario cannot be played to its end: no figures then.
    pub fn run(self, scene: &mut Scene) -> Result<Figure> {
        let active = scene.wait_until_quiet()?;
        let gate = self.stops_the_guard().then(|| Gate::of(scene, &active)).transpose()?;
        let census = self.counts_processes().then(Census::start).transpose()?;
        let outcome = match self {
            Self::CutOneNetwork => cut_one_network(scene, &active).map(Played::from),
            Self::ServiceNetwork => selective::service_network(scene, &active),
            Self::SwitchOff => selective::switch_off(scene),
            Self::CutAllNetworks => cut_all_networks(scene, &active).map(Played::from),
            Self::Partition => partition(scene, &active).map(Played::from),
            Self::StopDaemon => stop(scene, &active, Which::Daemon).map(Played::from),
            Self::StopDaemonAndGuard => stop(scene, &active, Which::Both).map(Played::from),
            Self::FrozenOwner => {
                let must_close = gate.as_ref().is_some_and(Gate::must_close);
                frozen::frozen_owner(scene, &active, must_close)
            }
            Self::StopGuard => guardless::stopped(scene, &active).map(Played::from),
            Self::KillGuard => guardless::killed(scene, &active).map(Played::from),
            Self::KillDaemon => kill_daemon(scene, &active).map(Played::from),
            Self::PowerOff => power_off(scene, &active).map(Played::from),
            Self::Move => wished_move(scene, &active).map(Played::from),
            Self::DiskOnly | Self::LineOnly => media::isolated(scene, &active),
            Self::PulledCables => media::pulled_cables(scene, &active),
            Self::OneWay => media::one_way(scene),
            Self::DiskFrozen => media::disk_frozen(scene),
            Self::Storm => storm::storm(scene),
            Self::Flood => storm::flood(scene, &active),
            Self::FloodedTakeover => storm::flooded_takeover(scene, &active),
            Self::NamedWrongs => wrongs::named(scene, &active),
            Self::FenceRungs => fences::next_rung(scene, &active),
            Self::FenceByHand => fences::by_hand(scene, &active),
            Self::Interfaces => interfaces::come_and_go(scene, &active),
            Self::Sizes => sizes::sizes(scene, &active),
            Self::LocalSwitch | Self::LocalSwitchAlone => {
                cards::local_switch(scene, &active, How::Cable)
            }
            Self::SilentFailure => cards::local_switch(scene, &active, How::Silent(Silence::Both)),
            Self::DeafCard => cards::local_switch(scene, &active, How::Silent(Silence::In)),
            Self::DeafCardInout => cards::deaf_in_peace(scene, &active),
            Self::SwitchDead => cards::switch_dead(scene, &active),
            Self::BothCards => cards::both_cards(scene, &active, How::Cable),
            Self::NetworkDown => cards::both_cards(scene, &active, How::Silent(Silence::Both)),
            Self::Replacement => replaced::taken_over(scene, &active, false),
            Self::HardwareAddress => replaced::taken_over(scene, &active, true),
            Self::Preferences => preferences::shown(scene),
            Self::ManyAddresses => many::power_off(scene, &active, Many::SEED),
            Self::ThousandAddresses => many::power_off(scene, &active, Many::LIMIT),
        };
        let mut played = outcome.with_context(|| format!("{} of {active}", self.name()))?;
        if let Some(census) = census {
            played.complaints.extend(census.stop()?.complaints());
        }
        if let Some(gate) = gate {
            gate.tell(&active, &mut played);
        }
        Ok(Figure::judge(self, active, &played, scene.limits))
    }
}

/// What was seen while a scenario was played, and what is needed to judge it.
#[derive(Debug, Clone)]
struct Played {
    seen: Seen,
    /// Times (since boot) during which the client could not reach the active node: what is lost
    /// then is the scenario's doing.
    excused: Vec<(Duration, Duration)>,
    /// The kernel must close the address of the active node by itself: see [`gate`].
    must_close: bool,
    /// What was wrong beside what the client saw.
    complaints: Vec<String>,
    /// Further figures, for people.
    notes: Vec<String>,
}

impl From<Seen> for Played {
    fn from(seen: Seen) -> Self {
        let must_close = false;
        Self { seen, excused: Vec::new(), must_close, complaints: Vec::new(), notes: Vec::new() }
    }
}

/// What was measured once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was broken.
    pub scenario: Scenario,
    /// The node that was active before.
    pub from: String,
    /// The node that was active after.
    pub to: Option<String>,
    /// From the last answer of the old one to the first of the new one, milliseconds; `None` if
    /// nothing moved.
    pub outage_milliseconds: Option<f64>,
    /// All verdicts on what the client saw.
    pub verdict: Verdict,
    /// All verdicts on who answered ARP requests for the address.
    pub owners: Verdict,
    /// Further figures, as sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why this is not good enough; empty if it is.
    pub failures: Vec<String>,
}

impl Figure {
    /// Compares what was seen with what must be.
    fn judge(scenario: Scenario, from: String, played: &Played, limits: Limits) -> Self {
        let seen = &played.seen;
        let (verdict, owners) = (seen.answers.verdict(), seen.owners.verdict());
        let seen = &seen.answers;
        let mut failures = played.complaints.clone();
        let mut demand = |holds: bool, text: String| {
            if !holds {
                failures.push(text);
            }
        };
        // Silence at the end is nobody, whoever answered before it.
        let recent = seen.is_answered_of(LAST_PROBES);
        let to = seen.last_responder().filter(|_| recent).map(str::to_owned);
        let moves = scenario.moves();
        let outage = verdict.changes.first().map(|change| change.milliseconds);
        if moves {
            let wished = scenario == Scenario::Move;
            let limit = match scenario {
                _ if wished => limits.wished_move,
                Scenario::FenceRungs => limits.takeover + fences::BUDGET * 2,
                Scenario::NetworkDown => limits.takeover + cards::FOUND,
                // One machine plays all nodes, and the flood beside them.
                Scenario::FloodedTakeover => limits.takeover * 3 / 2,
                _ => limits.takeover,
            };
            let within = outage.is_some_and(|outage| outage < milliseconds(limit));
            let taken = outage.map_or("never".to_owned(), |outage| format!("after {outage:.0} ms"));
            let limit = limit.as_millis();
            demand(within, format!("another node answered {taken}, the limit is {limit} ms"));
        } else {
            let pids = verdict.pids.get(&from).map_or(0, |pids| pids.len());
            demand(verdict.changes.is_empty(), "the service moved".to_owned());
            let lost = seen.lost_outside(&played.excused);
            // Where among the excused times the first one was: at which end a fault is not over.
            let since = |at: &Duration| {
                let ends = played.excused.iter().flat_map(|(from, to)| [*from, *to]);
                let before = ends.filter(|end| end <= at).max().unwrap_or_default();
                format!(", the first {:.0} ms after a change", milliseconds(*at - before))
            };
            let first = lost.first().filter(|_| !played.excused.is_empty()).map(since);
            let first = first.unwrap_or_default();
            demand(lost.is_empty(), format!("{} probes had no answer{first}", lost.len()));
            demand(pids == 1, format!("{pids} processes answered instead of one"));
        }
        // No guard of ours removes an address there: if the node's kernel does not close it either, the
        // overlap is a figure.
        if played.must_close || !scenario.stops_the_guard() {
            let late = verdict.late_answers;
            demand(late == 0, format!("{late} answers of a second owner"));
            let changes = verdict.changes.len();
            demand(changes <= 1, format!("it moved {changes} times"));
            let twice = verdict.answered_twice;
            demand(twice == 0, format!("{twice} probes were answered twice"));
            let late = owners.late_answers;
            demand(late == 0, format!("{late} ARP replies of a second owner of the address"));
            // A hardware address that goes along has one name on all nodes.
            let (twice, whose) = match scenario {
                Scenario::HardwareAddress => (owners.surplus, "two stations"),
                _ => (owners.contested, "different nodes"),
            };
            demand(twice == 0, format!("{twice} ARP requests were answered by {whose}"));
        }
        let ends_elsewhere = to.as_ref().is_some_and(|to| (*to != from) == moves);
        demand(
            ends_elsewhere,
            format!("at the end {} answered", to.as_deref().unwrap_or("nobody")),
        );
        let notes = played.notes.clone();
        Self { scenario, from, to, outage_milliseconds: outage, verdict, owners, notes, failures }
    }

    /// True when nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    /// The figures in one line.
    pub fn sentence(&self) -> String {
        let (sent, lost) = (self.verdict.sent, self.verdict.lost);
        let what = match (&self.to, self.outage_milliseconds) {
            (Some(to), Some(outage)) => {
                format!("{} -> {to}, outage {outage:.0} ms", self.from)
            }
            _ => format!("stays on {}", self.from),
        };
        let late = self.verdict.late_answers;
        let mut text = format!("{what}; {sent} probes, {lost} lost, {late} late answers");
        let overlap = self.owners.overlap_milliseconds;
        for note in &self.notes {
            text += &format!("; {note}");
        }
        if self.owners.late_answers > 0 {
            text += &format!("; two nodes had the address for {overlap:.0} ms");
        }
        text
    }
}

fn cut_one_network(scene: &mut Scene, active: &str) -> Result<Seen> {
    let used = scene.lab.spec().client_networks.clone();
    let networks = scene.lab.spec().networks;
    let free = (0..networks).find(|network| !used.contains(network));
    let network = spec::network_name(free.context("it needs a network without the client")?);
    let start = clock::now();
    scene.lab.cut(active, &network)?;
    wait_for_dead_paths(scene, active, &network)?;
    clock::pause(WATCH);
    scene.lab.heal(active, &network)?;
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

/// The cut must be noticed, else "nothing moves" would prove nothing.
fn wait_for_dead_paths(scene: &Scene, node: &str, network: &str) -> Result<()> {
    let outcome = wait::until(&format!("{node} to see {network} dead"), PATIENCE, || {
        let Some(status) = scene.status(node) else { return Ok(None) };
        let mut paths = status.paths.iter().filter(|path| path.network == network).peekable();
        let dead = paths.peek().is_some() && paths.all(|path| path.state == "dead");
        Ok(dead.then_some(()))
    });
    scene.explain(outcome)
}

fn cut_all_networks(scene: &mut Scene, active: &str) -> Result<Seen> {
    let networks: Vec<String> = (0..scene.lab.spec().networks).map(spec::network_name).collect();
    let start = clock::now();
    for network in &networks {
        scene.lab.cut(active, network)?;
    }
    scene.wait_for_another(active, PATIENCE)?;
    clock::pause(WATCH);
    for network in &networks {
        scene.lab.heal(active, network)?;
    }
    scene.wait_for_all()?;
    clock::pause(WATCH);
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

fn partition(scene: &mut Scene, active: &str) -> Result<Seen> {
    let names = scene.lab.node_names();
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != active).collect();
    let start = clock::now();
    scene.lab.partition(&[active], &others)?;
    scene.wait_for_another(active, PATIENCE)?;
    clock::pause(WATCH);
    scene.lab.heal_all()?;
    scene.wait_for_all()?;
    clock::pause(WATCH);
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

fn stop(scene: &mut Scene, active: &str, which: Which) -> Result<Seen> {
    let start = clock::now();
    scene.lab.stop(active, which)?;
    let taken = scene.wait_for_another(active, PATIENCE);
    clock::pause((start + STOPPED).saturating_sub(clock::now()));
    scene.lab.cont(active, which)?;
    taken?;
    scene.wait_for_all()?;
    clock::pause(WATCH);
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

fn kill_daemon(scene: &mut Scene, active: &str) -> Result<Seen> {
    let start = clock::now();
    let before = scene.status(active).context("the active node gives no status")?;
    scene.lab.kill(active, Signal::KILL, Which::Daemon)?;
    let again = wait::until("the daemon to be a member again", PATIENCE, || {
        let status = scene.status(active);
        let back = |status: &api::Status| {
            status.node.state == "member" && status.node.incarnation != before.node.incarnation
        };
        Ok(status.filter(back).map(drop))
    });
    scene.explain(again)?;
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

fn power_off(scene: &mut Scene, active: &str) -> Result<Seen> {
    let start = clock::now();
    scene.lab.power_off(active)?;
    scene.wait_for_another(active, PATIENCE)?;
    scene.wait_until_quiet()?;
    scene.lab.power_on(active)?;
    scene.lab.start(active)?;
    scene.wait_for_all()?;
    clock::pause(WATCH);
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

fn wished_move(scene: &mut Scene, active: &str) -> Result<Seen> {
    let other = scene.another_than(active)?;
    let start = clock::now();
    scene.command("move", Some(&other))?;
    scene.wait_for_another(active, PATIENCE)?;
    scene.wait_until_quiet()?;
    scene.seen_since(start)
}

/// Median, smallest and largest of a figure, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are smaller.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

/// The spread of the outages of several figures; `None` if nothing moved in any.
pub fn outages(figures: &[Figure]) -> Option<Spread> {
    let mut list: Vec<f64> =
        figures.iter().filter_map(|figure| figure.outage_milliseconds).collect();
    list.sort_unstable_by(f64::total_cmp);
    let (least, most) = (*list.first()?, *list.last()?);
    let middle = list.len() / 2;
    let median =
        if list.len() % 2 == 1 { list[middle] } else { (list[middle - 1] + list[middle]) / 2.0 };
    Some(Spread { median, least, most })
}

/// Figures of one scenario as JSON, with their spread.
pub fn report(scenario: Scenario, figures: &[Figure]) -> serde_json::Value {
    json!({
        "schema": 1,
        "scenario": scenario,
        "good": figures.iter().all(Figure::is_good),
        "outage_milliseconds": outages(figures),
        "figures": figures,
    })
}

#[cfg(test)]
mod tests;
