//! `cmmodnet`: interfaces that are disabled and enabled, and addresses of packages.
//!
//! An address belongs to a service here and comes and goes with it: nobody adds one beside the cluster, which
//! would have it on two nodes sooner or later. So `-a` succeeds where the service has its address here, as a
//! control script finds it, and `-r` where it has it no more; what would have to be done instead is said.

use std::net::IpAddr;

use api::client::{Client, escape};
use api::v1;
use clap::{ArgGroup, Parser};

use super::{Done, Failure};
use crate::config;

/// Add, remove and test addresses of packages; disable and enable interfaces
#[derive(Debug, Parser)]
#[command(
    name = "cmmodnet",
    group(ArgGroup::new("address").args(["add", "remove", "test"])),
    group(ArgGroup::new("interface").args(["disable", "enable"])),
    group(ArgGroup::new("act").args(["add", "remove", "test", "disable", "enable"]).required(true))
)]
pub(super) struct Arguments {
    /// Say what was done
    #[arg(short)]
    verbose: bool,
    /// Add an address to a subnet
    #[arg(short = 'a', requires = "ip")]
    add: bool,
    /// Remove an address from a subnet
    #[arg(short = 'r', requires = "ip")]
    remove: bool,
    /// Test whether an address can be added
    #[arg(short = 't', requires = "ip")]
    test: bool,
    /// The address and its subnet
    #[arg(short = 'i', num_args = 2, value_names = ["ADDRESS", "SUBNET"], conflicts_with = "interface")]
    ip: Option<Vec<IpAddr>>,
    /// Take an interface for failed
    #[arg(short = 'd', value_name = "LAN_NAME")]
    disable: Option<String>,
    /// Take it as it is again
    #[arg(short = 'e', value_name = "LAN_NAME")]
    enable: Option<String>,
}

pub(super) fn modify(client: &Client, arguments: &Arguments) -> Done {
    let said = match (&arguments.disable, &arguments.enable, arguments.ip.as_deref()) {
        (Some(name), ..) => interface(client, name, "disable")?,
        (_, Some(name), _) => interface(client, name, "enable")?,
        (.., Some(&[address, subnet])) => {
            let here =
                Here { status: client.get("/v1/status")?, networks: client.get("/v1/networks")? };
            let verdict = match arguments {
                Arguments { remove: true, .. } => here.remove(address),
                Arguments { add: true, .. } => here.add(address, subnet),
                _ => here.test(address, subnet),
            };
            verdict.map_err(Failure::Refused)?
        }
        _ => unreachable!("one of them is required"),
    };
    if arguments.verbose {
        println!("{said}");
    }
    Ok(())
}

fn interface(client: &Client, name: &str, verb: &str) -> Result<String, Failure> {
    let path = format!("/v1/networks/interfaces/{}/{verb}", escape(name));
    let request = v1::CommandRequest::default();
    Ok(client.post::<v1::CommandReply>(&path, &request)?.text)
}

/// What the answering node knows.
struct Here {
    status: v1::Status,
    networks: v1::Networks,
}

impl Here {
    /// The service that has the address.
    fn owner(&self, address: IpAddr) -> Result<&v1::Service, String> {
        let mut services = self.status.services.iter();
        let owner =
            services.find(|service| service.resources.iter().any(|one| is_address(one, address)));
        owner.ok_or_else(|| {
            format!("{address} belongs to no service: make it a resource of one, with kind = \"address\"")
        })
    }

    /// The interface on which the address is owned now.
    fn place(&self, address: IpAddr) -> Option<&str> {
        let mut addresses = self.status.addresses.iter();
        let own =
            addresses.find(|one| one.address == address.to_string() && one.phase == "owned")?;
        own.interface.as_deref()
    }

