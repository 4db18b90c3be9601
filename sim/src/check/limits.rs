//! Rules about bounds.

use crate::machine::Daemon;
use crate::setup::Setup;

/// Messages of a later view that wait, at most.
const EARLY_MAX: usize = 1_024;
/// Entries that are ordered and not delivered, at most.
const UNDELIVERED_MAX: usize = 512;

/// (I9, 21) No queue inside a node grows beyond its limit. Ends of absences are submitted besides
/// what users submit, one for each node at most.
pub fn queues_stay_bounded(daemon: &Daemon, setup: &Setup) -> Result<(), String> {
    let queues = daemon.node.group().queues();
    let submissions = group::SUBMISSIONS_MAX + setup.nodes;
    let bounds = [
        ("submissions", queues.submissions, submissions),
        ("early messages", queues.early, EARLY_MAX),
        ("undelivered entries", queues.undelivered, UNDELIVERED_MAX),
        ("unordered entries", queues.unordered, submissions * 2 * setup.nodes),
    ];
    match bounds.into_iter().find(|(_, length, most)| length > most) {
        Some((what, length, most)) => Err(format!("{length} {what}, at most {most}")),
        None => Ok(()),
    }
}
