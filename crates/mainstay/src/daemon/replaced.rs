//! What service addresses took from interfaces: on record for the next life of the daemon, and the steps in
//! which it is taken and given back.
//!
//! A boot address that a service address replaced, and the hardware address that its interface had, are
//! nowhere to be seen while the service address is there. So they are written down below `run`, which
//! a restart of the machine empties, as its system sets both up anew. **Rule:** the record is made before anything is taken, and
//! removed after all of it is back; what is on record and there all the same does no harm. The record has what the
//! kernel said of addresses and routes, so that they come back as they were, and only the first
//! record of an interface counts: a second one would describe what a service has made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base::codec;
use minicbor::{Decode, Encode};
use network::{Taken, Taking};
use os::netlink::replace::{Kept, addresses_of};
use os::netlink::{Interface, Netlink};

use crate::config::files::Root;

#[cfg(test)]
mod tests;

/// Bytes of one record.
const SIZE_MAX: u64 = 1 << 20;
/// Records that are read.
const RECORDS_MAX: usize = 1_024;
/// Ends the name of a record that is being written.
const UNFINISHED: &str = ".new";

/// What was taken from one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Record {
    /// Its name: a number is not used twice, but the directory may be older than the machine's start.
    #[n(0)]
    name: String,
    #[n(1)]
    mac: Option<[u8; 6]>,
    #[n(2)]
    addresses: Vec<Vec<u8>>,
    #[n(3)]
    routes: Vec<Vec<u8>>,
}

impl Record {
    fn kept(&self) -> Kept {
        Kept { addresses: self.addresses.clone(), routes: self.routes.clone() }
    }

    fn taken(&self) -> Taken {
        Taken { boot: addresses_of(&self.kept()), mac: self.mac }
    }
}

/// Where the records are, and what is in them.
#[derive(Debug)]
pub(super) struct Replaced {
    directory: PathBuf,
    records: BTreeMap<u32, Record>,
    foreign: Foreign,
}

/// Addresses that are not put back, because they are services' or other nodes' by now. The loop knows them by its
/// configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign(Arc<Mutex<BTreeSet<IpAddr>>>);

