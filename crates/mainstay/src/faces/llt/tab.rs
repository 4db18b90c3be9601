//! `/etc/llttab`: who this node is, in which cluster, and its links.
//!
//! One directive a line, words separated by blanks, `#` begins a comment, `-` stands for a default
//! (`\-`, as some printed copies have it, as well). Whatever is not known is an error that names line
//! and word: a misspelt directive that is skipped is a setting that its author believes to be in
//! force. What is known and has no counterpart here is a note.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::hosts::{IDS, short_name};
use crate::config::network::is_usable_ethertype;
use crate::config::own::LINKS_MAX;

/// LLT's EtherType (its "SAP").
pub(super) const ETHERTYPE: u16 = 0xcafe;
/// Ports for links over UDP (IANA: dynamic ports).
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// What LLT's cluster 0 is here.
const CLUSTER_ZERO: u32 = 65_536;
/// The least that a link must carry.
const MTU_MIN: u32 = base::limits::DATAGRAM_SIZE_MAX as u32;

/// Times that are times here too.
pub(super) const TIMERS: [&str; 5] =
    ["heartbeat", "heartbeatlo", "peertrouble", "peertroublelo", "peerinact"];
/// Times of LLT's that nothing here depends on.
const OTHER_TIMERS: [&str; 11] = [
    "timetoreqhb",
    "reqhbtime",
    "timetosendhb",
    "sendhbcap",
    "linkstable",
    "oos",
    "retrans",
    "service",
    "arp",
    "arpreq",
    "rpeerinact",
];
/// Limits of LLT's flow control.
const FLOWS: [&str; 9] = [
    "lowwater",
    "highwater",
    "window",
    "rporthighwater",
    "rportlowwater",
    "linkburst",
    "ackval",
    "sws",
    "largepktlen",
];

/// A whole file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tab {
    /// Who this node is.
    pub(super) node: Who,
    /// The cluster's number.
    pub(super) cluster: u32,
    /// The links, in order.
    pub(super) links: Vec<Link>,
    /// Peers' addresses: node, tag of the link, address.
    pub(super) addresses: Vec<(u8, String, IpAddr)>,
    /// Times in 1/100 s, by name; only those of [`TIMERS`].
    pub(super) timers: BTreeMap<&'static str, u64>,
    /// Which node ids exist.
    pub(super) exists: [bool; IDS],
    /// What has no counterpart here, as sentences.
    pub(super) notes: Vec<String>,
}

/// What `set-node` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The id.
    Id(u8),
    /// The name in llthosts.
    Name(String),
    /// The file that holds the name.
    File(String),
}

/// A `link` or `link-lowpri`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its name.
    pub(super) tag: String,
    /// Whether it is of low priority.
    pub(super) low: bool,
    /// What it runs over.
    pub(super) over: Over,
    /// Which nodes use it.
    pub(super) nodes: [bool; IDS],
    /// Where it stands, from 1.
    pub(super) line: usize,
}

impl Link {
    /// Whether some node uses both.
    fn meets(&self, nodes: &[bool; IDS]) -> bool {
        self.nodes.iter().zip(nodes).any(|(one, other)| *one && *other)
    }
}

/// What a link runs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Raw frames on the device, as written.
    Ether { device: String, ethertype: u16 },
    /// UDP from this address, to those of `set-addr`.
    Udp { port: u16, local: IpAddr },
}

/// Something wrong in a file, with its line, from 1; 0 for the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

type Said<T> = Result<T, String>;

/// Reads the file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub(super) fn parse(text: &str) -> Result<Tab, Vec<Mistake>> {
    let mut reader = Reader::default();
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let words: Vec<&str> = words.map(|word| if word == "\\-" { "-" } else { word }).collect();
        let Some((directive, rest)) = words.split_first() else { continue };
        let line = index + 1;
        if let Err(text) = reader.directive(line, directive, rest) {
            mistakes.push(Mistake { line, text });
        }
    }
    reader.finish(mistakes)
}

