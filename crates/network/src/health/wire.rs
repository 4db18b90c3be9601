//! The bodies of health frames. All numbers are big-endian.
//!
//! ```text
//!  0         1      2         6     8      9           13    19     27         31
//!  | version | kind | cluster | net | node | interface | mac | life | sequence | …
//!
//!  1 notice   nothing more: "here I am"
//!  2 poll     nodes (16, a bit for each)       who shall answer; none: everybody who hears it
//!  3 answer   to node | to interface | count | interfaces …
//! ```
//!
//! `node`, `interface` and `mac` are the sender's. `life` and `sequence` are the sender's life and round; in
//! an answer those of the poll that it answers. The interfaces in an answer are those of the polling
//! node that the answering card heard in that round.

use base::codec::{Malformed, Reader};
use base::limits::NODES_MAX;
use base::{NetworkId, NodeId, NodeSet};

use crate::wire::Mac;

/// Interfaces in one answer, and cards of one net on one node.
pub const CARDS_MAX: usize = 32;
/// Bytes of the longest body.
pub const BODY_SIZE_MAX: usize = HEAD_SIZE + 6 + 4 * CARDS_MAX;

const VERSION: u8 = 1;
const NOTICE: u8 = 1;
const POLL: u8 = 2;
const ANSWER: u8 = 3;
const HEAD_SIZE: usize = 31;

/// A card somewhere in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Station {
    /// Its node.
    pub node: NodeId,
    /// Its number there.
    pub interface: u32,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number of the cluster.
    pub cluster: u32,
    /// Number of the net.
    pub net: NetworkId,
    /// Whose it is.
    pub from: Station,
    /// Where answers to it go.
    pub mac: Mac,
    /// The life in which the round was begun.
    pub life: u64,
    /// The round.
    pub sequence: u32,
    /// What it says.
    pub says: Says,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// The card can be heard.
    Notice,
    /// The same, and these nodes shall answer; none named: all.
    Poll(NodeSet),
    /// These interfaces of the polling node were heard; `to` is the poller.
    Answer {
        /// The poller.
        to: Station,
        /// Numbers of interfaces.
        heard: Vec<u32>,
    },
}

impl Frame {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_SIZE + 8);
        let kind = match &self.says {
            Says::Notice => NOTICE,
            Says::Poll(_) => POLL,
            Says::Answer { .. } => ANSWER,
        };
        bytes.extend([VERSION, kind]);
        bytes.extend(self.cluster.to_be_bytes());
        bytes.extend(self.net.0.to_be_bytes());
        bytes.push(self.from.node.0);
        bytes.extend(self.from.interface.to_be_bytes());
        bytes.extend(self.mac);
        bytes.extend(self.life.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        match &self.says {
            Says::Notice => {}
            Says::Poll(nodes) => bytes.extend(nodes.bits().to_be_bytes()),
            Says::Answer { to, heard } => {
                assert!(heard.len() <= CARDS_MAX, "no node has more cards in a net");
                bytes.push(to.node.0);
                bytes.extend(to.interface.to_be_bytes());
                bytes.push(heard.len() as u8);
                bytes.extend(heard.iter().flat_map(|interface| interface.to_be_bytes()));
            }
        }
        bytes
    }

    /// The frame of exactly these bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Frame, Malformed> {
        let mut reader = Reader::new(bytes);
        let [version, kind] = reader.array()?;
        if version != VERSION {
            return Err(Malformed);
        }
        let cluster = reader.u32()?;
        let net = NetworkId(reader.u16()?);
        let from = station(&mut reader)?;
        let mac = reader.array()?;
        let life = reader.u64()?;
        let sequence = reader.u32()?;
        let says = match kind {
            NOTICE => Says::Notice,
            POLL => Says::Poll(NodeSet::from_bits(reader.u128()?)),
            ANSWER => {
                let to = station(&mut reader)?;
                let count = usize::from(reader.u8()?);
                if count > CARDS_MAX {
                    return Err(Malformed);
                }
                let heard = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
                Says::Answer { to, heard }
            }
            _ => return Err(Malformed),
        };
        reader.end()?;
        // A station address that is none, or one for many, is nowhere to answer to.
        if mac == [0; 6] || mac[0] & 1 == 1 {
            return Err(Malformed);
        }
        Ok(Frame { cluster, net, from, mac, life, sequence, says })
    }
}

fn station(reader: &mut Reader<'_>) -> Result<Station, Malformed> {
    let node = NodeId(reader.u8()?);
    let interface = reader.u32()?;
    if usize::from(node.0) < NODES_MAX { Ok(Station { node, interface }) } else { Err(Malformed) }
}
