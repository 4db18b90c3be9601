//! The bytes that discovering machines send.
//!
//! ```text
//!  0      2         3       4       16
//!  | "MD" | version | open? | nonce | body, CBOR … | tag (16, sealed only) |
//! ```
//!
//! Sealed with AES-256-GCM (NIST SP 800-38D) under HKDF-SHA256(what was entered, "mainstay discover
//! 1") with a random nonce; the first four bytes are authenticated with it. Open messages have the
//! same shape without a tag, and nobody vouches for them. An announcement fits into one frame of
//! Ethernet: long lists go round over several.

use std::net::IpAddr;

use base::codec;
use minicbor::{Decode, Encode};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::join::token::Token;

/// What every message begins with; the kernel lets only such frames through.
pub const MAGIC: [u8; 2] = *b"MD";
/// Bytes of the shortest text that counts as a secret.
pub const SECRET_SIZE_MIN: usize = 12;
const VERSION: u8 = 1;
const SEALED: u8 = 1;
const OPEN: u8 = 0;
const HEAD_SIZE: usize = 4;
const TAG_SIZE: usize = 16;
/// Of the lists in one announcement.
pub const HEARD_MAX: usize = 12;
/// See [`HEARD_MAX`].
pub const ARRIVALS_MAX: usize = 10;
/// Bytes of the longest name of an interface (IFNAMSIZ without the zero at the end).
pub const INTERFACE_NAME_SIZE_MAX: usize = 15;
/// Addresses of one interface that are announced.
pub const ADDRESSES_MAX: usize = 8;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// In a frame, to all stations: one interface of the sender, and what it has heard.
    #[n(0)]
    Announce(#[n(0)] Announcement),
    /// In a datagram from one address to another, to learn whether it gets there.
    #[n(1)]
    Try(#[n(0)] Attempt),
    /// Back to where a datagram came from: it has arrived, at the machine of this number.
    #[n(2)]
    Arrived(#[n(0)] Attempt, #[n(1)] u64),
}

/// What one machine says on one of its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Announcement {
    /// The sender: a number by lot, for as long as it discovers.
    #[n(0)]
    pub machine: u64,
    /// Name of its node, or its host name.
    #[n(1)]
    pub name: String,
    /// It runs the daemon of a cluster of this name; not said to strangers.
    #[n(2)]
    pub cluster: Option<String>,
    /// The interface that the frame left by.
    #[n(3)]
    pub interface: String,
    /// Bytes that it takes in one frame.
    #[n(4)]
    pub mtu: u32,
    /// Its addresses with their prefixes.
    #[n(5)]
    pub addresses: Vec<Net>,
    /// UDP ports on which attempts are answered, one for each address; 0 where there is none.
    #[n(6)]
    pub ports: Vec<u16>,
    /// The address that the sender finds for its own name, if that is one of its loop.
    #[n(7)]
    pub looped_name: Option<Address>,
    /// Announcements that the sender has heard lately, a part of them.
    #[n(8)]
    pub heard: Vec<Heard>,
    /// Datagrams that have arrived at it, a part of them.
    #[n(9)]
    pub arrivals: Vec<Arrival>,
}

/// An announcement was heard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Heard {
    /// On this own interface.
    #[n(0)]
    pub interface: String,
    /// From this machine.
    #[n(1)]
    pub machine: u64,
    /// On its interface of this name.
    #[n(2)]
    pub from: String,
}

/// A datagram has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Arrival {
    /// From this machine.
    #[n(0)]
    pub machine: u64,
    /// From its address to this own one.
    #[n(1)]
    pub from: Address,
    /// See `from`.
    #[n(2)]
    pub to: Address,
    /// Bytes of the longest.
    #[n(3)]
    pub largest: u32,
}

/// One datagram on its way, or its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attempt {
    /// Who tries.
    #[n(0)]
    pub machine: u64,
    /// From this address of its.
    #[n(1)]
    pub from: Address,
    /// To this one.
    #[n(2)]
    pub to: Address,
    /// Bytes of the datagram.
    #[n(3)]
    pub size: u32,
}

/// An IP address in four or sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub IpAddr);

