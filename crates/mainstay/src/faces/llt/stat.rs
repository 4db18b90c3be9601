//! `lltstat`: nodes with their links, ports, links, the configuration, and counters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::client::Client;
use api::v1;
use serde::{Deserialize, Serialize};

use super::hosts::IDS;
use super::picture::{self, Picture};
use super::{Done, Failure};
use crate::config::files::{self, Root};
use crate::config::own::{self, LINKS_MAX};
use crate::config::{Kind, parse};

const USAGE: &str = "write: lltstat [-n | -nvv [active | configured] | -p | -l | -c | -z]";

/// LLT's counters, and ours that mean the same. What is not counted here is not listed.
const STATISTICS: [(&str, &[&str]); 1] = [("Rcv duplicates", &["replay", "surplus"])];
const ERRORS: [(&str, &[&str]); 6] = [
    ("Rcv unconfigured", &["unknown_path"]),
    ("Rcv bad dest address", &["misdirected", "crossed"]),
    ("Rcv bad source address", &["duplicate_node_id", "reflected"]),
    ("Rcv bad generation", &["earlier_life"]),
    ("Rcv malformed packet", &["malformed", "version", "wrong_key"]),
    ("Snd not connected", &["unsendable"]),
];

/// Which nodes a verbose listing has.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    All,
    Active,
    Configured,
}

pub(super) fn main(root: &Root, client: &Client, words: &[&str]) -> Done {
    let usage = |word: &str| Failure::Usage(format!("`{word}`: {USAGE}"));
    let mut asked = None;
    let mut verbose = false;
    let mut which = None;
    for word in words {
        match (*word, word.strip_prefix('-')) {
            (_, Some(letters)) if !letters.is_empty() => {
                for letter in letters.chars() {
                    match letter {
                        'v' => verbose = true,
                        'n' | 'p' | 'l' | 'c' | 'z' if asked.is_none_or(|one| one == letter) => {
                            asked = Some(letter);
                        }
                        _ => return Err(usage(word)),
                    }
                }
            }
            ("active", _) => which = Some(Which::Active),
            ("configured", _) => which = Some(Which::Configured),
            _ => return Err(usage(word)),
        }
    }
    if which.is_some() && (asked, verbose) != (Some('n'), true) {
        return Err(Failure::Usage(USAGE.into()));
    }
    let picture = picture::look(client)?;
    let text = match (asked, verbose) {
        (Some('n'), false) => nodes(&picture),
        (Some('n'), true) => nodes_in_full(&picture, which.unwrap_or(Which::All)),
        (Some('p'), _) => ports(&picture),
        (Some('l'), _) => links(&picture, &ethertypes(root, client)?),
        (Some('c'), _) => configuration(&picture),
        (Some('z'), _) => return forget(root, &picture.status),
        _ => counters(&picture.status, &remembered(root, &picture.status)?),
    };
    print!("{text}");
    Ok(())
}

/// Which configured node has that id.
fn node(picture: &Picture, id: u8) -> Option<&v1::Node> {
    picture.status.nodes.iter().find(|node| node.id == id)
}

fn state(picture: &Picture, node: Option<&v1::Node>) -> &'static str {
    if node.is_some_and(|node| picture.is_open(node)) { "OPEN" } else { "CONNWAIT" }
}

fn mark(picture: &Picture, node: Option<&v1::Node>) -> char {
    if node.is_some_and(|node| picture.is_local(node)) { '*' } else { ' ' }
}

fn nodes(picture: &Picture) -> String {
    let mut text = "LLT node information:\n    Node             State           Links\n".to_owned();
    for node in &picture.status.nodes {
        let is_up = |link: &&picture::Link| picture.end(link, Some(node)).0 == "UP";
        let up = picture.links.iter().filter(is_up).count();
        let label = format!("{} {}", node.id, node.name);
        let (mark, state) = (mark(picture, Some(node)), state(picture, Some(node)));
        text += &format!("    {mark}{label:<18}{state:<15}{up}\n");
    }
    text
}

fn nodes_in_full(picture: &Picture, which: Which) -> String {
    let mut text =
        "LLT node information:\n    Node                 State    Link  Status  Address\n"
            .to_owned();
    let most = picture.status.nodes.iter().map(|node| node.id).max().unwrap_or(0);
    for id in 0..=most.max(IDS as u8 - 1) {
        let node = node(picture, id);
        let is_shown = match which {
            Which::All => true,
            Which::Active => node.is_some_and(|node| picture.is_open(node)),
            Which::Configured => node.is_some(),
        };
        if !is_shown {
            continue;
        }
        let label = format!("{id} {}", node.map_or("", |node| node.name.as_str()));
        text += &format!("   {} {label:<20}{}\n", mark(picture, node), state(picture, node));
        for link in &picture.links {
            let (state, address) = picture.end(link, node);
            let line = format!("{:34}{:<6} {state:<7} {address}", "", link.tag);
            text += &format!("{}\n", line.trim_end());
        }
    }
    text
}

