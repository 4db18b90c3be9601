//! What of this node's may write, on record for the next life of the daemon.
//!
//! The configuration says what to look for after a crash, but it may have changed since something was started: a
//! mount that was taken out of it, or that is on another directory by now, is there all the same. So each mount
//! and each reservation is written down as it is started, and taken out when its stop is confirmed. The
//! records are below `run`, which a restart of the machine empties, like the table of mounts; one that is
//! older says nothing wrong, since everything is looked for before it is believed.
//!
//! **Rule:** a record is made before anything of it comes into being. Whoever makes one may wait for a disk: the
//! threads of the agents do, the loop does not.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use base::codec;
use base::limits::{RESOURCES_PER_SERVICE_MAX, SERVICES_MAX};
use engine::{Resource, ResourceKind};

use crate::config::files::Root;

/// Bytes of one record.
const SIZE_MAX: u64 = 64 << 10;
/// Records that are read.
const RECORDS_MAX: usize = SERVICES_MAX * RESOURCES_PER_SERVICE_MAX;
/// No name of a service has it.
const SEPARATOR: char = ':';
/// Ends the name of a record that is being written.
const UNFINISHED: &str = ":new";

/// A resource as it was started, and its service.
pub(super) type Record = (String, Resource);

/// Where the records are.
#[derive(Clone, Debug)]
pub(super) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(super) fn new(root: &Root) -> Records {
        Records { directory: root.run().join("writing") }
    }

    fn file(&self, service: &str, resource: &str) -> PathBuf {
        self.directory.join(format!("{service}{SEPARATOR}{resource}"))
    }

    /// A resource is about to be started.
    pub(super) fn enter(&self, service: &str, resource: &Resource) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let file = self.file(service, &resource.name);
        let new = self.file(service, &format!("{}{UNFINISHED}", resource.name));
        fs::write(&new, codec::encode(&(service, resource)))?;
        fs::rename(new, file)
    }

    /// Nothing of a resource is left.
    pub(super) fn remove(&self, service: &str, resource: &str) -> io::Result<()> {
        match fs::remove_file(self.file(service, resource)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All resources on record, each with its service, and sentences about records that make no sense.
    pub(super) fn read(&self) -> io::Result<(Vec<Record>, Vec<String>)> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries?,
        };
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        for entry in entries.take(RECORDS_MAX) {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                continue; // nothing of it was begun
            }
            let mut bytes = Vec::new();
            fs::File::open(&path)?.take(SIZE_MAX).read_to_end(&mut bytes)?;
            let record = codec::decode::<Record>(&bytes);
            let record =
                record.map_err(|error| error.to_string()).and_then(|(service, resource)| {
                    let is_known = matches!(
                        resource.kind,
                        ResourceKind::Mount { .. } | ResourceKind::Reservation { .. }
                    );
                    match is_known && path == self.file(&service, &resource.name) {
                        true => Ok((service, resource)),
                        false => Err("it is about something else".to_owned()),
                    }
                });
            match record {
                Ok(record) => all.push(record),
                Err(why) => wrong.push(format!("{}: {why}", path.display())),
            }
        }
        all.sort_by(|(a, one), (b, other)| (a, &one.name).cmp(&(b, &other.name)));
        Ok((all, wrong))
    }
}

#[cfg(test)]
mod tests;
