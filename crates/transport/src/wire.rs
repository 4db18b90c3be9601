//! The bytes of a frame. All numbers are big-endian.
//!
//! ```text
//!  clear header, 40 bytes, authenticated
//!  0         2    3    4          8     9     10        12     13     14     16         32        40
//!  | "MS"    | min| max| cluster  | src | dst | network | slot | kind | 0  0 | session  | counter |
//!
//!  proof, 40 bytes, the start of every sealed body
//!  0             8        16     20         24      28       36     40
//!  | incarnation | stamp  | tag  | channel  | known | echo   | held |
//!
//!  heartbeat
//!  0     16     18       22     26      30         34      35      36      36 + 2 × count
//!  | row | loss | jitter | name | known | evidence | watch | count | heard | length | report …
//!
//!  data
//!  0       1          9        17
//!  | flags | urgent   | bulk   | maps | items …
//!
//!  item of a data frame                 the same of a piece of a fragment
//!  0       1          9        11       0       1          9        11       13      15
//!  | flags | sequence | length | …      | flags | sequence | length | offset | whole | …
//! ```
//!
//! - `min`, `max`: protocol versions that the sender speaks. The lower `max` is spoken.
//! - `stamp`: the sender's clock, opaque to everybody else. `echo`: the newest stamp of the
//!   addressee that came over this path, `held` microseconds ago. `tag`: first four bytes of the
//!   session of the addressee for which the frame is meant: says which life is echoed.
//! - `channel`: number of the sender's end of the channel to that life; `known`: the number of the
//!   other end as the sender knows it. Zero: none yet, or the life is not the one that counts.
//! - `heard`: the numbers of the networks on which the addressee was heard within the path's
//!   timeout, two bytes each; `loss` (permille) and `jitter` (microseconds) of this path as measured by the sender of the frame.
//! - `name`: a checksum that names the sender's present report; `known`: that of the addressee's
//!   report as the sender knows it, 0 without one. A report that the addressee knows already is left
//!   out, and `length` is 0xffff: so heartbeats are short almost always.
//! - `evidence`: how many microseconds ago the evidence was new on which the sender's own lease
//!   rests, 0xffffffff when it tells none.
//! - `watch`: 1 when the sender watches the addressee on this path, 0 when it only answers.
//! - `urgent`, `bulk`: the next sequence number wanted in that lane. A map of 256 bits for those
//!   beyond it follows for each lane whose flag is set (1 urgent, 2 bulk).
//! - item flags: 1 bulk lane, 2 first of its message, 4 last of its message, 8 only a piece of the
//!   fragment, which is `whole` bytes long. A fragment that does not get through travels in pieces,
//!   each in a datagram of at most [`SMALL_DATAGRAM_SIZE_MAX`] bytes; it is acknowledged when all of
//!   them are there.
//!
//! Kind 4 is a heartbeat to everybody on a network; its body is in `shared.rs`.
//!
//! A goodbye has a proof with only the incarnation set, and no body: it is sealed long before it
//! is sent.

use core::ops::Range;
use core::time::Duration;

use base::codec::{Malformed, Reader};
use base::limits::{DATAGRAM_SIZE_MAX, HEARTBEAT_SIZE_MAX, PATHS_PER_PEER_MAX, REPORT_SIZE_MAX};
use base::{Incarnation, NetworkId, NodeId, NodeSet};

use crate::config::Lane;
use crate::seal::{NONCE_SIZE, TAG_SIZE};

pub(crate) const MAGIC: [u8; 2] = *b"MS";
/// Protocol versions that this program speaks.
pub(crate) const VERSION_MIN: u8 = 1;
pub(crate) const VERSION_MAX: u8 = 1;

pub(crate) const HEADER_SIZE: usize = 40;
pub(crate) const PROOF_SIZE: usize = 40;
const HEARTBEAT_FIXED_SIZE: usize = 38 + 2 * PATHS_PER_PEER_MAX;
/// The length of a report that is left out.
pub(crate) const LEFT_OUT: u16 = u16::MAX;
/// The age of evidence that is not told.
const NO_AGE: u32 = u32::MAX;
const ITEM_HEADER_SIZE: usize = 11;
const PIECE_HEADER_SIZE: usize = ITEM_HEADER_SIZE + 4;
const ACKS_SIZE_MAX: usize = 1 + 2 * 8 + 2 * 32;

/// Bytes for items in a data frame, whatever else it carries.
pub(crate) const ITEMS_SIZE_MAX: usize =
    DATAGRAM_SIZE_MAX - HEADER_SIZE - PROOF_SIZE - TAG_SIZE - ACKS_SIZE_MAX;
