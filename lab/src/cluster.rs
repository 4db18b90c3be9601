//! The files of a cluster on the nodes' disks: `cluster.toml`, `node` and `key`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::card::Card;
use crate::lab::Lab;
use crate::responder;
use crate::spec;

/// Name of the service that [`Cluster::demo`] has.
pub const SERVICE: &str = "web";
/// Its address, in network 0.
pub const SERVICE_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 100);

/// Its second address, in labs with IPv6.
pub const SERVICE_ADDRESS_V6: std::net::Ipv6Addr =
    std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100);

/// What a network says whose service addresses replace boot addresses.
const REPLACING: &str = "takeover = \"replacement\"\nheartbeat_alias = \"10.200.0.0/16\"\n";

/// A resource of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Resource {
    /// An address with its prefix length, as text.
    Address {
        /// Name of the resource.
        name: String,
        /// `10.77.0.100/24`
        address: String,
    },
    /// A supervised process.
    Process {
        /// Name of the resource.
        name: String,
        /// Program (absolute) and arguments.
        command: Vec<String>,
    },
}

/// How service addresses replace boot addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replacement {
    /// The hardware address that the demonstration service brings with it.
    pub hardware: Option<String>,
}

/// A network whose nodes' two cards share service addresses out, instead of the second one standing by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sharing {
    /// Its number.
    pub network: u8,
    /// Further lines of its table, as they stand in the file.
    pub lines: String,
}

/// A service on some nodes, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it may run.
    pub nodes: Vec<String>,
    /// Further lines of its table, as they stand in the file.
    pub head: String,
    /// In the order in which they start.
    pub resources: Vec<Resource>,
}

/// What is written into `cluster.toml` beside nodes and networks, which follow from the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// Name of the cluster.
    pub name: String,
    /// Number of the cluster.
    pub id: u32,
    /// `ultra`, `fast`, `normal` or `classic`.
    pub detection: String,
    /// Times that replace those of the preset: `, hold = "1ms"`.
    pub times: String,
    /// Uses the lab's shared disk as a network, if it has one.
    pub disk: bool,
    /// Names networks over IPv6 too (the lab must have been built with it).
    pub ipv6: bool,
    /// Further lines of `[cluster]`, as they stand in the file.
    pub head: String,
    /// Further lines of each `[[network]]` over UDP, as they stand in the file.
    pub network: String,
    /// Has service addresses replace boot addresses in network 0.
    pub replacement: Option<Replacement>,
    /// Has the cards of a network (in a lab with standbys) share service addresses out.
    pub sharing: Option<Sharing>,
    /// The services.
    pub services: Vec<Service>,
    /// Further tables, as they stand in the file.
    pub tail: String,
}

impl Cluster {
    /// A cluster without services.
    pub fn new(detection: &str) -> Self {
        Self {
            name: "demo".to_owned(),
            id: 10,
            detection: detection.to_owned(),
            times: String::new(),
            disk: true,
            ipv6: false,
            head: String::new(),
            network: String::new(),
            replacement: None,
            sharing: None,
            services: Vec::new(),
            tail: String::new(),
        }
    }

    /// A cluster with the service `web` on all nodes: an address and a responder.
    ///
    /// # Errors
    /// When the path of the program is not text.
    pub fn demo(lab: &Lab, detection: &str) -> Result<Self> {
        let first = ("ip", format!("{SERVICE_ADDRESS}/24"));
        let second = lab.spec().ipv6.then(|| ("ip6", format!("{SERVICE_ADDRESS_V6}/64")));
        let addresses = [first].into_iter().chain(second);
        let service = Service::answering(lab, SERVICE, responder::PORT, addresses)?;
        Ok(Self { services: vec![service], ..Self::new(detection) })
    }

    fn detection_text(&self) -> String {
        let preset = quoted(&self.detection);
        match self.times.as_str() {
            "" => preset,
            times => format!("{{ preset = {preset}{times} }}"),
        }
    }

    /// The text of `cluster.toml`.
    pub fn text(&self, spec: &spec::Spec) -> String {
        let mut text = format!(
            "[cluster]\nname = {}\nid = {}\ndetection = {}\n{}",
            quoted(&self.name),
            self.id,
            self.detection_text(),
            self.head
        );
        let mut add = |part: String| text.push_str(&part);
        for id in 1..=spec.nodes {
            add(format!("\n[[node]]\nname = \"n{id}\"\nid = {id}\n"));
        }
        for network in 0..spec.networks {
            let name = spec::network_name(network);
            if spec.ethernet.contains(&network) {
                let end = |_| quoted(&spec::network_name(network));
                add(network_table(&name, Some("ethernet"), 1..=spec.nodes, end));
                continue;
            }
            let sharing = self.sharing.as_ref().filter(|sharing| sharing.network == network);
            let has_standby = spec.has_standby(network) && sharing.is_none();
            let is_named = sharing.is_some() || network == 0 && self.replacement.is_some();
            add(network_table(&name, None, 1..=spec.nodes, |id| {
                let address = format!("\"{}/24\"", spec::node_address(network, id));
                match has_standby {
                    false if is_named => {
                        let card = Card::primary(network);
                        format!("{{ address = {address}, interface = \"{card}\" }}")
                    }
                    false => address,
                    true => with_standby(&address, network),
                }
            }));
            if network == 0 && self.replacement.is_some() {
                add(REPLACING.to_owned());
            }
            if let Some(sharing) = sharing {
                let also =
                    |id| format!("{} = [\"{}\"]", spec::node_name(id), Card::standby(network));
                let also = Vec::from_iter((1..=spec.nodes).map(also)).join(", ");
                add(format!("also = {{ {also} }}\n{}", sharing.lines));
            }
            add(self.network.clone());
            if self.ipv6 && spec.ipv6 {
                add(network_table(&format!("{name}v6"), None, 1..=spec.nodes, |id| {
                    format!("\"{}/64\"", spec::node_address_v6(network, id))
                }));
            }
        }
        if spec.disk && self.disk {
            let end = |id| quoted(&spec::disk_path(&spec::node_name(id)).to_string_lossy());
            add(network_table("disk", Some("disk"), 1..=spec.nodes, end));
        }
        if spec.device {
            let end = |id| quoted(&spec::device_path(&spec::node_name(id)).to_string_lossy());
            add(network_table("device", Some("disk"), 1..=spec.nodes, end));
        }
        for (one, other) in &spec.lines {
            let (first, second) = (spec::node_name(*one), spec::node_name(*other));
            let end = |id| {
                let (own, peer) = if id == *one { (&first, &second) } else { (&second, &first) };
                quoted(&spec::line_path(own, peer).to_string_lossy())
            };
            let name = spec::line_name(&first, &second);
            add(network_table(&name, Some("serial"), [*one, *other], end));
        }
        let hardware = self.replacement.as_ref().and_then(|one| one.hardware.as_deref());
        for service in &self.services {
            add(service.text(hardware));
        }
        add(self.tail.clone());
        text
    }
}