#[derive(Default)]
struct Reader {
    node: Option<(usize, Who)>,
    cluster: Option<(usize, u32)>,
    links: Vec<Link>,
    addresses: Vec<(usize, u8, String, IpAddr)>,
    timers: BTreeMap<&'static str, u64>,
    /// None while neither `include` nor `exclude` was seen.
    exists: Option<[bool; IDS]>,
    broadcast: Option<(usize, bool)>,
    notes: Vec<String>,
}

impl Reader {
    fn directive(&mut self, line: usize, directive: &str, words: &[&str]) -> Said<()> {
        match directive {
            "set-node" => {
                let who = who(one(directive, words)?)?;
                once(directive, &mut self.node, line, who)
            }
            "set-cluster" => {
                let number = number(one(directive, words)?, 0..=65_535)?;
                once(directive, &mut self.cluster, line, cluster_number(number))
            }
            "link" => self.link(line, words, false),
            "link-lowpri" => self.link(line, words, true),
            "set-addr" => self.address(line, words),
            "set-bcasthb" => {
                let on = number(one(directive, words)?, 0..=1)? == 1;
                self.broadcast = Some((line, on));
                Ok(())
            }
            "set-arp" => {
                let on = number(one(directive, words)?, 0..=1)? == 1;
                let note = "stations are learned from their frames on Ethernet in any case";
                if !on {
                    self.note(line, directive, note);
                }
                Ok(())
            }
            "set-timer" => self.values(line, directive, words),
            "set-flow" => self.values(line, directive, words),
            "include" => self.range(words, true),
            "exclude" => self.range(words, false),
            "set-verbose" | "set-dbg-minlinks" | "set-checksum" => {
                if words.len() > 1 {
                    return Err(format!("{directive} has one value, and not {}", words.join(" ")));
                }
                let note = match directive {
                    "set-verbose" => "`mainstay events` shows everything",
                    "set-checksum" => "frames are sealed always",
                    _ => "one link that works is enough to be connected",
                };
                self.note(line, directive, note);
                Ok(())
            }
            "start" if words.is_empty() => Ok(()),
            "start" => Err(format!("start has no value, and not {}", words.join(" "))),
            unknown => Err(format!("there is no directive `{unknown}`")),
        }
    }

    fn note(&mut self, line: usize, what: &str, why: &str) {
        self.notes.push(format!("line {line}: {what} is not used: {why}"));
    }

    fn link(&mut self, line: usize, words: &[&str], low: bool) -> Said<()> {
        let form = if low { "link-lowpri" } else { "link" };
        let [tag, device, range, kind, rest @ ..] = words else {
            return Err(format!("write: {form} TAG DEVICE - ether - -"));
        };
        let nodes = match *range {
            "-" => [true; IDS],
            range => {
                let mut nodes = [false; IDS];
                mark(&mut nodes, &[range], true)?;
                nodes
            }
        };
        if self.links.iter().any(|link| link.tag == *tag && link.meets(&nodes)) {
            return Err(format!("two links are called `{tag}`"));
        }
        if self.links.len() == usize::from(LINKS_MAX) {
            return Err(format!("there are more than {LINKS_MAX} links: `{tag}`"));
        }
        if let Some(why) = crate::config::own::link_error(tag, "a", ETHERTYPE) {
            return Err(why);
        }
        let over = match *kind {
            "ether" => {
                let [sap, mtu] = match rest {
                    [] => ["-", "-"],
                    [sap] => [*sap, "-"],
                    [sap, mtu] => [*sap, *mtu],
                    [_, _, more, ..] => return Err(format!("`{more}` is one word too many")),
                };
                check_mtu(mtu)?;
                Over::Ether { device: (*device).to_owned(), ethertype: ethertype(sap)? }
            }
            "udp" | "udp6" => {
                let [port, mtu, local, _broadcast] = rest else {
                    return Err(format!("write: {form} TAG udp - udp PORT MTU ADDRESS BROADCAST"));
                };
                check_mtu(mtu)?;
                let local: IpAddr =
                    local.parse().map_err(|_| format!("`{local}` is no address"))?;
                if local.is_ipv6() != (*kind == "udp6") {
                    return Err(format!("`{local}` is no address for {kind}"));
                }
                let port = number(port, u32::from(*PORTS.start())..=u32::from(*PORTS.end()))?;
                let port = u16::try_from(port).expect("it is in range");
                let takes =
                    |link: &Link| matches!(link.over, Over::Udp { port: p, .. } if p == port);
                if self.links.iter().any(|link| takes(link) && link.meets(&nodes)) {
                    return Err(format!("two links have port `{port}`"));
                }
                Over::Udp { port, local }
            }
            other => return Err(format!("there is no kind of link `{other}`: ether, udp, udp6")),
        };
        self.links.push(Link { tag: (*tag).to_owned(), low, over, nodes, line });
        Ok(())
    }

