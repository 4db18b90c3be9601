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
        let owner = services.find(|service| {
            let mut addresses = service.resources.iter().filter(|one| one.kind == "address");
            addresses.any(|one| one.detail.split('/').next() == Some(&address.to_string()))
        });
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

    /// The interface that has the subnet, and works.
    fn carrier(&self, subnet: IpAddr) -> Result<&str, String> {
        let has = |written: &String| {
            let Some((own, prefix)) = written.split_once('/') else { return false };
            let (Ok(own), Ok(prefix)) = (own.parse::<IpAddr>(), prefix.parse()) else {
                return false;
            };
            own.is_ipv4() == subnet.is_ipv4() && config::subnet(own, prefix) == subnet
        };
        let interfaces = self.networks.networks.iter().flat_map(|network| &network.interfaces);
        let mut with: Vec<&v1::NetworkInterface> =
            interfaces.filter(|one| one.addresses.iter().any(has)).collect();
        if with.is_empty() {
            return Err(format!("no interface of this node has the subnet {subnet}"));
        }
        with.retain(|one| one.state != v1::InterfaceState::Down);
        let works = with.first().map(|one| one.name.as_str());
        works.ok_or_else(|| format!("no interface with the subnet {subnet} works"))
    }

    fn test(&self, address: IpAddr, subnet: IpAddr) -> Result<String, String> {
        let owner = self.owner(address)?;
        let here = &self.status.node.name;
        if !owner.nodes.contains(here) {
            return Err(format!("{} is not to run on {here}", owner.name));
        }
        let carrier = self.carrier(subnet)?;
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
