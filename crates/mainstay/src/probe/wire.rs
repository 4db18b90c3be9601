//! The bytes of a probe. All numbers are big-endian.
//!
//! ```text
//!  0      2         4         8     9             10        12  13     14   16      28       size-16
//!  | "MS" | 255 255 | cluster | src | destination | network | 0 | kind | 0  | nonce | sealed | tag |
//!
//!  sealed
//!  0     8          12      20     22      23    27         31        33
//!  | run | sequence | stamp | want | flags | got | answered | largest | zeros …
//! ```
//!
//! - The first sixteen bytes are those of a frame of the transport, so that every medium carries a
//!   probe to the right end; the kind is 0x50 for an ask and 0x51 for an answer, and the versions
//!   are ones that no transport speaks.
//! - `stamp`: the asker's clock in nanoseconds, returned as it came. `want`: bytes that the answer
//!   shall have; 0 for the least.
//! - flags: 1 the answer must not be cut into fragments; 2 only the tally of run `run` is wanted;
//!   4 (in an answer) what was wanted is too large for the answerer's interface; 8 counts; 16 (in an
//!   answer) asks of this run came that were too many to be answered.
//! - `got`, `answered`: asks of this run that came and counted, and how many of them were answered.
//!   `largest`: the longest ask of this run that came.
//!
//! Sealed with AES-256-GCM (NIST SP 800-38D) under HKDF-SHA256(cluster key, "mainstay probe 1") and a
//! random nonce; what stands before the sealed part is authenticated with it.

use base::codec::{Malformed, Reader};
use base::{NetworkId, NodeId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

/// Bytes of the shortest probe.
pub const SIZE_MIN: usize = CLEAR_SIZE + BODY_SIZE + TAG_SIZE;
const CLEAR_SIZE: usize = 16 + NONCE_LEN;
const BODY_SIZE: usize = 33;
const TAG_SIZE: usize = 16;
const MAGIC: [u8; 2] = *b"MS";
const VERSIONS: [u8; 2] = [255, 255];
const KIND_PLACE: usize = 13;
const ASK: u8 = 0x50;
const ANSWER: u8 = 0x51;

/// What an ask or answer says besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// The answer must not be cut into fragments.
    pub const WHOLE: Flags = Flags(1);
    /// Only the tally of the run is wanted.
    pub const TALLY: Flags = Flags(2);
    /// What was wanted is too large for the answerer's interface.
    pub const TOO_LARGE: Flags = Flags(4);
    /// The ask counts in the tally.
    pub const COUNTS: Flags = Flags(8);
    /// Asks of the run came that were too many to be answered.
    pub const BUSY: Flags = Flags(16);

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Both.
    #[must_use]
    pub fn with(self, flags: Flags) -> Flags {
        Flags(self.0 | flags.0)
    }
}

/// What is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Names the test of one path.
    pub run: u64,
    /// Number of the ask in its run.
    pub sequence: u32,
    /// The asker's clock, nanoseconds.
    pub stamp: u64,
    /// Bytes that the answer shall have.
    pub want: u16,
    /// What else is wanted.
    pub flags: Flags,
    /// Asks that came and counted.
    pub got: u32,
    /// How many of them were answered.
    pub answered: u32,
    /// Bytes of the longest ask that came.
    pub largest: u16,
}

/// A whole probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Number of the cluster.
    pub cluster: u32,
    /// Who sent it.
    pub source: NodeId,
    /// To whom.
    pub destination: NodeId,
    /// Over which network.
    pub network: NetworkId,
    /// An answer, or else an ask.
    pub is_answer: bool,
    /// The rest.
    pub body: Body,
}

/// Whether a frame that came over a path is a probe.
#[must_use]
pub fn is_probe(frame: &[u8]) -> bool {
    frame.starts_with(&MAGIC)
        && frame[2..].starts_with(&VERSIONS)
        && frame.get(KIND_PLACE).is_some_and(|kind| [ASK, ANSWER].contains(kind))
}

/// Seals and opens probes.
pub struct Key(LessSafeKey);

impl Key {
    /// The key that follows from the cluster's.
    #[must_use]
    pub fn of_cluster(key: &[u8; 32]) -> Key {
        let secret = Salt::new(HKDF_SHA256, b"").extract(key);
        let info: [&[u8]; 1] = [b"mainstay probe 1"];
        let expanded = secret.expand(&info, &AES_256_GCM).expect("a key is short enough");
        Key(LessSafeKey::new(UnboundKey::from(expanded)))
    }

    /// The probe as `size` bytes, or as few as possible if that is more. `nonce` is random.
    #[must_use]
    pub fn seal(&self, probe: &Probe, size: usize, nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let size = size.max(SIZE_MIN);
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSIONS);
        bytes.extend_from_slice(&probe.cluster.to_be_bytes());
        bytes.extend_from_slice(&[probe.source.0, probe.destination.0]);
        bytes.extend_from_slice(&probe.network.0.to_be_bytes());
        bytes.extend_from_slice(&[0, if probe.is_answer { ANSWER } else { ASK }, 0, 0]);
        bytes.extend_from_slice(&nonce);
        let body = &probe.body;
        let mut sealed = Vec::with_capacity(size - CLEAR_SIZE);
        sealed.extend_from_slice(&body.run.to_be_bytes());
        sealed.extend_from_slice(&body.sequence.to_be_bytes());
        sealed.extend_from_slice(&body.stamp.to_be_bytes());
        sealed.extend_from_slice(&body.want.to_be_bytes());
        sealed.push(body.flags.0);
        sealed.extend_from_slice(&body.got.to_be_bytes());
        sealed.extend_from_slice(&body.answered.to_be_bytes());
        sealed.extend_from_slice(&body.largest.to_be_bytes());
        sealed.resize(size - CLEAR_SIZE - TAG_SIZE, 0);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(&bytes), &mut sealed);
        let tag = tag.expect("a probe is far below the algorithm's limit");
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(tag.as_ref());
        bytes
    }

    /// The probe of these bytes.
    ///
    /// # Errors
    /// When they are not one that this key sealed.
    pub fn open(&self, bytes: &[u8]) -> Result<Probe, Malformed> {
        let mut reader = Reader::new(bytes);
        let clear = reader.take(CLEAR_SIZE)?;
        let mut sealed = reader.rest().to_vec();
        let mut header = Reader::new(clear);
        if header.array()? != MAGIC || header.array()? != VERSIONS {
            return Err(Malformed);
        }
        let cluster = header.u32()?;
        let [source, destination] = header.array()?;
        let network = NetworkId(header.u16()?);
        let is_answer = match header.array()? {
            [0, ASK, 0, 0] => false,
            [0, ANSWER, 0, 0] => true,
            _ => return Err(Malformed),
        };
        let nonce = Nonce::assume_unique_for_key(header.array()?);
        let opened = self.0.open_in_place(nonce, Aad::from(clear), &mut sealed);
        let mut reader = Reader::new(opened.map_err(|_| Malformed)?);
        let body = Body {
            run: reader.u64()?,
            sequence: reader.u32()?,
            stamp: reader.u64()?,
            want: reader.u16()?,
            flags: Flags(reader.u8()?),
            got: reader.u32()?,
            answered: reader.u32()?,
            largest: reader.u16()?,
        };
        let (source, destination) = (NodeId(source), NodeId(destination));
        Ok(Probe { cluster, source, destination, network, is_answer, body })
    }
}
