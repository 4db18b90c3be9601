//! What a former life of the daemon left of its mounts.
//!
//! The table of mounts shows neither a file system that was detached and still writes, nor a `mount` or
//! `fsck` that hangs. So everything counts as there that is not known to be free: the control group of the
//! resource must be empty, and the device must let itself be claimed. What counts as there wrongly costs a
//! stop, which is confirmed at once; what is forgotten wrongly costs the file system.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use engine::ResourceKind;
use os::process::Containment;

use super::super::writers::question;
use super::{Trace, What};

/// Devices that have not answered for so long are not free.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A mount resource: its service, itself, and whether the memory that the guard shares has the service as
/// one that may write.
pub(in crate::daemon) struct Asked<'a> {
    pub(in crate::daemon) service: &'a str,
    pub(in crate::daemon) resource: &'a engine::Resource,
    pub(in crate::daemon) was_held: bool,
}

/// What is left of a mount.
pub(in crate::daemon) enum Left {
    /// Nothing.
    Nothing,
    /// It is mounted.
    Mounted(Trace),
    /// It may write, and why that is thought.
    Remains(Trace, String),
}

/// Looks for what is left of each; not longer than it takes to ask one device. `program` is the one that
/// runs as [`question`].
///
/// # Errors
/// When the kernel does not say: then nothing may be taken for gone.
pub(in crate::daemon) fn look_all(
    program: &Path,
    containment: &Containment,
    all: &[Asked<'_>],
) -> std::io::Result<Vec<Left>> {
    let table = os::mount::table()?;
    let mut begun = Vec::new();
    for asked in all {
        begun.push(begin(program, containment, asked, &table)?);
    }
    let until = os::clock::boottime() + ANSWER_MAX;
    let mut left = Vec::new();
    for begun in begun {
        left.push(match begun {
            Begun::Known(known) => known,
            Begun::Question { trace, device, was_held, child } => {
                let answer = question::answer(child, until)?;
                match answer.and_then(|(status, _)| status.code()) {
                    Some(0) => Left::Nothing,
                    // A node of a device that has gone, or has no medium, in a place where it never was in use.
                    Some(question::ABSENT) if !was_held => Left::Nothing,
                    Some(question::NO) => Left::Remains(
                        trace,
                        format!(
                            "is not mounted, but {} is in use on this machine",
                            device.display()
                        ),
                    ),
                    _ => Left::Remains(
                        trace,
                        format!("{} does not say whether it is in use", device.display()),
                    ),
                }
            }
        });
    }
    Ok(left)
}

enum Begun {
    Known(Left),
    Question { trace: Trace, device: PathBuf, was_held: bool, child: Child },
}

fn begin(
    program: &Path,
    containment: &Containment,
    asked: &Asked<'_>,
    table: &[os::mount::Mount],
) -> std::io::Result<Begun> {
    let ResourceKind::Mount { .. } = asked.resource.kind else {
        unreachable!("only mounts are asked for");
    };
    let what = What::of(&asked.resource.kind);
    if let Some(mount) = what.mounted(table, &Trace::default()) {
        return Ok(Begun::Known(Left::Mounted(Trace::of(&what, Some(mount.device)))));
    }
    let trace = Trace::of(&what, None);
    let remains = |why: String| Ok(Begun::Known(Left::Remains(trace, why)));
    if !containment.is_empty(asked.service, Some(&asked.resource.name))? {
        return remains("what was to check or mount it still runs".to_owned());
    }
    let device = what.device();
    match os::mount::number(&device) {
        Ok(_) => {
            let child = question::ask(program, "free", &device).spawn()?;
            Ok(Begun::Question { trace, device, was_held: asked.was_held, child })
        }
        Err(_) if asked.was_held => {
            // No start is made over a mount of somebody else.
            if let Some(mount) = os::mount::on(table, &what.directory)
                && mount.filesystem == what.filesystem
            {
                return Ok(Begun::Known(Left::Mounted(Trace::of(&what, Some(mount.device)))));
            }
            remains(format!("{} is not to be found, and may be mounted", device.display()))
        }
        // Its name may have been taken away from what is mounted there.
        Err(_) => match os::mount::on(table, &what.directory) {
            Some(mount) => {
                let (source, directory) = (&mount.source, what.directory.display());
                remains(format!(
                    "{} is not to be found, and {source} is mounted on {directory}",
                    device.display()
                ))
            }
            None => Ok(Begun::Known(Left::Nothing)),
        },
    }
}
