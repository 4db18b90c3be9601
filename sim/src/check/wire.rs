//! Rules about datagrams and paths.

use base::{Incarnation, Instant, Medium};

use crate::machine::{Daemon, Exchange, Machine};
use crate::setup::{Setup, machine_of, nanos, node_id};
use crate::wires::Wires;
use crate::world::{LATENESS, Stamp};

type Heard = Option<(Incarnation, Instant)>;

/// (22) A datagram that came before, or in which a bit is flipped, changes nothing but counters.
pub fn a_copied_or_broken_datagram_changes_nothing(
    (before, after): (Heard, Heard),
    output: Option<&node::Output>,
) -> Result<(), String> {
    if before != after {
        return Err("its sender counts as heard".to_owned());
    }
    match output {
        Some(output) => Err(format!("it led to {output:?}")),
        None => Ok(()),
    }
}

/// (16) Whoever was stopped has heard nothing, and that is nobody else's fault: a peer that was
/// well when the loop stopped is not lost when it goes on.
pub fn a_paused_node_declares_nobody_lost_in_its_first_turn(
    wires: &Wires,
    setup: &Setup,
    (machine, peer): (usize, usize),
    stopped_at: u64,
    exchanged: &[Exchange],
) -> Result<(), String> {
    let timing = &setup.timing;
    let well = |medium| match medium {
        Medium::Network => setup.unit.saturating_sub(nanos(timing.heartbeat_high) * 3),
        // What comes from a disk or a line may be old already.
        Medium::Disk | Medium::Serial => nanos(timing.timeout(medium)) / 4,
    };
    let was_well = |exchange: &Exchange| {
        let since = stopped_at.saturating_sub(well(exchange.medium));
        exchange.peer == peer
            && exchange.at > since
            && !wires.lost_carrier_since(exchange.network, machine, since)
    };
    if exchanged.iter().any(was_well) {
        return Err(format!("{} declares {} lost", node_id(machine), node_id(peer)));
    }
    Ok(())
}

/// (15) A peer counts as connected only while frames arrive in both directions on one medium.
pub fn a_connected_peer_is_heard_and_hears(
    wires: &Wires,
    setup: &Setup,
    machine: &Machine,
    daemon: &Daemon,
    now: u64,
) -> Result<(), String> {
    let timing = &setup.timing;
    let most = |medium: Medium| {
        nanos(timing.timeout(medium)) * 2 + nanos(timing.interval(medium, false)) * 4
    };
    // The patient clock of a loop that was late lately has not seen all that time.
    let longest = wires.media().map(most).max().unwrap_or(0);
    let is_punctual = machine.lateness <= LATENESS
        && !daemon.is_paused
        && daemon.was_paused.is_none()
        && now.saturating_sub(machine.calm_since) > longest;
    if !is_punctual {
        return Ok(());
    }
    for peer in daemon.node.transport().row() {
        let peer = machine_of(peer);
        let is_recent = |(medium, at): (Medium, u64)| now.saturating_sub(at) <= most(medium);
        if !wires.exchanges(machine.number, peer).any(is_recent) {
            let last = wires.exchanges(machine.number, peer).map(|(_, at)| at).max();
            return Err(format!(
                "{} is connected to {}, but they have exchanged nothing since {}",
                machine.node(),
                node_id(peer),
                Stamp(last.unwrap_or(0))
            ));
        }
    }
    Ok(())
}