/// Bytes of a message in one item.
pub(crate) const FRAGMENT_SIZE_MAX: usize = ITEMS_SIZE_MAX - ITEM_HEADER_SIZE;
/// Bytes of a datagram that every receiver of IPv4 must be able to take in one packet (RFC 1122
/// section 3.3.2: 576, with headers of 20 and 8).
pub(crate) const SMALL_DATAGRAM_SIZE_MAX: usize = 548;
/// Bytes of a fragment in one such datagram.
pub(crate) const PIECE_SIZE_MAX: usize = SMALL_DATAGRAM_SIZE_MAX
    - HEADER_SIZE
    - PROOF_SIZE
    - TAG_SIZE
    - ACKS_SIZE_MAX
    - PIECE_HEADER_SIZE;
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
    /// To everybody on the network; the destination is 0.
    Shared = 4,
}

/// Whether a frame that was given out must not stand behind others on a slow medium: heartbeats and
/// goodbyes.
#[must_use]
pub fn is_pressing(frame: &[u8]) -> bool {
    let pressing = [Kind::Heartbeat, Kind::Goodbye, Kind::Shared].map(|kind| kind as u8);
    frame.get(KIND_PLACE).is_some_and(|kind| pressing.contains(kind))
}

/// The network that a frame says it came over. Nothing vouches for it yet.
#[must_use]
pub fn network_of(frame: &[u8]) -> Option<NetworkId> {
    let bytes = frame.get(NETWORK_PLACE..NETWORK_PLACE + 2)?;
    Some(NetworkId(u16::from_be_bytes([bytes[0], bytes[1]])))
}

/// Whether a frame says that it is for this node, or for everybody.
#[must_use]
pub fn is_for(frame: &[u8], node: NodeId) -> bool {
    let is_shared = frame.get(KIND_PLACE) == Some(&(Kind::Shared as u8));
    is_shared || frame.get(DESTINATION_PLACE) == Some(&node.0)
}

/// The node that a frame says it comes from. Nothing vouches for it yet.
#[must_use]
pub fn source_of(frame: &[u8]) -> Option<NodeId> {
    frame.get(SOURCE_PLACE).copied().map(NodeId)
}

/// Where the header has the sender and the addressee.
const SOURCE_PLACE: usize = 8;
const DESTINATION_PLACE: usize = 9;
/// Where the header has the network.
const NETWORK_PLACE: usize = 10;
/// Where the header has the kind.
const KIND_PLACE: usize = 13;

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
        out.extend_from_slice(&[self.source.0, self.destination.0]);
        out.extend_from_slice(&self.network.0.to_be_bytes());
        out.extend_from_slice(&[self.slot, self.kind as u8, 0, 0]);
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
        let [source, destination] = reader.array()?;
        let network = reader.u16()?;
        let [slot, kind, zero, also] = reader.array()?;
        let kind = match [kind, zero, also] {
            [1, 0, 0] => Kind::Heartbeat,
            [2, 0, 0] => Kind::Data,
            [3, 0, 0] => Kind::Goodbye,
            [4, 0, 0] if destination == 0 => Kind::Shared,
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
        nonce[0] = match self.kind {
            Kind::Heartbeat | Kind::Data => 0,
            Kind::Goodbye => 1,
            Kind::Shared => 2,
        };
        nonce[1] = self.destination.0;
        nonce[2..4].copy_from_slice(&self.network.0.to_be_bytes());
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

/// Networks on which somebody was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    count: usize,
    networks: [NetworkId; PATHS_PER_PEER_MAX],
}

impl Heard {
    pub(crate) fn contains(&self, network: NetworkId) -> bool {
        self.networks[..self.count].contains(&network)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.count as u8);
        let networks = self.networks[..self.count].iter();
        networks.for_each(|network| out.extend_from_slice(&network.0.to_be_bytes()));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Heard, Malformed> {
        let count = usize::from(reader.u8()?);
        let mut heard = Heard { count, ..Heard::default() };
        for network in heard.networks.get_mut(..count).ok_or(Malformed)? {
            *network = NetworkId(reader.u16()?);
        }
        Ok(heard)
    }
}

