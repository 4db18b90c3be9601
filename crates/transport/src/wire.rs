//! The bytes of a frame. All numbers are big-endian.
//!
//! ```text
//!  clear header, 40 bytes, authenticated
//!  0         2    3    4          8     9     10       11    12    13        16         32        40
//!  | "MS"    | min| max| cluster  | src | dst | network| slot| kind| 0 0 0   | session  | counter |
//!
//!  proof, 40 bytes, the start of every sealed body
//!  0             8        16     20         24      28       36     40
//!  | incarnation | stamp  | tag  | channel  | known | echo   | held |
//!
//!  heartbeat                                      data
//!  0     16      20     22       26       28      0       1          9        17
//!  | row | heard | loss | jitter | length | …     | flags | urgent   | bulk   | maps | items …
//!
//!  item of a data frame
//!  0       1          9        11
//!  | flags | sequence | length | …
//! ```
//!
//! - `min`, `max`: protocol versions that the sender speaks. The lower `max` is spoken.
//! - `stamp`: the sender's clock, opaque to everybody else. `echo`: the newest stamp of the
//!   addressee that came over this path, `held` microseconds ago. `tag`: first four bytes of the
//!   session of the addressee for which the frame is meant: says which life is echoed.
//! - `channel`: number of the sender's end of the channel to that life; `known`: the number of the
//!   other end as the sender knows it. Zero: none yet, or the life is not the one that counts.
//! - `heard`: bit n set when the addressee was heard on network n within the path timeout; `loss`
//!   (permille) and `jitter` (microseconds) of this path as measured by the sender of the frame.
//! - `urgent`, `bulk`: the next sequence number wanted in that lane. A map of 256 bits for those
//!   beyond it follows for each lane whose flag is set (1 urgent, 2 bulk).
//! - item flags: 1 bulk lane, 2 first of its message, 4 last of its message.
//!
//! A goodbye has a proof with only the incarnation set, and no body: it is sealed long before it
//! is sent.

use base::codec::{Malformed, Reader};
use base::limits::{DATAGRAM_SIZE_MAX, HEARTBEAT_SIZE_MAX, REPORT_SIZE_MAX};
use base::{Incarnation, NetworkId, NodeId, NodeSet};

use crate::config::Lane;
use crate::seal::{NONCE_SIZE, TAG_SIZE};

pub(crate) const MAGIC: [u8; 2] = *b"MS";
/// Protocol versions that this program speaks.
pub(crate) const VERSION_MIN: u8 = 1;
pub(crate) const VERSION_MAX: u8 = 1;

pub(crate) const HEADER_SIZE: usize = 40;
pub(crate) const PROOF_SIZE: usize = 40;
const HEARTBEAT_FIXED_SIZE: usize = 28;
const ITEM_HEADER_SIZE: usize = 11;
const ACKS_SIZE_MAX: usize = 1 + 2 * 8 + 2 * 32;

/// Bytes for items in a data frame, whatever else it carries.
pub(crate) const ITEMS_SIZE_MAX: usize =
    DATAGRAM_SIZE_MAX - HEADER_SIZE - PROOF_SIZE - TAG_SIZE - ACKS_SIZE_MAX;
/// Bytes of a message in one item.
pub(crate) const FRAGMENT_SIZE_MAX: usize = ITEMS_SIZE_MAX - ITEM_HEADER_SIZE;
/// Sequence numbers that a map of acknowledgements speaks of, and so the most that may be sent
/// beyond the first one that is not acknowledged.
pub(crate) const WINDOW_FRAGMENTS: u64 = 256;

const _: () = assert!(
    HEADER_SIZE + PROOF_SIZE + HEARTBEAT_FIXED_SIZE + REPORT_SIZE_MAX + TAG_SIZE
        <= HEARTBEAT_SIZE_MAX
);
const _: () = assert!(HEARTBEAT_SIZE_MAX <= DATAGRAM_SIZE_MAX);
const _: () = assert!(FRAGMENT_SIZE_MAX > 1_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Heartbeat = 1,
    Data = 2,
    Goodbye = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) cluster: u32,
    pub(crate) source: NodeId,
    pub(crate) destination: NodeId,
    pub(crate) network: NetworkId,
    pub(crate) slot: u8,
    pub(crate) kind: Kind,
    pub(crate) session: [u8; 16],
    pub(crate) counter: u64,
}

