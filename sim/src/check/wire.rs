//! Rules about datagrams and paths.

use base::{Incarnation, Instant};

use crate::machine::{Daemon, Machine};
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
    machine: usize,
    peer: usize,
    stopped_at: u64,
) -> Result<(), String> {
    let carriers = (0..wires.count()).all(|network| wires.has_carrier(network, machine));
    let well = setup.unit.saturating_sub(nanos(setup.timing.heartbeat_high) * 3);
    let silence = stopped_at.saturating_sub(wires.last_exchange(machine, peer));
    if carriers && silence < well {
        return Err(format!("{} declares {} lost", node_id(machine), node_id(peer)));
    }
    Ok(())
}

/// (15) A peer counts as connected only while datagrams arrive in both directions on one network.
pub fn a_connected_peer_is_heard_and_hears(
    wires: &Wires,
    setup: &Setup,
    machine: &Machine,
    daemon: &Daemon,
    now: u64,
) -> Result<(), String> {
    let interval = nanos(setup.timing.heartbeat_low);
    // The patient clock of a loop that was late lately has not seen all that time.
    let most = setup.unit * 2 + interval * 4;
    let is_punctual = machine.lateness <= LATENESS
        && !daemon.is_paused
        && !daemon.was_paused
        && now.saturating_sub(machine.calm_since) > most;
    if !is_punctual {
        return Ok(());
    }
    for peer in daemon.node.transport().row() {
        let peer = machine_of(peer);
        let exchanged = wires.last_exchange(machine.number, peer);
        if now.saturating_sub(exchanged) > most {
            return Err(format!(
                "{} is connected to {}, but they have exchanged nothing since {}",
                machine.node(),
                node_id(peer),
                Stamp(exchanged)
            ));
        }
    }
    Ok(())
}