impl FromIterator<NetworkId> for Heard {
    /// Of at most `PATHS_PER_PEER_MAX` networks.
    fn from_iter<I: IntoIterator<Item = NetworkId>>(networks: I) -> Heard {
        let mut heard = Heard::default();
        for network in networks {
            heard.networks[heard.count] = network;
            heard.count += 1;
        }
        heard
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat<'a> {
    pub(crate) row: NodeSet,
    pub(crate) heard: Heard,
    pub(crate) loss: u16,
    pub(crate) jitter: u32,
    pub(crate) name: u32,
    pub(crate) known: u32,
    /// Whether the sender watches the addressee on this path.
    pub(crate) watches: bool,
    /// Rounded up to whole microseconds on the wire.
    pub(crate) evidence_age: Option<Duration>,
    /// None when the addressee knows it.
    pub(crate) report: Option<&'a [u8]>,
}

impl<'a> Heartbeat<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.row.bits().to_be_bytes());
        out.extend_from_slice(&self.loss.to_be_bytes());
        out.extend_from_slice(&self.jitter.to_be_bytes());
        out.extend_from_slice(&self.name.to_be_bytes());
        out.extend_from_slice(&self.known.to_be_bytes());
        encode_age(self.evidence_age, out);
        out.push(u8::from(self.watches));
        self.heard.encode(out);
        let length = |report: &[u8]| u16::try_from(report.len()).expect("it was checked when set");
        out.extend_from_slice(&self.report.map_or(LEFT_OUT, length).to_be_bytes());
        out.extend_from_slice(self.report.unwrap_or_default());
    }

    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Heartbeat<'a>, Malformed> {
        let row = NodeSet::from_bits(reader.u128()?);
        let (loss, jitter) = (reader.u16()?, reader.u32()?);
        let (name, known) = (reader.u32()?, reader.u32()?);
        let evidence_age = decode_age(&mut reader)?;
        let watches = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let heard = Heard::decode(&mut reader)?;
        let report = match reader.u16()? {
            LEFT_OUT => None,
            length if usize::from(length) <= REPORT_SIZE_MAX => {
                Some(reader.take(usize::from(length))?)
            }
            _ => return Err(Malformed),
        };
        reader.end()?;
        if loss > 1000 || report.is_some_and(|report| name != report_name(report)) {
            return Err(Malformed);
        }
        Ok(Heartbeat { row, heard, loss, jitter, name, known, watches, evidence_age, report })
    }
}

/// Rounded up to whole microseconds.
pub(crate) fn encode_age(age: Option<Duration>, out: &mut Vec<u8>) {
    let micros = age.map(|age| age.as_nanos().div_ceil(1_000));
    let age = micros.and_then(|micros| u32::try_from(micros).ok()).unwrap_or(NO_AGE);
    out.extend_from_slice(&age.to_be_bytes());
}

pub(crate) fn decode_age(reader: &mut Reader<'_>) -> Result<Option<Duration>, Malformed> {
    let age = Some(reader.u32()?).filter(|age| *age != NO_AGE);
    Ok(age.map(|micros| Duration::from_micros(micros.into())))
}

/// What names a report in heartbeats; never 0. Frames are authentic: this guards against nothing
/// but mixing up two reports of one life.
pub(crate) fn report_name(report: &[u8]) -> u32 {
    // FNV-1a.
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    report.iter().fold(0x811c_9dc5, fold).max(1)
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
    /// Set when `bytes` are a piece of the fragment only.
    pub(crate) piece: Option<Piece>,
    pub(crate) bytes: &'a [u8],
}

/// Which part of a fragment a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// How many pieces stand before it.
    pub(crate) place: usize,
    /// Bytes of the fragment.
    pub(crate) whole: usize,
}

impl Piece {
    /// Its bytes in the fragment.
    pub(crate) fn range(self) -> Range<usize> {
        let start = self.place * PIECE_SIZE_MAX;
        start..self.whole.min(start + PIECE_SIZE_MAX)
    }
}

impl<'a> Item<'a> {
    /// What an item of so many bytes takes.
    pub(crate) const fn size(length: usize) -> usize {
        ITEM_HEADER_SIZE + length
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let bulk = u8::from(self.lane == Lane::Bulk);
        let piece = u8::from(self.piece.is_some());
        out.push(bulk | u8::from(self.first) << 1 | u8::from(self.last) << 2 | piece << 3);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        let length = u16::try_from(self.bytes.len()).expect("FRAGMENT_SIZE_MAX fits");
        out.extend_from_slice(&length.to_be_bytes());
        if let Some(piece) = self.piece {
            let both = [piece.range().start, piece.whole];
            let both = both.map(|size| u16::try_from(size).expect("FRAGMENT_SIZE_MAX fits"));
            both.iter().for_each(|size| out.extend_from_slice(&size.to_be_bytes()));
        }
        out.extend_from_slice(self.bytes);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Item<'a>, Malformed> {
        let flags = reader.u8()?;
        let sequence = reader.u64()?;
        let length = usize::from(reader.u16()?);
        if flags > 15 || length > FRAGMENT_SIZE_MAX {
            return Err(Malformed);
        }
        let piece = match flags & 8 != 0 {
            true => Some(decode_piece(reader, length)?),
            false => None,
        };
        let lane = if flags & 1 == 0 { Lane::Urgent } else { Lane::Bulk };
        let bytes = reader.take(length)?;
        let (first, last) = (flags & 2 != 0, flags & 4 != 0);
        Ok(Item { lane, first, last, sequence, piece, bytes })
    }
}

/// Fragments are cut into pieces in one way only, so that they fit together whatever is lost.
fn decode_piece(reader: &mut Reader<'_>, length: usize) -> Result<Piece, Malformed> {
    let (offset, whole) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
    let piece = Piece { place: offset / PIECE_SIZE_MAX, whole };
    let is_piece = PIECE_SIZE_MAX < whole && whole <= FRAGMENT_SIZE_MAX && offset < whole;
    if !is_piece || piece.range() != (offset..offset + length) {
        return Err(Malformed);
    }
    Ok(piece)
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