impl<C> Encode<C> for Address {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self.0 {
            IpAddr::V4(four) => e.bytes(&four.octets())?,
            IpAddr::V6(six) => e.bytes(&six.octets())?,
        };
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Address {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
        address.map(Address).map_err(|_| minicbor::decode::Error::message("no address"))
    }
}

/// An address with the length of its subnet's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Net {
    /// The address.
    #[n(0)]
    pub address: Address,
    /// Bits of the network part.
    #[n(1)]
    pub prefix: u8,
}

/// What was entered: it seals and opens messages.
pub struct Secret(LessSafeKey);

impl Secret {
    fn of(material: &[u8], kind: &[u8]) -> Secret {
        let extracted = Salt::new(HKDF_SHA256, kind).extract(material);
        let info: [&[u8]; 1] = [b"mainstay discover 1"];
        let expanded = extracted.expand(&info, &AES_256_GCM).expect("a key is short enough");
        Secret(LessSafeKey::new(UnboundKey::from(expanded)))
    }

    /// The secret of a cluster.
    #[must_use]
    pub fn of_cluster(key: &[u8; 32]) -> Secret {
        Secret::of(key, b"cluster")
    }

    /// That of a token.
    #[must_use]
    pub fn of_token(secret: &[u8; crate::join::token::SECRET_SIZE]) -> Secret {
        Secret::of(secret, b"token")
    }

    /// A token of a cluster, or words that were entered on all machines; none when too short.
    #[must_use]
    pub fn of_words(words: &str) -> Option<Secret> {
        let words = words.trim();
        match Token::parse(words) {
            Ok(token) => Some(Secret::of_token(&token.secret)),
            Err(_) => {
                (words.len() >= SECRET_SIZE_MIN).then(|| Secret::of(words.as_bytes(), b"words"))
            }
        }
    }
}

/// Whether bytes are a message of this sort.
#[must_use]
pub fn is_message(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Whether a message is sealed.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.get(3) == Some(&SEALED)
}

/// The message as at least `size` bytes.
#[must_use]
pub fn seal(message: &Message, secret: Option<&Secret>, size: usize) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    os::clock::random(&mut nonce);
    let head = [MAGIC[0], MAGIC[1], VERSION, if secret.is_some() { SEALED } else { OPEN }];
    let body = codec::encode(message);
    let length = u16::try_from(body.len()).expect("lists are bounded");
    let mut plain = [&length.to_be_bytes()[..], &body].concat();
    let tag_size = if secret.is_some() { TAG_SIZE } else { 0 };
    let wanted = size.saturating_sub(HEAD_SIZE + NONCE_LEN + tag_size);
    plain.resize(plain.len().max(wanted), 0);
    let mut bytes = [&head[..], &nonce].concat();
    match secret {
        None => bytes.extend_from_slice(&plain),
        Some(Secret(key)) => {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(head), &mut plain);
            let tag = tag.expect("a message is far below the algorithm's limit");
            bytes.extend_from_slice(&plain);
            bytes.extend_from_slice(tag.as_ref());
        }
    }
    bytes
}

/// The message of these bytes; none when it is none, or not sealed as it should be.
#[must_use]
pub fn open(bytes: &[u8], secret: Option<&Secret>) -> Option<Message> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_SIZE>()?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
    if head[..3] != [MAGIC[0], MAGIC[1], VERSION] {
        return None;
    }
    let mut rest = rest.to_vec();
    let plain: &[u8] = match (secret, head[3]) {
        (Some(Secret(key)), SEALED) => {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            key.open_in_place(nonce, Aad::from(*head), &mut rest).ok()?
        }
        (None, OPEN) => &rest,
        _ => return None,
    };
    let (length, body) = plain.split_first_chunk::<2>()?;
    let body = body.get(..usize::from(u16::from_be_bytes(*length)))?;
    codec::decode(body).ok().filter(is_possible)
}

/// Whether its interfaces have names that Linux would allow: what is remembered is as short.
fn is_possible(message: &Message) -> bool {
    let Message::Announce(said) = message else { return true };
    let heard = said.heard.iter().flat_map(|heard| [&heard.interface, &heard.from]);
    heard.chain([&said.interface]).all(|name| name.len() <= INTERFACE_NAME_SIZE_MAX)
}
