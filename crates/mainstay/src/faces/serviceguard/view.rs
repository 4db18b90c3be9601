//! `cmviewcl`: the cluster, its nodes and the packages on each, as a table or as lines for programs.
//!
//! Columns have the widths of the captured listings, and keep their trailing blanks; the first one widens for a
//! longer name. In the line format a prefix says what each attribute is of, without what the command line has
//! named already (cmviewcl(5)).

use api::client::Client;
use api::v1::{self, InterfaceState};
use clap::{Parser, ValueEnum};

use super::{Done, Failure};
use crate::config;

mod words;

use words::{Place, auto_run, cluster_status, node_words, package_words, summary};

#[cfg(test)]
mod tests;

/// View the cluster
#[derive(Debug, Parser)]
#[command(name = "cmviewcl")]
pub(super) struct Arguments {
    /// Show networks and policies, too
    #[arg(short)]
    verbose: bool,
    /// For people, or for programs
    #[arg(short, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only this type
    #[arg(short = 'l', value_enum)]
    level: Option<Level>,
    /// Only this node
    #[arg(short, value_name = "NODE", conflicts_with = "package")]
    node: Option<String>,
    /// Only this package
    #[arg(short, value_name = "PACKAGE")]
    package: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Cluster,
    Node,
    Package,
}

pub(super) fn view(client: &Client, arguments: &Arguments) -> Done {
    let status: v1::Status = client.get("/v1/status")?;
    let networks: v1::Networks = client.get("/v1/networks")?;
    // Policies are the configuration's, of which the status says nothing.
    let written: v1::ConfigShow = client.get("/v1/config")?;
    let policies = match config::parse(&written.text, "the configuration", written.version) {
        Ok((cluster, _)) => cluster.services,
        Err(_) => Vec::new(),
    };
    let seen = Seen { status: &status, networks: &networks, policies: &policies };
    let text = seen.show(arguments).map_err(Failure::Refused)?;
    print!("{text}");
    Ok(())
}

/// What the answering node knows.
struct Seen<'a> {
    status: &'a v1::Status,
    networks: &'a v1::Networks,
    /// The services as they are configured.
    policies: &'a [engine::Service],
}

/// One row: cells with the widths of their columns.
fn row(indent: usize, cells: &[(&str, usize)]) -> String {
    let mut line = " ".repeat(indent);
    for (cell, width) in cells {
        line += &format!("{cell:<width$}");
    }
    line + "\n"
}

/// The width of a first column that is at least so wide.
fn first<'a>(names: impl Iterator<Item = &'a str>, least: usize) -> usize {
    names.map(|name| name.chars().count() + 3).max().unwrap_or(0).max(least)
}