/// Why a clear header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Malformed,
    Version,
}

impl Header {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION_MIN, VERSION_MAX]);
        out.extend_from_slice(&self.cluster.to_be_bytes());
        out.extend_from_slice(&[self.source.0, self.destination.0, self.network.0, self.slot]);
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&self.counter.to_be_bytes());
    }

    /// The header of a frame. Another version may have another layout behind the first eight
    /// bytes, so versions are compared first.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let malformed = |_: Malformed| HeaderError::Malformed;
        let mut reader = Reader::new(bytes);
        if reader.array::<2>().map_err(malformed)? != MAGIC {
            return Err(HeaderError::Malformed);
        }
        let [min, max] = reader.array().map_err(malformed)?;
        if min > max {
            return Err(HeaderError::Malformed);
        }
        if min > VERSION_MAX || max < VERSION_MIN {
            return Err(HeaderError::Version);
        }
        Header::decode_rest(reader).map_err(malformed)
    }

    fn decode_rest(mut reader: Reader<'_>) -> Result<Header, Malformed> {
        let cluster = reader.u32()?;
        let [source, destination, network, slot] = reader.array()?;
        let kind = match reader.array()? {
            [1, 0, 0, 0] => Kind::Heartbeat,
            [2, 0, 0, 0] => Kind::Data,
            [3, 0, 0, 0] => Kind::Goodbye,
            _ => return Err(Malformed),
        };
        let session = reader.array()?;
        let counter = reader.u64()?;
        if reader.rest().len() < PROOF_SIZE + TAG_SIZE || slot > 1 {
            return Err(Malformed);
        }
        Ok(Header {
            cluster,
            source: NodeId(source),
            destination: NodeId(destination),
            network: NetworkId(network),
            slot,
            kind,
            session,
            counter,
        })
    }

    /// Unique for each frame of a life; see `seal.rs`.
    pub(crate) fn nonce(&self) -> [u8; NONCE_SIZE] {
        let mut nonce = [0; NONCE_SIZE];
        nonce[0] = u8::from(self.kind == Kind::Goodbye);
        nonce[1] = self.destination.0;
        nonce[2] = self.network.0;
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        nonce
    }
}

/// The start of every sealed body: whose life this is, and which of the addressee's it has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) incarnation: Incarnation,
    pub(crate) stamp: u64,
    pub(crate) tag: [u8; 4],
    pub(crate) channel: u32,
    pub(crate) known: u32,
    /// Zero: nothing was heard yet.
    pub(crate) echo: u64,
    pub(crate) held: u32,
}

impl Proof {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.incarnation.0.to_be_bytes());
        out.extend_from_slice(&self.stamp.to_be_bytes());
        out.extend_from_slice(&self.tag);
        out.extend_from_slice(&self.channel.to_be_bytes());
        out.extend_from_slice(&self.known.to_be_bytes());
        out.extend_from_slice(&self.echo.to_be_bytes());
        out.extend_from_slice(&self.held.to_be_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Proof, Malformed> {
        Ok(Proof {
            incarnation: Incarnation(reader.u64()?),
            stamp: reader.u64()?,
            tag: reader.array()?,
            channel: reader.u32()?,
            known: reader.u32()?,
            echo: reader.u64()?,
            held: reader.u32()?,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat<'a> {
    pub(crate) row: NodeSet,
    pub(crate) heard: u32,
    pub(crate) loss: u16,
    pub(crate) jitter: u32,
    pub(crate) report: &'a [u8],
}

impl<'a> Heartbeat<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.row.bits().to_be_bytes());
        out.extend_from_slice(&self.heard.to_be_bytes());
        out.extend_from_slice(&self.loss.to_be_bytes());
        out.extend_from_slice(&self.jitter.to_be_bytes());
        let length = u16::try_from(self.report.len()).expect("REPORT_SIZE_MAX was checked");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.report);
    }

    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Heartbeat<'a>, Malformed> {
        let row = NodeSet::from_bits(reader.u128()?);
        let (heard, loss, jitter) = (reader.u32()?, reader.u16()?, reader.u32()?);
        let length = usize::from(reader.u16()?);
        if length > REPORT_SIZE_MAX || loss > 1000 {
            return Err(Malformed);
        }
        let report = reader.take(length)?;
        reader.end()?;
        Ok(Heartbeat { row, heard, loss, jitter, report })
    }
}