/// The layer above LLT is GAB, its port 0; here it is whatever makes views.
fn ports(picture: &Picture) -> String {
    let ids = |is_it: &dyn Fn(&v1::Node) -> bool| {
        let ids = picture.status.nodes.iter().filter(|node| is_it(node));
        ids.map(|node| node.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let opens = ids(&|node| picture.is_open(node));
    let view = &picture.status.view;
    let connects = ids(&|node| view.primary && view.members.contains(&node.name));
    format!(
        "LLT port information:\n    {:<6} {:<10} Cookie\n    {:<6} {:<10} {:#x}\n        \
         opens:    {opens}\n        connects: {connects}\n",
        "Port", "Usage", 0, "gab", 0
    )
}

/// The EtherTypes by link: own links are in a file of this node, networks in the configuration.
fn ethertypes(root: &Root, client: &Client) -> Done<BTreeMap<String, u16>> {
    let shown: v1::ConfigShow = client.get("/v1/config")?;
    let parsed = parse(&shown.text, "the configuration in force", shown.version);
    let (cluster, _) = parsed.map_err(|found| Failure::Refused(found.render(false)))?;
    let networks = cluster.networks.into_iter().filter_map(|network| match network.kind {
        Kind::Ethernet { ethertype } => Some((network.name, ethertype)),
        Kind::Udp | Kind::Disk | Kind::Serial { .. } => None,
    });
    let own = files::read_paths(root)?.into_iter().filter_map(|path| match path.over {
        own::Over::Ethernet { name, ethertype, .. } => Some((name, ethertype)),
        own::Over::Udp { .. } | own::Over::Serial { .. } | own::Over::Disk { .. } => None,
    });
    Ok(networks.chain(own).collect())
}

fn links(picture: &Picture, ethertypes: &BTreeMap<String, u16>) -> String {
    let mut text = "LLT link information:\n".to_owned();
    for (place, link) in picture.links.iter().enumerate() {
        let kind = if link.kind == "ethernet" { "ether" } else { &link.kind };
        let priority = if link.low { "lowpri" } else { "hipri" };
        text += &format!("link {place} {} on {kind} {priority}\n", link.tag);
        match (&link.interface, ethertypes.get(&link.tag)) {
            (Some(interface), Some(sap)) => {
                text += &format!(
                    "    mtu {}, sap {sap:#06x}, broadcast FF:FF:FF:FF:FF:FF, addrlen 6\n",
                    interface.mtu
                );
            }
            _ if link.kind == "ethernet" => {
                text += &format!("    there is no interface {}\n", link.end);
            }
            _ => text += &format!("    address {}\n", link.end),
        }
    }
    text
}

fn configuration(picture: &Picture) -> String {
    let status = &picture.status;
    let lines = [
        ("node", status.node.id.to_string()),
        ("name", status.node.name.clone()),
        ("cluster", super::tab::cluster_shown(status.cluster.id).to_string()),
        ("version", status.node.version.clone()),
        ("nodes", format!("0 - {}", IDS - 1)),
        ("max nodes", base::limits::NODES_MAX.to_string()),
        ("links", picture.links.len().to_string()),
        ("max links", LINKS_MAX.to_string()),
        ("mtu", base::limits::DATAGRAM_SIZE_MAX.to_string()),
    ];
    let mut text = "LLT configuration information:\n".to_owned();
    for (name, value) in lines {
        text += &format!("    {name}: {value}\n");
    }
    text
}

/// What `-z` remembers: the counters of one life of the daemon.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    incarnation: u64,
    counters: BTreeMap<String, u64>,
}

fn file(root: &Root) -> PathBuf {
    root.run().join("lltstat.json")
}

fn forget(root: &Root, status: &v1::Status) -> Done {
    let counters = status.counters.iter().map(|counter| (counter.name.clone(), counter.value));
    let remembered =
        Remembered { incarnation: status.node.incarnation, counters: counters.collect() };
    let text = serde_json::to_string(&remembered).expect("names and numbers can be written");
    Ok(files::replace(&file(root), &text)?)
}

fn remembered(root: &Root, status: &v1::Status) -> Done<Remembered> {
    let file = file(root);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Remembered::default());
        }
        Err(error) => return Err(Failure::Refused(format!("{}: {error}", file.display()))),
    };
    let read: Remembered = serde_json::from_str(&text)
        .map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))?;
    // Another life has counted from zero.
    let is_present = read.incarnation == status.node.incarnation;
    Ok(if is_present { read } else { Remembered::default() })
}

fn counters(status: &v1::Status, since: &Remembered) -> String {
    let value = |name: &&str| {
        let counter = status.counters.iter().find(|counter| counter.name == **name);
        let before = since.counters.get(*name).copied().unwrap_or(0);
        counter.map_or(0, |counter| counter.value.saturating_sub(before))
    };
    let list = |rows: &[(&str, &[&str])]| {
        let rows = rows.iter();
        rows.map(|(name, ours)| format!("    {:<10} {name}\n", ours.iter().map(value).sum::<u64>()))
            .collect::<String>()
    };
    format!("LLT statistics:\n{}LLT errors:\n{}", list(&STATISTICS), list(&ERRORS))
}

#[cfg(test)]
mod tests;