/// A network with its kind, unless that is the usual one, and the ends of these nodes.
fn network_table(
    name: &str,
    kind: Option<&str>,
    nodes: impl IntoIterator<Item = u8>,
    end: impl Fn(u8) -> String,
) -> String {
    let ends = nodes.into_iter().map(|id| format!("{} = {}", spec::node_name(id), end(id)));
    let ends: Vec<String> = ends.collect();
    let kind = kind.map_or(String::new(), |kind| format!("kind = {}\n", quoted(kind)));
    let name = quoted(name);
    format!("\n[[network]]\nname = {name}\n{kind}nodes = {{ {} }}\n", ends.join(", "))
}

/// An end with its card and the card that is to take over from it.
fn with_standby(address: &str, network: u8) -> String {
    let (primary, standby) = (Card::primary(network), Card::standby(network));
    format!("{{ address = {address}, interface = \"{primary}\", standby = [\"{standby}\"] }}")
}

impl Service {
    /// A service on all nodes: addresses, by the names of their resources, and a responder at that port and
    /// the next one.
    ///
    /// # Errors
    /// When the path of the program is not text.
    pub(crate) fn answering<'a>(
        lab: &Lab,
        name: &str,
        port: u16,
        addresses: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Self> {
        let program = lab.spec().program.to_str().context("the program's path is not text")?;
        let words = [program, "lab", "responder", "--port", &port.to_string()];
        let address =
            |(name, address): (&str, String)| Resource::Address { name: name.to_owned(), address };
        let command = words.map(str::to_owned).to_vec();
        let server = Resource::Process { name: "server".to_owned(), command };
        Ok(Self {
            name: name.to_owned(),
            nodes: lab.node_names(),
            head: String::new(),
            resources: addresses.into_iter().map(address).chain([server]).collect(),
        })
    }

    /// Its responder writes [stamps](crate::stamps) to that file, which somebody makes.
    ///
    /// # Errors
    /// When the path is not text.
    pub(crate) fn write_stamps(&mut self, path: &Path) -> Result<()> {
        let path = path.to_str().context("the path of a file of stamps is not text")?;
        for resource in &mut self.resources {
            if let Resource::Process { command, .. } = resource {
                command.extend(["--stamps".to_owned(), path.to_owned()]);
            }
        }
        Ok(())
    }

    fn text(&self, hardware: Option<&str>) -> String {
        let mut text = format!(
            "\n[[service]]\nname = {}\nnodes = {}\n{}",
            quoted(&self.name),
            list(&self.nodes),
            self.head
        );
        for resource in &self.resources {
            let (name, kind, key, value) = match resource {
                Resource::Address { name, address } => {
                    (name, "address", "address", quoted(address))
                }
                Resource::Process { name, command } => (name, "process", "command", list(command)),
            };
            writeln!(
                text,
                "[[service.resource]]\nname = {}\nkind = \"{kind}\"\n{key} = {value}",
                quoted(name)
            )
            .expect("writing to a string");
            if let (Resource::Address { .. }, Some(hardware)) = (resource, hardware) {
                writeln!(text, "hardware_address = {}", quoted(hardware))
                    .expect("writing to a string");
            }
        }
        text
    }
}

/// A basic string of TOML 1.0: the escapes of JSON are among its own.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

impl Lab {
    /// Writes the files of a cluster with a new key to the disks of all nodes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_cluster(&self, cluster: &Cluster) -> Result<()> {
        let mut bytes = [0u8; 32];
        getrandom(&mut bytes, GetRandomFlags::empty()).context("a random key")?;
        let mut key = bytes.map(|byte| format!("{byte:02x}")).concat();
        key.push('\n');
        self.write_files(&cluster.text(self.spec()), &key)
    }

    /// Writes given contents to the disks of all nodes, each with its own name in `node`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_files(&self, cluster: &str, key: &str) -> Result<()> {
        for name in self.node_names() {
            let directory = self.root(&name)?.join("etc/mainstay");
            write(&directory.join("cluster.toml"), cluster, 0o644)?;
            write(&directory.join("node"), &format!("{name}\n"), 0o644)?;
            write(&directory.join("key"), key, 0o600)?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests;
