//! Which disks a former life of the daemon has left reserved.
//!
//! A resource that was started (module `records`) counts as there when all of its disks are this node's, in
//! use. Where that cannot be said, or is true of some only, it counts as there and broken, so that all that
//! came after it in the service is stopped first. What is mounted from disks that are this node's no more must not go on either: others
//! may have written to them meanwhile, and what this machine remembers of them is old.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::super::writers::question;
use super::{Keys, disks, steps};
use os::process::Containment;

/// Disks that have not answered for so long are not known.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What is left of a reservation.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Left {
    /// No disk is this node's, as far as they say.
    Nothing,
    /// All disks are.
    Held,
    /// It cannot be said, or is true of some, and why.
    Unknown(String),
}

/// Looks for what is left of each reservation, given as service and resource; not longer than it takes to
/// ask one disk. `program` is the one that runs as [`question`].
///
/// # Errors
/// When no process can be started, or the kernel does not say what runs.
pub(in crate::daemon) fn look_all(
    program: &Path,
    containment: &Containment,
    keys: &Keys,
    all: &[(&str, &engine::Resource)],
) -> std::io::Result<Vec<Left>> {
    let ask = |disk: &Path| {
        let mut command = question::ask(program, "reservation", disk);
        command.stdout(Stdio::piped()).spawn()
    };
    let mut asked: Vec<Vec<Child>> = Vec::new();
    for (_, resource) in all {
        asked.push(disks(&resource.kind).iter().map(|disk| ask(disk)).collect::<Result<_, _>>()?);
    }
    let until = os::clock::boottime() + ANSWER_MAX;
    let mut left = Vec::new();
    for ((service, resource), children) in all.iter().zip(asked) {
        let mut held = Vec::new();
        for child in children {
            let answer = question::answer(child, until)?.filter(|(status, _)| status.success());
            let state = answer.and_then(|(_, said)| question::state(&said));
            held.push(state.map(|state| steps::is_held(&state, keys)));
        }
        left.push(match containment.is_empty(service, Some(&resource.name))? {
            true => judge(&held),
            false => Left::Unknown("what was to take or give up its disks still runs".to_owned()),
        });
    }
    Ok(left)
}

/// What follows from whether each disk is this node's; none when it has not said.
pub(super) fn judge(held: &[Option<bool>]) -> Left {
    let count = |answer| held.iter().filter(|held| **held == answer).count();
    match (count(Some(true)), count(None)) {
        (mine, 0) if mine == held.len() => Left::Held,
        (0, 0) => Left::Nothing,
        (_, 0) => Left::Unknown("some of its disks are reserved and some are not".to_owned()),
        _ => Left::Unknown("not all of its disks say whose they are".to_owned()),
    }
}
