//! What the kernel of a node counted: frames on its interfaces, datagrams that it had no room for.

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Counters of one interface of a node, since it was made (netdevice(7), `/proc/net/dev`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of frames that came, with their Ethernet headers.
    pub received_bytes: u64,
    /// Frames that came.
    pub received_packets: u64,
    /// Bytes of frames that left.
    pub sent_bytes: u64,
    /// Frames that left.
    pub sent_packets: u64,
}

impl Traffic {
    /// What came and left since an earlier look.
    #[must_use]
    pub fn since(self, earlier: Traffic) -> Traffic {
        Traffic {
            received_bytes: self.received_bytes - earlier.received_bytes,
            received_packets: self.received_packets - earlier.received_packets,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            sent_packets: self.sent_packets - earlier.sent_packets,
        }
    }
}

impl Traffic {
    /// The sum of both.
    pub(crate) fn plus(self, other: Traffic) -> Traffic {
        Traffic {
            received_bytes: self.received_bytes + other.received_bytes,
            received_packets: self.received_packets + other.received_packets,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            sent_packets: self.sent_packets + other.sent_packets,
        }
    }
}

impl Lab {
    /// The traffic of a node's interface.
    ///
    /// # Errors
    /// When the node has no power or no such interface.
    pub fn traffic(&mut self, node: &str, network: &str) -> Result<Traffic> {
        let text = self.node_file(node, "/proc/thread-self/net/dev")?;
        parse_traffic(&text, network).with_context(|| format!("{node} has no interface {network}"))
    }

    /// Datagrams that a node's kernel dropped because a socket had no room.
    ///
    /// # Errors
    /// When the node has no power.
    pub fn datagrams_dropped(&mut self, node: &str) -> Result<u64> {
        let text = self.node_file(node, "/proc/thread-self/net/snmp")?;
        parse_dropped(&text).with_context(|| format!("{node} has no UDP counters"))
    }

    /// Packets that the stranger has cut into fragments, as a router.
    pub(crate) fn fragmented_by_stranger(&self) -> Result<u64> {
        let path = "/proc/thread-self/net/snmp";
        let text = self.stranger().namespace().run(|| Ok(std::fs::read_to_string(path)?))?;
        parse_counter(&text, "Ip: ", "FragOKs").context("a kernel counts fragments")
    }

    /// A file of `/proc` as a thread in the node's network namespace sees it.
    fn node_file(&mut self, node: &str, path: &str) -> Result<String> {
        let namespace = &self.machine(node)?.namespace;
        namespace.run(|| std::fs::read_to_string(path).with_context(|| format!("reading {path}")))
    }
}

/// `  net0: bytes packets errs drop fifo frame compressed multicast bytes packets …`
fn parse_traffic(text: &str, interface: &str) -> Option<Traffic> {
    let rest = text.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (name.trim() == interface).then_some(rest)
    })?;
    let numbers: Vec<u64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Some(Traffic {
        received_bytes: *numbers.first()?,
        received_packets: *numbers.get(1)?,
        sent_bytes: *numbers.get(8)?,
        sent_packets: *numbers.get(9)?,
    })
}

fn parse_dropped(text: &str) -> Option<u64> {
    parse_counter(text, "Udp: ", "RcvbufErrors")
}

/// Two lines that begin with the same word: names, then numbers.
fn parse_counter(text: &str, start: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(start));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let place = names.split(' ').position(|found| found == name)?;
    numbers.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests;