    fn address(&mut self, line: usize, words: &[&str]) -> Said<()> {
        let [node, tag, address] = words else {
            return Err("write: set-addr NODE-ID TAG ADDRESS".into());
        };
        let node = u8::try_from(number(node, 0..=IDS as u32 - 1)?).expect("it is in range");
        // On Ethernet it is a station's, which is not used.
        let parsed = address.parse::<IpAddr>();
        let is_station = address.split(':').filter(|part| part.len() == 2).count() == 6;
        match parsed {
            Ok(address) => self.addresses.push((line, node, (*tag).to_owned(), address)),
            Err(_) if is_station => self.note(line, "set-addr", "stations are learned"),
            Err(_) => return Err(format!("`{address}` is no address")),
        }
        Ok(())
    }

    /// Reads `name:value …`.
    fn values(&mut self, line: usize, directive: &str, words: &[&str]) -> Said<()> {
        if words.is_empty() {
            return Err(format!("write: {directive} NAME:VALUE"));
        }
        for word in words {
            let Some((name, value)) = word.split_once(':') else {
                return Err(format!("`{word}`: write NAME:VALUE"));
            };
            let value = number(value, 0..=1_000_000)?;
            let timer = TIMERS.iter().find(|timer| **timer == name);
            if directive == "set-timer"
                && let Some(timer) = timer
            {
                if value == 0 {
                    return Err(format!("`{word}`: not 0"));
                }
                self.timers.insert(timer, u64::from(value));
                continue;
            }
            let known: &[&str] = if directive == "set-timer" { &OTHER_TIMERS } else { &FLOWS };
            if !known.contains(&name) {
                let kind = if directive == "set-timer" { "timer" } else { "limit" };
                return Err(format!("there is no {kind} `{name}`"));
            }
            self.note(line, &format!("{directive} {name}"), "nothing here depends on it");
        }
        Ok(())
    }

    /// Reads `0-7 12`.
    fn range(&mut self, words: &[&str], here: bool) -> Said<()> {
        if words.is_empty() {
            return Err("write ids: 0-7".into());
        }
        let mut exists = self.exists.unwrap_or([!here; IDS]);
        mark(&mut exists, words, here)?;
        self.exists = Some(exists);
        Ok(())
    }

