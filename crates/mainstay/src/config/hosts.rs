//! Host names, from the hosts file and nowhere else.
//!
//! An address in a network may be written as a name of `/etc/hosts` (hosts(5)): `node-a-priv` says
//! more than 192.168.72.1, and the file is what administrators keep for that. Name servers are not
//! asked: they fail, they lie, and they take their time, and a node must come up when all else is
//! down. The file `etc/hosts` below the root counts first; without it the machine's.
//!
//! Debian writes the host's own name beside 127.0.1.1. Such a name leads every machine to itself, so
//! an address of the loop is refused wherever another node would have to reach it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Cluster;
use super::files::Root;

/// Bytes of a hosts file that are read.
const SIZE_MAX: u64 = 4 << 20;

/// A hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Where it was read from.
    pub file: PathBuf,
    names: BTreeMap<String, Vec<IpAddr>>,
}

/// Why a name has no address that other nodes can use, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{message}")]
pub struct NameError {
    /// The name.
    pub name: String,
    /// Why.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Names in `after` have the addresses that the same names had in `before`, on the same network and
/// node, until a hosts file says otherwise: a configuration that says nothing new about a name is no
/// reason to lose its path either.
pub fn carry_over(before: &Cluster, after: &mut Cluster) {
    for network in &mut after.networks {
        let Some(old) = before.network(network.id) else { continue };
        for (node, endpoint) in &mut network.endpoints {
            let Some(host) = &endpoint.host else { continue };
            let known = old
                .endpoints
                .get(node)
                .filter(|known| known.host.as_ref().is_some_and(|known| known.name == host.name));
            if let Some(known) = known {
                (endpoint.address, endpoint.prefix) = (known.address, known.prefix);
            }
        }
    }
}

impl Hosts {
    /// The hosts file of the node below this root, else the machine's.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(root: &Root) -> io::Result<Hosts> {
        let own = root.directory().join("etc/hosts");
        let (file, opened) = match File::open(&own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let machine = PathBuf::from("/etc/hosts");
                let opened = File::open(&machine);
                (machine, opened)
            }
            opened => (own, opened),
        };
        let mut bytes = Vec::new();
        opened?.take(SIZE_MAX).read_to_end(&mut bytes)?;
        Ok(Hosts::parse(&String::from_utf8_lossy(&bytes), &file))
    }

    /// Reads the text of a hosts file. Lines that make no sense are skipped, as everybody does.
    #[must_use]
    pub fn parse(text: &str, file: &Path) -> Hosts {
        let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words {
                let addresses = names.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Hosts { file: file.to_owned(), names }
    }

    /// Gives the ends that are written as names their addresses. A name that had one keeps it when
    /// the file does not have it any more: a half-edited file is no reason to lose a path. Gives what
    /// is wrong, each once.
    pub fn resolve(&self, cluster: &mut Cluster) -> Vec<NameError> {
        let mut wrong = Vec::new();
        for network in &mut cluster.networks {
            let mut owners = BTreeMap::new();
            for (node, endpoint) in &mut network.endpoints {
                let Some(host) = &mut endpoint.host else { continue };
                match self.find(&host.name) {
                    Ok(address) => {
                        endpoint.address = address;
                        endpoint.prefix = if address.is_ipv4() { 32 } else { 128 };
                        host.trouble = None;
                    }
                    Err(why) => host.trouble = Some(why),
                }
                if let Some(why) = &host.trouble {
                    wrong.push(why.clone());
                } else if let Some(other) = owners.insert(endpoint.address, host.name.clone()) {
                    let (name, address) = (&host.name, endpoint.address);
                    wrong.push(NameError {
                        name: name.clone(),
                        message: format!(
                            "{other} and {name} (node {node}) are both {address} in {}",
                            self.file.display()
                        ),
                        help: "give each node an address of its own".to_owned(),
                    });
                }
            }
        }
        wrong.sort();
        wrong.dedup();
        wrong
    }

    /// All addresses of a name, in the file's order.
    #[must_use]
    pub fn all(&self, name: &str) -> &[IpAddr] {
        self.names.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The first address of a name that other machines can use.
    ///
    /// # Errors
    /// When the file does not have the name, or it leads to the machine itself.
    pub fn find(&self, name: &str) -> Result<IpAddr, NameError> {
        let all = self.all(name);
        let file = self.file.display();
        let usable = |address: &&IpAddr| !address.is_loopback() && !address.is_unspecified();
        if let Some(address) = all.iter().find(usable) {
            return Ok(*address);
        }
        Err(match all.first() {
            None => NameError {
                name: name.to_owned(),
                message: format!("the name {name} is not in {file}"),
                help: format!("add a line \"ADDRESS {name}\" to {file} on every node"),
            },
            Some(looped) => NameError {
                name: name.to_owned(),
                message: format!(
                    "the name {name} leads to {looped} in {file}: this machine itself"
                ),
                help: format!(
                    "take {name} out of the line of {looped} in {file}, and write it beside the \
                     node's own address"
                ),
            },
        })
    }
}
