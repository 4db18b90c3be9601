//! The handshake and the sealed frames, without any I/O. The drawing is in the [module](super).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::SystemRandom;

use super::token::SECRET_SIZE;

/// Bytes of the token's public name.
pub const TOKEN_ID_SIZE: usize = 8;
/// Bytes of the first message.
pub const HELLO_SIZE: usize = MAGIC.len() + TOKEN_ID_SIZE + PUBLIC_SIZE;
/// Bytes of the second message when the token is known.
pub const REPLY_SIZE: usize = MAGIC.len() + 1 + PUBLIC_SIZE;
/// Bytes of the second message when it is not.
pub const REPLY_UNKNOWN_SIZE: usize = MAGIC.len() + 1;
/// Bytes that stand before a sealed frame.
pub const LENGTH_SIZE: usize = 4;
/// Bytes of what is sealed in a frame that is sent before the peer is proven.
pub const ASK_SIZE_MAX: usize = 8 << 10;
/// Bytes of what is sealed in the answer: it holds a configuration, in JSON.
pub const ANSWER_SIZE_MAX: usize = 2 << 20;

const MAGIC: &[u8; 4] = b"MSJ1";
const PUBLIC_SIZE: usize = 32;
const TAG_SIZE: usize = 16;

const INFO_NEW_NODE: &[u8] = b"mainstay join 1 new node";
const INFO_MEMBER: &[u8] = b"mainstay join 1 member";
const INFO_TOKEN_ID: &[u8] = b"mainstay join 1 token id";

/// Why a handshake or frame is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// What answers does not speak this protocol, or another version of it.
    #[error("what answers is no member of a mainstay cluster, or of a version not understood here")]
    Protocol,
    /// The member does not know the token.
    #[error(
        "the member does not know this token: it has expired, was used, or the daemon was \
             restarted since"
    )]
    UnknownToken,
    /// The other side does not have the secret, or somebody changed what it sent.
    #[error(
        "the other side does not know the token's secret, or its answer was changed on the way"
    )]
    Forged,
    /// A frame is larger than allowed.
    #[error("the other side sends more than is allowed")]
    TooLarge,
    /// The kernel has no random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
}

/// The name under which a member finds a token; says nothing about its secret.
#[must_use]
pub fn token_id(secret: &[u8; SECRET_SIZE]) -> [u8; TOKEN_ID_SIZE] {
    let mut id = [0; TOKEN_ID_SIZE];
    expand(&[], secret, &[INFO_TOKEN_ID], &mut id);
    id
}

/// The new node's side, after its first message.
pub struct Initiator {
    private: EphemeralPrivateKey,
    hello: [u8; HELLO_SIZE],
    secret: [u8; SECRET_SIZE],
    cluster: u32,
}

impl Initiator {
    /// Starts; [`Initiator::hello`] is to be sent.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn new(secret: [u8; SECRET_SIZE], cluster: u32) -> Result<Initiator, SealError> {
        let (private, public) = ephemeral()?;
        let mut hello = [0; HELLO_SIZE];
        let (magic, rest) = hello.split_at_mut(MAGIC.len());
        let (id, key) = rest.split_at_mut(TOKEN_ID_SIZE);
        magic.copy_from_slice(MAGIC);
        id.copy_from_slice(&token_id(&secret));
        key.copy_from_slice(&public);
        Ok(Initiator { private, hello, secret, cluster })
    }

    /// The first message.
    #[must_use]
    pub fn hello(&self) -> &[u8; HELLO_SIZE] {
        &self.hello
    }

    /// Takes the second message; what comes out seals and opens frames.
    ///
    /// # Errors
    /// `UnknownToken` and `Protocol`; neither is authentic.
    pub fn finish(self, reply: &[u8]) -> Result<Channel, SealError> {
        let rest = reply.strip_prefix(MAGIC).ok_or(SealError::Protocol)?;
        let public = match rest.split_first() {
            Some((0, public)) if public.len() == PUBLIC_SIZE => public,
            Some((1, [])) => return Err(SealError::UnknownToken),
            _ => return Err(SealError::Protocol),
        };
        let keys =
            Keys::agree(self.private, public, &self.secret, self.cluster, &self.hello, reply)?;
        Ok(Channel::new(&keys.new_node, &keys.member))
    }
}

/// How many bytes a second message has, by its first [`REPLY_UNKNOWN_SIZE`].
#[must_use]
pub fn reply_size(start: &[u8; REPLY_UNKNOWN_SIZE]) -> usize {
    if start[MAGIC.len()] == 0 { REPLY_SIZE } else { REPLY_UNKNOWN_SIZE }
}

/// What a first message names.
///
/// # Errors
/// When it is no first message.
pub fn hello_token(hello: &[u8; HELLO_SIZE]) -> Result<[u8; TOKEN_ID_SIZE], SealError> {
    let rest = hello.strip_prefix(MAGIC).ok_or(SealError::Protocol)?;
    Ok(*rest.first_chunk().expect("the size is fixed"))
}