/// What was received in one lane: everything below `next`, and `next + 1 + i` for each bit i.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) next: u64,
    pub(crate) map: [u64; 4],
}

impl Ack {
    /// The sequence numbers that the map names.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = u64> + '_ {
        self.map.iter().enumerate().flat_map(move |(word, &bits)| {
            let base = self.next.saturating_add(1 + word as u64 * 64);
            core::iter::successors((bits != 0).then_some(bits), |bits| {
                let rest = bits & (bits - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |bits| base.saturating_add(u64::from(bits.trailing_zeros())))
        })
    }
}

/// Indexed by lane: urgent, bulk.
pub(crate) fn encode_acks(acks: &[Ack; 2], out: &mut Vec<u8>) {
    let has_map = |ack: &Ack| ack.map != [0; 4];
    out.push(u8::from(has_map(&acks[0])) | u8::from(has_map(&acks[1])) << 1);
    for ack in acks {
        out.extend_from_slice(&ack.next.to_be_bytes());
    }
    for ack in acks.iter().filter(|ack| has_map(ack)) {
        for word in ack.map {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

fn decode_acks(reader: &mut Reader<'_>) -> Result<[Ack; 2], Malformed> {
    let flags = reader.u8()?;
    if flags > 3 {
        return Err(Malformed);
    }
    let mut acks = [Ack::default(); 2];
    for ack in &mut acks {
        ack.next = reader.u64()?;
    }
    for (lane, ack) in acks.iter_mut().enumerate() {
        if flags & 1 << lane != 0 {
            for word in &mut ack.map {
                *word = reader.u64()?;
            }
        }
    }
    Ok(acks)
}

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    pub(crate) lane: Lane,
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) sequence: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Item<'a> {
    /// What an item of so many bytes takes.
    pub(crate) const fn size(length: usize) -> usize {
        ITEM_HEADER_SIZE + length
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let bulk = u8::from(self.lane == Lane::Bulk);
        out.push(bulk | u8::from(self.first) << 1 | u8::from(self.last) << 2);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        let length = u16::try_from(self.bytes.len()).expect("FRAGMENT_SIZE_MAX fits");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.bytes);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Item<'a>, Malformed> {
        let flags = reader.u8()?;
        let sequence = reader.u64()?;
        let length = usize::from(reader.u16()?);
        if flags > 7 || length > FRAGMENT_SIZE_MAX {
            return Err(Malformed);
        }
        let lane = if flags & 1 == 0 { Lane::Urgent } else { Lane::Bulk };
        let bytes = reader.take(length)?;
        Ok(Item { lane, first: flags & 2 != 0, last: flags & 4 != 0, sequence, bytes })
    }
}

/// The body of a data frame, checked as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Data<'a> {
    pub(crate) acks: [Ack; 2],
    items: Reader<'a>,
}

impl<'a> Data<'a> {
    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Data<'a>, Malformed> {
        let acks = decode_acks(&mut reader)?;
        let data = Data { acks, items: reader };
        let mut rest = data.items.clone();
        while !rest.clone().rest().is_empty() {
            Item::decode(&mut rest)?;
        }
        Ok(data)
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let mut reader = self.items.clone();
        core::iter::from_fn(move || Item::decode(&mut reader).ok())
    }
}
