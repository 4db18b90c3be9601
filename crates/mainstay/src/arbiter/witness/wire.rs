//! What goes between a member and its witness: two sealed frames.
//!
//! ```text
//!  0        4         8       20
//!  | "MSW1" | cluster | nonce | sealed: CBOR of a question or an answer | tag (16) |
//! ```
//!
//! AES-256-GCM (RFC 5116) with a key for each direction, made with HKDF-SHA256 (RFC 5869) from the
//! key of the cluster at the witness. Nonces are random: 96 bits are good for 2³² frames under one
//! key, and a member sends a handful a minute. The head is authenticated with the frame, and an
//! answer also with the nonce of its question, so it answers that one and no other.

use core::fmt;

use base::NodeId;
use base::codec::{self, Malformed, Reader};
use group::{Reply, Request, VALUE_SIZE_MAX};
use minicbor::{Decode, Encode};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::join::base64;
use crate::join::expand;

const MAGIC: [u8; 4] = *b"MSW1";
const HEAD_SIZE: usize = 8;
const NONCE_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
/// Bytes of a frame: the longest value, and what is around it.
pub const FRAME_SIZE_MAX: usize = VALUE_SIZE_MAX + 1024;
/// Bytes of a node's name and of a sentence; what is longer is cut.
const TEXT_SIZE_MAX: usize = 200;

const INFO_KEY: &[u8] = b"mainstay witness 1 key";
const INFO_QUESTION: &[u8] = b"mainstay witness 1 question";
const INFO_ANSWER: &[u8] = b"mainstay witness 1 answer";

/// A question of a member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Question {
    /// Who asks.
    #[n(0)]
    pub node: NodeId,
    /// Its name, for people.
    #[n(1)]
    pub name: String,
    /// None: only whether the witness would answer.
    #[n(2)]
    pub request: Option<Request>,
}

/// What the witness says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// The acceptor's reply.
    #[n(0)]
    Reply(#[n(0)] Reply),
    /// It would have answered.
    #[n(1)]
    Ready,
    /// It cannot answer; why, for people.
    #[n(2)]
    Unable(#[n(0)] String),
}

/// The key of a cluster at its witness.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What binds an answer to its question.
pub type Mark = [u8; NONCE_SIZE];

impl Key {
    /// What the members derive from their cluster's key.
    #[must_use]
    pub fn of_cluster(key: &[u8; 32]) -> Key {
        let mut derived = [0; 32];
        expand(&[], key, &[INFO_KEY], &mut derived);
        Key(derived)
    }

    /// As people carry it from a member to the witness.
    #[must_use]
    pub fn text(&self) -> String {
        base64::encode(&self.0)
    }

    /// Reads [`Key::text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Key> {
        let bytes = base64::decode(text.trim())?;
        bytes.try_into().ok().map(Key)
    }

    fn cipher(&self, info: &[u8]) -> LessSafeKey {
        let mut bytes = [0; 32];
        expand(&[], &self.0, &[info], &mut bytes);
        let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("the length is the algorithm's");
        LessSafeKey::new(key)
    }

    fn seal(&self, info: &[u8], cluster: u32, nonce: Mark, of: &[u8], body: Vec<u8>) -> Vec<u8> {
        let head = [&MAGIC[..], &cluster.to_be_bytes()].concat();
        let bound = [&head[..], of].concat();
        let mut sealed = body;
        self.cipher(info)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound),
                &mut sealed,
            )
            .expect("a frame is far below the algorithm's limit");
        let frame = [&head[..], &nonce, &sealed].concat();
        assert!(frame.len() <= FRAME_SIZE_MAX, "what is sealed is bounded");
        frame
    }

    fn open(&self, info: &[u8], frame: &[u8], of: &[u8]) -> Result<(Mark, Vec<u8>), Malformed> {
        if frame.len() > FRAME_SIZE_MAX {
            return Err(Malformed);
        }
        let mut reader = Reader::new(frame);
        let head = reader.take(HEAD_SIZE)?;
        let nonce: Mark = reader.array()?;
        let bound = [head, of].concat();
        let mut sealed = reader.rest().to_vec();
        let opened = self.cipher(info).open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound),
            &mut sealed,
        );
        Ok((nonce, opened.map_err(|_| Malformed)?.to_vec()))
    }

    /// A question, sealed. `mark` is random.
    #[must_use]
    pub fn seal_question(&self, cluster: u32, question: &Question, mark: Mark) -> Vec<u8> {
        let name = cut(&question.name);
        let question = Question { name, ..question.clone() };
        self.seal(INFO_QUESTION, cluster, mark, &[], codec::encode(&question))
    }

    /// The question in a frame, and its mark.
    ///
    /// # Errors
    /// When it was not sealed with this key, or is no question.
    pub fn open_question(&self, frame: &[u8]) -> Result<(Question, Mark), Malformed> {
        let (mark, body) = self.open(INFO_QUESTION, frame, &[])?;
        let question: Question = codec::decode(&body)?;
        let fits = question.name.len() <= TEXT_SIZE_MAX
            && question.request.as_ref().is_none_or(|request| {
                request.value.as_ref().is_none_or(|value| value.len() <= VALUE_SIZE_MAX)
            });
        if fits { Ok((question, mark)) } else { Err(Malformed) }
    }

    /// An answer to the question with this mark, sealed. `nonce` is random.
    #[must_use]
    pub fn seal_response(
        &self,
        cluster: u32,
        response: &Response,
        of: Mark,
        nonce: Mark,
    ) -> Vec<u8> {
        let response = match response {
            Response::Unable(why) => Response::Unable(cut(why)),
            other => other.clone(),
        };
        self.seal(INFO_ANSWER, cluster, nonce, &of, codec::encode(&response))
    }

    /// The answer in a frame to the question with this mark.
    ///
    /// # Errors
    /// When it was not sealed with this key, or answers something else.
    pub fn open_response(&self, frame: &[u8], of: Mark) -> Result<Response, Malformed> {
        let (_, body) = self.open(INFO_ANSWER, frame, &of)?;
        codec::decode(&body)
    }
}

/// The cluster that a frame names, before anything is believed.
///
/// # Errors
/// When it is no frame of this protocol.
pub fn cluster_of(frame: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(frame);
    if reader.array()? != MAGIC || frame.len() < HEAD_SIZE + NONCE_SIZE + TAG_SIZE {
        return Err(Malformed);
    }
    reader.u32()
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_SIZE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