impl Foreign {
    pub(super) fn set(&self, addresses: BTreeSet<IpAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    fn all(&self) -> BTreeSet<IpAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How a step went.
#[derive(Debug)]
pub(super) struct Given {
    /// The service address is gone, if one was to go.
    pub(super) removed: Result<(), String>,
    /// What could not be put back.
    pub(super) troubles: Vec<String>,
    /// What was done, for people.
    pub(super) said: Option<String>,
}

impl Replaced {
    /// Reads what a former life took from interfaces that are still the same, with sentences about what makes
    /// no sense.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub(super) fn read(
        root: &Root,
        interfaces: &[Interface],
    ) -> io::Result<(Replaced, Vec<String>)> {
        let directory = root.run().join("replaced");
        let mut replaced =
            Replaced { directory, records: BTreeMap::new(), foreign: Foreign::default() };
        let entries = match fs::read_dir(&replaced.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((replaced, Vec::new()));
            }
            entries => entries?,
        };
        let mut wrong = Vec::new();
        for entry in entries.take(RECORDS_MAX) {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            let Some(index) = number else { continue }; // nothing of it was begun
            let mut bytes = Vec::new();
            fs::File::open(&path)?.take(SIZE_MAX).read_to_end(&mut bytes)?;
            let record = match codec::decode::<Record>(&bytes) {
                Ok(record) => record,
                Err(error) => {
                    wrong.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            let is_it = |one: &&Interface| one.index == index && one.name == record.name;
            if interfaces.iter().any(|one| is_it(&one)) {
                replaced.records.insert(index, record);
            } else {
                wrong.push(format!("{}: {} is another interface now", path.display(), record.name));
                fs::remove_file(&path)?;
            }
        }
        Ok((replaced, wrong))
    }

    /// Where to say what is not to be put back.
    pub(super) fn foreign(&self) -> Foreign {
        self.foreign.clone()
    }

    /// What is taken at the moment, as the layer of the addresses is told.
    pub(super) fn taken(&self) -> BTreeMap<u32, Taken> {
        self.records.iter().map(|(index, record)| (*index, record.taken())).collect()
    }

    /// Writes down what is about to be taken from an interface.
    pub(super) fn enter(
        &mut self,
        netlink: &mut Netlink,
        index: u32,
        taking: &Taking,
    ) -> Result<(), String> {
        let kept = netlink.keep(index, &taking.boot).map_err(|error| error.whole())?;
        let interfaces = netlink.interfaces().map_err(|error| error.whole())?;
        let interface = interfaces.into_iter().find(|one| one.index == index);
        let interface = interface.ok_or("the interface is gone")?;
        let mac = taking.mac.and(interface.mac);
        let mut record = match self.records.get(&index).cloned() {
            // What came before may have left the hardware address alone.
            Some(record) => Record { mac: record.mac.or(mac), ..record },
            None => {
                Record { name: interface.name, mac, addresses: Vec::new(), routes: kept.routes }
            }
        };
        let known = addresses_of(&record.kept());
        for body in kept.addresses {
            let one = Kept { addresses: vec![body.clone()], routes: Vec::new() };
            if !addresses_of(&one).iter().any(|own| known.contains(own)) {
                record.addresses.push(body);
            }
        }
        if self.records.get(&index) == Some(&record) {
            return Ok(());
        }
        self.write(index, &record).map_err(|error| {
            format!("what it takes cannot be written down in {}: {error}", self.directory.display())
        })?;
        self.records.insert(index, record);
        Ok(())
    }

    fn write(&self, index: u32, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let new = self.directory.join(format!("{index}{UNFINISHED}"));
        fs::write(&new, codec::encode(record))?;
        fs::rename(new, self.directory.join(index.to_string()))
    }

    /// The service address is on the interface: takes what it takes the place of.
    pub(super) fn take(
        &self,
        netlink: &mut Netlink,
        index: u32,
        service: IpAddr,
        taking: &Taking,
    ) -> Result<Option<String>, String> {
        let record = self.records.get(&index).expect("it was entered");
        if taking.boot.is_empty() && taking.mac.is_none() {
            return Ok(None);
        }
        netlink
            .take_place(index, service, taking.subnet, &taking.boot, &record.kept())
            .map_err(|error| error.whole())?;
        let boot = taking.boot.iter().map(|(address, prefix)| format!("{address}/{prefix}"));
        let mut parts: Vec<String> = boot.collect();
        if let (Some(mac), Some(before)) = (taking.mac, record.mac) {
            let [mac, before] = [mac, before].map(network::wire::text);
            parts.push(format!("the hardware address {before} (now {mac})"));
        }
        let what = parts.join(" and ");
        Ok(Some(format!("{}: {service} takes the place of {what}", record.name)))
    }

    /// Puts back what was taken from an interface, and removes the service address that took it after
    /// its successors are there.
    pub(super) fn give(
        &mut self,
        netlink: &mut Netlink,
        index: u32,
        service: Option<(IpAddr, u8)>,
    ) -> Given {
        let record = self.records.get(&index).cloned();
        let mut kept = record.as_ref().map(Record::kept);
        let theirs = kept.as_mut().map_or(Vec::new(), |kept| kept.leave_to(&self.foreign.all()));
        let mut troubles = kept.as_ref().map_or(Vec::new(), |kept| netlink.give_back(index, kept));
        let removed = match service {
            Some((address, prefix)) => {
                let removed = netlink.remove_address(index, address, prefix);
                removed.map_err(|error| error.to_string())
            }
            None => Ok(()),
        };
        let Some(record) = record else { return Given { removed, troubles, said: None } };
        // Nobody is answered for the service address with another hardware address.
        if let (Some(mac), Ok(())) = (record.mac, &removed) {
            let set = netlink.set_hardware_address(index, mac);
            troubles.extend(set.err().map(|error| error.whole()));
        }
        if !troubles.is_empty() || removed.is_err() {
            return Given { removed, troubles, said: None };
        }
        self.records.remove(&index);
        match fs::remove_file(self.directory.join(index.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                troubles.push(format!("the record of {} stays: {error}", record.name));
            }
            _ => {}
        }
        let taken = record.taken();
        let back = taken.boot.iter().filter(|(address, _)| !theirs.contains(address));
        let boot = back.map(|(address, prefix)| format!("{address}/{prefix}"));
        let mut parts: Vec<String> = boot.collect();
        let mac = taken.mac.map(|mac| format!("the hardware address {}", network::wire::text(mac)));
        parts.extend(mac);
        let mut said = format!("{} has {} again", record.name, parts.join(" and "));
        for address in theirs {
            said += &format!(", but not {address}, which is somebody else's by now");
        }
        let said = Some(said);
        Given { removed, troubles, said }
    }
}