    /// What concerns the file as a whole.
    fn finish(mut self, mut mistakes: Vec<Mistake>) -> Result<Tab, Vec<Mistake>> {
        let mut wrong = |line: usize, text: String| mistakes.push(Mistake { line, text });
        let is_ether = |link: &Link| matches!(link.over, Over::Ether { .. });
        if self.node.is_none() {
            wrong(0, "there is no set-node".into());
        }
        if self.links.is_empty() {
            wrong(0, "there is no link".into());
        }
        if let Some((line, false)) = self.broadcast
            && let Some(link) = self.links.iter().find(|link| is_ether(link))
        {
            let tag = &link.tag;
            wrong(
                line,
                format!("heartbeats on Ethernet go to all stations, on link `{tag}` as well"),
            );
        }
        for (line, _, tag, _) in &self.addresses {
            match self.links.iter().find(|link| link.tag == *tag) {
                None => wrong(*line, format!("there is no link `{tag}`")),
                Some(link) if is_ether(link) => {
                    wrong(*line, format!("link `{tag}` is Ethernet and has no such address"));
                }
                Some(_) => {}
            }
        }
        for link in self.links.iter().filter(|link| !is_ether(link)) {
            if !self.addresses.iter().any(|(_, _, tag, _)| *tag == link.tag) {
                let tag = &link.tag;
                let why = "broadcast heartbeats over UDP are not there: give set-addr";
                wrong(link.line, format!("link `{tag}`: {why} for each peer"));
            }
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        let (Some((_, node)), []) = (self.node, &mistakes[..]) else { return Err(mistakes) };
        let cluster = self.cluster.map_or(cluster_number(0), |(_, cluster)| cluster);
        if self.links.len() == 1 {
            self.notes.push("there is one link: when it fails the nodes lose each other".into());
        }
        let addresses = self.addresses.into_iter();
        Ok(Tab {
            node,
            cluster,
            links: self.links,
            addresses: addresses.map(|(_, node, tag, address)| (node, tag, address)).collect(),
            timers: self.timers,
            exists: self.exists.unwrap_or([true; IDS]),
            notes: self.notes,
        })
    }
}

/// The number here of a cluster that LLT numbers so: clusters are numbered from 1 here, and LLT's 0,
/// which is its default, gets the first number that no cluster of LLT's has.
pub(super) fn cluster_number(llt: u32) -> u32 {
    if llt == 0 { CLUSTER_ZERO } else { llt }
}

/// The other way round.
pub(super) fn cluster_shown(number: u32) -> u32 {
    if number == CLUSTER_ZERO { 0 } else { number }
}

fn one<'a>(directive: &str, words: &[&'a str]) -> Said<&'a str> {
    match words {
        [word] => Ok(word),
        [] => Err(format!("{directive} needs a value")),
        [_, more, ..] => Err(format!("{directive} has one value: `{more}` is too much")),
    }
}

fn once<T>(directive: &str, place: &mut Option<(usize, T)>, line: usize, value: T) -> Said<()> {
    match place {
        Some((first, _)) => Err(format!("{directive} is there in line {first} already")),
        None => {
            *place = Some((line, value));
            Ok(())
        }
    }
}

/// Marks the ids of `0-7 12`.
fn mark(ids: &mut [bool; IDS], words: &[&str], mark: bool) -> Said<()> {
    for word in words.iter().flat_map(|word| word.split(',')) {
        let (low, high) = word.split_once('-').unwrap_or((word, word));
        let id = |text| number(text, 0..=IDS as u32 - 1).map_err(|why| format!("`{word}`: {why}"));
        let (low, high) = (id(low)?, id(high)?);
        if low > high {
            return Err(format!("`{word}` ends before it begins"));
        }
        ids[low as usize..=high as usize].fill(mark);
    }
    Ok(())
}

fn who(word: &str) -> Said<Who> {
    if word.starts_with('/') {
        return Ok(Who::File(word.to_owned()));
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        let id = number(word, 0..=IDS as u32 - 1)?;
        return Ok(Who::Id(u8::try_from(id).expect("it is in range")));
    }
    short_name(word).map(Who::Name)
}

fn number(word: &str, limits: std::ops::RangeInclusive<u32>) -> Said<u32> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let read = word.parse().ok().filter(|read| digits && limits.contains(read));
    read.ok_or_else(|| format!("`{word}` is no number from {} to {}", limits.start(), limits.end()))
}

/// Reads a SAP, `-` or `0xCAFE`.
pub(super) fn ethertype(word: &str) -> Said<u16> {
    if word == "-" {
        return Ok(ETHERTYPE);
    }
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let read = match digits {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    let usable = read.filter(|read| is_usable_ethertype(*read));
    usable.ok_or_else(|| format!("`{word}` is no usable SAP, such as 0xCAFE"))
}

/// Refuses an MTU, `-` or a number, that frames do not fit into.
pub(super) fn check_mtu(word: &str) -> Said<()> {
    if word != "-" {
        number(word, MTU_MIN..=65_535)?;
    }
    Ok(())
}

/// The name that Linux has for a device: `/dev/qfe:0` is `qfe0`. None for `eth-` and a station's
/// address, which is looked up.
pub(super) fn interface(device: &str) -> Result<String, String> {
    match device.strip_prefix("eth-") {
        Some(station) => Err(station.to_ascii_lowercase()),
        None => Ok(device.strip_prefix("/dev/").unwrap_or(device).replace(':', "")),
    }
}

#[cfg(test)]
mod tests;