/// The second message to somebody whose token is not known.
#[must_use]
pub fn reply_unknown() -> [u8; REPLY_UNKNOWN_SIZE] {
    let mut reply = [1; REPLY_UNKNOWN_SIZE];
    reply[..MAGIC.len()].copy_from_slice(MAGIC);
    reply
}

/// The member's side: the second message, and what seals and opens frames.
///
/// # Errors
/// When the first message is not usable, or the kernel has no random numbers.
pub fn respond(
    hello: &[u8; HELLO_SIZE],
    secret: &[u8; SECRET_SIZE],
    cluster: u32,
) -> Result<([u8; REPLY_SIZE], Channel), SealError> {
    hello_token(hello)?;
    let (private, public) = ephemeral()?;
    let mut reply = [0; REPLY_SIZE];
    reply[..MAGIC.len()].copy_from_slice(MAGIC);
    reply[MAGIC.len() + 1..].copy_from_slice(&public);
    let peer = &hello[MAGIC.len() + TOKEN_ID_SIZE..];
    let keys = Keys::agree(private, peer, secret, cluster, hello, &reply)?;
    Ok((reply, Channel::new(&keys.member, &keys.new_node)))
}

/// Seals frames in one direction and opens them in the other.
pub struct Channel {
    sealing: LessSafeKey,
    sealed: u64,
    opening: LessSafeKey,
    opened: u64,
}

impl Channel {
    fn new(sealing: &[u8; 32], opening: &[u8; 32]) -> Channel {
        let key = |bytes: &[u8; 32]| {
            let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the length is the algorithm's");
            LessSafeKey::new(key)
        };
        Channel { sealing: key(sealing), sealed: 0, opening: key(opening), opened: 0 }
    }

    /// A frame with its length in front.
    #[must_use]
    pub fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        assert!(plain.len() <= ANSWER_SIZE_MAX, "callers send bounded messages");
        let length = ((plain.len() + TAG_SIZE) as u32).to_be_bytes();
        let mut sealed = plain.to_vec();
        self.sealing
            .seal_in_place_append_tag(nonce(self.sealed), Aad::from(length), &mut sealed)
            .expect("the message is far below the algorithm's limit");
        self.sealed += 1;
        [&length[..], &sealed].concat()
    }

    /// How many sealed bytes follow this length.
    ///
    /// # Errors
    /// `TooLarge` when what is sealed would exceed `most`.
    pub fn length(length: [u8; LENGTH_SIZE], most: usize) -> Result<usize, SealError> {
        let size = u32::from_be_bytes(length) as usize;
        if size <= most + TAG_SIZE { Ok(size) } else { Err(SealError::TooLarge) }
    }

    /// Opens what followed the length.
    ///
    /// # Errors
    /// `Forged`; the channel must not be used any more.
    pub fn open(&mut self, mut sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let length = (sealed.len() as u32).to_be_bytes();
        let plain = self
            .opening
            .open_in_place(nonce(self.opened), Aad::from(length), &mut sealed)
            .map_err(|_| SealError::Forged)?;
        self.opened += 1;
        Ok(plain.to_vec())
    }
}

struct Keys {
    new_node: [u8; 32],
    member: [u8; 32],
}

impl Keys {
    fn agree(
        private: EphemeralPrivateKey,
        peer: &[u8],
        secret: &[u8; SECRET_SIZE],
        cluster: u32,
        hello: &[u8],
        reply: &[u8],
    ) -> Result<Keys, SealError> {
        let transcript = digest(&SHA256, &[hello, reply].concat());
        // Refuses points of small order, whose result would not depend on our key.
        agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, peer), |shared| {
            let material = [&secret[..], shared].concat();
            let cluster = cluster.to_be_bytes();
            let mut keys = Keys { new_node: [0; 32], member: [0; 32] };
            let salt = transcript.as_ref();
            expand(salt, &material, &[INFO_NEW_NODE, &cluster], &mut keys.new_node);
            expand(salt, &material, &[INFO_MEMBER, &cluster], &mut keys.member);
            keys
        })
        .map_err(|_| SealError::Protocol)
    }
}

fn ephemeral() -> Result<(EphemeralPrivateKey, [u8; PUBLIC_SIZE]), SealError> {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new())
        .map_err(|_| SealError::Random)?;
    let public = private.compute_public_key().map_err(|_| SealError::Random)?;
    Ok((private, public.as_ref().try_into().expect("X25519 keys have 32 bytes")))
}

/// HKDF-SHA256, both steps (RFC 5869, sections 2.2 and 2.3).
pub(crate) fn expand(salt: &[u8], material: &[u8], info: &[&[u8]], out: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let key = Salt::new(HKDF_SHA256, salt).extract(material);
    key.expand(info, Length(out.len()))
        .and_then(|output| output.fill(out))
        .expect("few bytes are asked for");
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