    /// The interface for an address of the subnet, which works.
    fn carrier(
        &self,
        owner: &v1::Service,
        address: IpAddr,
        subnet: IpAddr,
    ) -> Result<&str, String> {
        let interfaces = || self.networks.networks.iter().flat_map(|network| &network.interfaces);
        let bits = |one: &v1::NetworkInterface| {
            one.addresses.iter().find_map(|own| subnet_bits(own, subnet))
        };
        let Some(bits) = interfaces().find_map(bits) else {
            return self.sharing(owner, address, subnet);
        };
        if !is_in(address, subnet, bits) {
            return Err(format!("{address} is not in the subnet {subnet}/{bits}"));
        }
        let has = |one: &&v1::NetworkInterface| {
            one.addresses.iter().any(|own| subnet_bits(own, subnet).is_some())
        };
        working(interfaces().filter(has))
            .ok_or_else(|| format!("no interface with the subnet {subnet} works"))
    }

    /// The same where no interface has the subnet itself: addresses of it are shared out over those of a
    /// network with several.
    fn sharing(
        &self,
        owner: &v1::Service,
        address: IpAddr,
        subnet: IpAddr,
    ) -> Result<&str, String> {
        let none = || format!("no interface of this node has the subnet {subnet}");
        let mut resources = owner.resources.iter();
        let resource = resources.find(|one| is_address(one, address)).ok_or_else(none)?;
        subnet_bits(&resource.detail, subnet).ok_or_else(none)?;
        if let Some(interface) = self.place(address) {
            return Ok(interface);
        }
        if let Some(why) = owner.blocked.get(&self.status.node.name) {
            return Err(format!("{} cannot run on this node: {why}", owner.name));
        }
        let networks = self.networks.networks.iter();
        let shares = |network: &&v1::NetworkHealth| {
            network.interfaces.iter().any(|one| one.role == "sharing")
        };
        let mut networks = networks.filter(shares).peekable();
        networks.peek().ok_or_else(none)?;
        working(networks.flat_map(|network| &network.interfaces)).ok_or_else(|| {
            format!("no interface works over which addresses of the subnet {subnet} are shared out")
        })
    }

    fn test(&self, address: IpAddr, subnet: IpAddr) -> Result<String, String> {
        let owner = self.owner(address)?;
        let here = &self.status.node.name;
        if !owner.nodes.contains(here) {
            return Err(format!("{} is not to run on {here}", owner.name));
        }
        let carrier = self.carrier(owner, address, subnet)?;
        Ok(format!("{address} can be added to {carrier}"))
    }

    fn add(&self, address: IpAddr, subnet: IpAddr) -> Result<String, String> {
        self.test(address, subnet)?;
        let name = &self.owner(address)?.name;
        match self.place(address) {
            Some(interface) => Ok(format!("{address} is on {interface}")),
            None => Err(format!(
                "{address} comes with service {name}: mainstay service move {name} {}",
                self.status.node.name
            )),
        }
    }

    fn remove(&self, address: IpAddr) -> Result<String, String> {
        let name = &self.owner(address)?.name;
        match self.place(address) {
            None => Ok(format!("{address} is not here")),
            Some(interface) => Err(format!(
                "{address} stays on {interface} as long as service {name} runs here: mainstay service stop \
                 {name}"
            )),
        }
    }
}

fn is_address(resource: &v1::Resource, address: IpAddr) -> bool {
    let written = resource.detail.split('/').next();
    resource.kind == "address" && written == Some(&address.to_string())
}

/// The length of the prefix with which that address, written as ADDRESS/LENGTH, is in that subnet.
fn subnet_bits(written: &str, subnet: IpAddr) -> Option<u8> {
    let (address, bits) = written.split_once('/')?;
    let (address, bits) = (address.parse().ok()?, bits.parse().ok()?);
    is_in(address, subnet, bits).then_some(bits)
}

fn is_in(address: IpAddr, subnet: IpAddr, bits: u8) -> bool {
    address.is_ipv4() == subnet.is_ipv4() && config::subnet(address, bits) == subnet
}

/// The first that is not known to have failed.
fn working<'a>(mut interfaces: impl Iterator<Item = &'a v1::NetworkInterface>) -> Option<&'a str> {
    let works = interfaces.find(|one| one.state != v1::InterfaceState::Down);
    works.map(|one| one.name.as_str())
}

#[cfg(test)]
mod tests;