impl Seen<'_> {
    fn show(&self, arguments: &Arguments) -> Result<String, String> {
        let Arguments { node, package, .. } = arguments;
        if let Some(name) = node
            && !self.status.nodes.iter().any(|one| one.name == *name)
        {
            return Err(format!("Node {name} is not configured in the cluster."));
        }
        if let Some(name) = package
            && !self.status.services.iter().any(|one| one.name == *name)
        {
            return Err(format!("Package {name} is not configured in the cluster."));
        }
        Ok(match arguments.format {
            Format::Table => self.table(arguments),
            Format::Line => self.lines(arguments),
        })
    }

    /// The nodes that are wanted.
    fn nodes<'b>(&'b self, arguments: &'b Arguments) -> impl Iterator<Item = &'b v1::Node> {
        let wanted = |node: &&v1::Node| arguments.node.as_ref().is_none_or(|one| *one == node.name);
        self.status.nodes.iter().filter(wanted)
    }

    /// The packages that are wanted, on a node or on none.
    fn packages<'b>(
        &'b self,
        arguments: &'b Arguments,
        place: Place<'b>,
    ) -> impl Iterator<Item = &'b v1::Service> {
        let wanted = arguments.package.as_ref();
        let services = self.status.services.iter();
        services.filter(move |service| {
            wanted.is_none_or(|one| *one == service.name) && place.has(service)
        })
    }

    fn table(&self, arguments: &Arguments) -> String {
        let mut text = String::new();
        let (level, is_one) = (arguments.level, arguments.package.is_some());
        let shows = |one: Level| match level {
            Some(level) => level == one,
            None => one == Level::Package || !is_one,
        };
        if shows(Level::Cluster) && arguments.node.is_none() {
            let name = self.status.cluster.name.as_str();
            let width = first([name].into_iter(), 15);
            text += "\n";
            text += &row(0, &[("CLUSTER", width), ("STATUS", 13)]);
            text += &row(0, &[(name, width), (cluster_status(self.status), 13)]);
        }
        if !shows(Level::Node) && shows(Level::Package) {
            let all = Place::Anywhere;
            return text + &self.package_rows(self.packages(arguments, all), arguments);
        }
        if shows(Level::Node) {
            let with_packages = shows(Level::Package);
            for node in self.nodes(arguments) {
                text += &self.node_rows(node, arguments.verbose);
                if with_packages {
                    let here = Place::On(&node.name);
                    text += &self.package_rows(self.packages(arguments, here), arguments);
                }
            }
        }
        if shows(Level::Package) && arguments.node.is_none() {
            let unowned = self.package_rows(self.packages(arguments, Place::Nowhere), arguments);
            if !unowned.is_empty() {
                text += "\nUNOWNED_PACKAGES\n";
                text += &unowned;
            }
        }
        text
    }

    fn node_rows(&self, node: &v1::Node, verbose: bool) -> String {
        let width = first([node.name.as_str()].into_iter(), 15);
        let (status, state) = node_words(node.state);
        let mut text = "  \n".to_owned();
        text += &row(2, &[("NODE", width), ("STATUS", 13), ("STATE", 13)]);
        text += &row(2, &[(&node.name, width), (status, 13), (state, 13)]);
        if verbose && node.name == self.status.node.name {
            text += "\n    Network_Parameters:\n";
            text += &row(4, &[("INTERFACE", 13), ("STATUS", 23), ("NAME", 13)]);
            for interface in self.interfaces() {
                let status = words::interface_status(interface);
                let role = words::role(interface);
                text += &row(4, &[(role, 13), (&status, 23), (&interface.name, 13)]);
            }
        }
        text
    }

    fn interfaces(&self) -> impl Iterator<Item = &v1::NetworkInterface> {
        self.networks.networks.iter().flat_map(|network| &network.interfaces)
    }

    fn package_rows<'b>(
        &self,
        packages: impl Iterator<Item = &'b v1::Service>,
        arguments: &Arguments,
    ) -> String {
        let packages: Vec<&v1::Service> = packages.collect();
        let width = first(packages.iter().map(|one| one.name.as_str()), 15);
        let heading = ["PACKAGE", "STATUS", "STATE", "AUTO_RUN", "NODE"];
        let widths = [width, 17, 17, 12, 12];
        let line = |cells: [&str; 5]| {
            let cells: Vec<(&str, usize)> = cells.into_iter().zip(widths).collect();
            row(4, &cells)
        };
        let mut text = String::new();
        for (place, package) in packages.iter().enumerate() {
            // With all that -v says of each there is a heading for each.
            if place == 0 || arguments.verbose {
                text += "\n";
                text += &line(heading);
            }
            let (status, state) = package_words(package.state);
            let owner = package.node.as_deref().unwrap_or("unowned");
            text += &line([&package.name, status, state, auto_run(package), owner]);
            if arguments.verbose {
                text += &self.details(package);
            }
        }
        text
    }

    fn details(&self, package: &v1::Service) -> String {
        let mut text = "\n      Policy_Parameters:\n".to_owned();
        let policy = self.policies.iter().find(|policy| policy.name == package.name);
        let failback = words::failback(policy);
        for (name, value) in [
            ("POLICY_NAME", "CONFIGURED_VALUE"),
            ("Failover", "configured_node"),
            ("Failback", failback),
        ] {
            text += &row(6, &[(name, 16), (value, 16)]);
        }
        text += "\n      Script_Parameters:\n";
        let owned = package.node.is_some();
        let line = |[item, status, most, count, name]: [&str; 5]| match owned {
            true => row(6, &[(item, 11), (status, 9), (most, 14), (count, 11), (name, 0)]),
            false => row(6, &[(item, 11), (status, 9), (count, 13), (name, 0)]),
        };
        text += &line(match owned {
            true => ["ITEM", "STATUS", "MAX_RESTARTS", "RESTARTS", "NAME"],
            false => ["ITEM", "STATUS", "", "NODE_NAME", "NAME"],
        });
        let restarts = package.failures.values().sum::<u32>().to_string();
        let most = policy.map_or_else(|| "unknown".to_owned(), |one| one.restart.count.to_string());
        let nobody = package.nodes.first().map_or("", String::as_str);
        for resource in &package.resources {
            let (item, name) = words::item(resource);
            let up = words::part_status(resource.state);
            text += &match owned {
                true => line([item, up, &most, &restarts, &name]),
                false => line([item, up, "", nobody, &name]),
            };
        }
        text += "\n      Node_Switching_Parameters:\n";
        text += &row(6, &[("NODE_TYPE", 13), ("STATUS", 13), ("SWITCHING", 13), ("NAME", 13)]);
        for (place, name) in package.nodes.iter().enumerate() {
            let node = self.status.nodes.iter().find(|node| node.name == *name);
            let (status, _) = node.map_or(("unknown", ""), |node| node_words(node.state));
            let kind = if place == 0 { "Primary" } else { "Alternate" };
            let current = if package.node.as_ref() == Some(name) { "(current)" } else { "" };
            let switching = words::switching(package, name);
            let cells =
                [(kind, 13), (status, 13), (switching, 13), (name.as_str(), 13), (current, 0)];
            text += &row(6, &cells);
        }
        text
    }

    fn lines(&self, arguments: &Arguments) -> String {
        let mut text = String::new();
        let shows = |one: Level| arguments.level.is_none_or(|level| level == one);
        let is_whole = arguments.node.is_none() && arguments.package.is_none();
        if is_whole && shows(Level::Cluster) {
            text += &attribute("", "name", &self.status.cluster.name);
            text += &attribute("", "id", &self.status.cluster.id.to_string());
            text += &attribute("", "status", cluster_status(self.status));
            text += &attribute("", "summary", summary(self.status));
        }
        if shows(Level::Node) && arguments.package.is_none() {
            for node in self.nodes(arguments) {
                let is_named = arguments.node.is_some();
                let prefix = if is_named { String::new() } else { format!("node:{}|", node.name) };
                text += &self.node_lines(node, &prefix, arguments.verbose);
            }
        }
        if shows(Level::Package) {
            let place = match &arguments.node {
                Some(node) => Place::On(node),
                None => Place::Anywhere,
            };
            for package in self.packages(arguments, place) {
                let is_named = arguments.package.is_some();
                let prefix =
                    if is_named { String::new() } else { format!("package:{}|", package.name) };
                text += &self.package_lines(package, &prefix, arguments.verbose);
            }
        }
        text
    }

    fn node_lines(&self, node: &v1::Node, prefix: &str, verbose: bool) -> String {
        let (status, state) = node_words(node.state);
        let mut text = attribute(prefix, "name", &node.name);
        text += &attribute(prefix, "status", status);
        text += &attribute(prefix, "state", state);
        if !verbose || node.name != self.status.node.name {
            return text;
        }
        for network in &self.networks.networks {
            for interface in &network.interfaces {
                let prefix = format!("{prefix}interface:{}|", interface.name);
                text += &attribute(&prefix, "name", &interface.name);
                text += &attribute(&prefix, "status", words::up_or_down(interface.state));
                text += &attribute(&prefix, "standby", &(interface.role == "standby").to_string());
                let mut others = network.interfaces.iter().filter(|one| one.name != interface.name);
                if let Some(peer) = others.find(|one| one.role == "standby") {
                    text += &attribute(&prefix, "local_switch_peer", &peer.name);
                }
                text += &attribute(&prefix, "disabled", &interface.disabled.to_string());
                if interface.state == InterfaceState::Down && !interface.disabled {
                    text += &attribute(&prefix, "failure_type", "link+ip");
                }
            }
        }
        text
    }

    fn package_lines(&self, package: &v1::Service, prefix: &str, verbose: bool) -> String {
        let (status, state) = package_words(package.state);
        let mut text = attribute(prefix, "name", &package.name);
        text += &attribute(prefix, "status", status);
        text += &attribute(prefix, "state", state);
        text += &attribute(prefix, "autorun", auto_run(package));
        text += &attribute(prefix, "owner", package.node.as_deref().unwrap_or("unowned"));
        if !verbose {
            return text;
        }
        for (place, name) in package.nodes.iter().enumerate() {
            let prefix = format!("{prefix}node:{name}|");
            let order = if place == 0 { "primary" } else { "alternate" };
            text += &attribute(&prefix, "name", name);
            text += &attribute(&prefix, "switching", words::switching(package, name));
            text += &attribute(&prefix, "order", order);
        }
        for resource in &package.resources {
            let (item, name) = words::item(resource);
            let prefix = format!("{prefix}{}:{name}|", item.to_lowercase());
            text += &attribute(&prefix, "name", &name);
            text += &attribute(&prefix, "status", words::part_status(resource.state));
        }
        text
    }
}

fn attribute(prefix: &str, name: &str, value: &str) -> String {
    format!("{prefix}{name}={value}\n")
}
