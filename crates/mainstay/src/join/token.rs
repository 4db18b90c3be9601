//! The token: everything a new machine needs to find a member and to be believed by it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ring::digest::{SHA256, digest};

use super::base64;

/// Addresses in one token.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of the secret.
pub const SECRET_SIZE: usize = 16;

/// What stands before the encoded bytes, so that a person knows what it is.
const PREFIX: &str = "mainstay-join-";
const VERSION: u8 = 1;
const CHECK_SIZE: usize = 4;

/// A right to join once. The secret in it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The cluster's number.
    pub cluster: u32,
    /// Where a member listens, the best first; one to [`ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// What the new node and the member both know.
    pub secret: [u8; SECRET_SIZE],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Token");
        shown.field("cluster", &self.cluster).field("addresses", &self.addresses);
        shown.finish_non_exhaustive()
    }
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like one.
    #[error("this is not a token: tokens begin with `{PREFIX}`")]
    NoToken,
    /// It was cut short, or letters were changed on the way.
    #[error("the token is damaged: copy it again, whole")]
    Damaged,
    /// It was made by another version of the program.
    #[error("the token was made by a version of mainstay that this one does not understand")]
    Version,
}

impl Token {
    /// The token as text: prefix, then base64 of version, cluster, addresses, secret and a check.
    #[must_use]
    pub fn text(&self) -> String {
        assert!((1..=ADDRESSES_MAX).contains(&self.addresses.len()), "made by this program");
        let mut bytes = vec![VERSION];
        bytes.extend(self.cluster.to_be_bytes());
        bytes.push(self.addresses.len() as u8);
        for address in &self.addresses {
            match address.ip() {
                IpAddr::V4(four) => {
                    bytes.push(4);
                    bytes.extend(four.octets());
                }
                IpAddr::V6(six) => {
                    bytes.push(6);
                    bytes.extend(six.octets());
                }
            }
            bytes.extend(address.port().to_be_bytes());
        }
        bytes.extend(self.secret);
        bytes.extend(check(&bytes));
        format!("{PREFIX}{}", base64::encode(&bytes))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NoToken)?;
        let bytes = base64::decode(encoded).ok_or(TokenError::Damaged)?;
        let body = bytes.len().checked_sub(CHECK_SIZE).ok_or(TokenError::Damaged)?;
        let (body, found) = bytes.split_at(body);
        if check(body) != found {
            return Err(TokenError::Damaged);
        }
        match body.split_first() {
            Some((&VERSION, rest)) => read(rest).ok_or(TokenError::Damaged),
            _ => Err(TokenError::Version),
        }
    }
}

fn read(bytes: &[u8]) -> Option<Token> {
    let (cluster, bytes) = bytes.split_first_chunk::<4>()?;
    let (&count, mut bytes) = bytes.split_first()?;
    if !(1..=ADDRESSES_MAX).contains(&usize::from(count)) {
        return None;
    }
    let mut addresses = Vec::new();
    for _ in 0..count {
        let (&family, rest) = bytes.split_first()?;
        let (address, rest) = match family {
            4 => {
                let (octets, rest) = rest.split_first_chunk::<4>()?;
                (IpAddr::from(*octets), rest)
            }
            6 => {
                let (octets, rest) = rest.split_first_chunk::<16>()?;
                (IpAddr::from(*octets), rest)
            }
            _ => return None,
        };
        let (port, rest) = rest.split_first_chunk::<2>()?;
        addresses.push(SocketAddr::new(address, u16::from_be_bytes(*port)));
        bytes = rest;
    }
    let secret = bytes.try_into().ok()?;
    Some(Token { cluster: u32::from_be_bytes(*cluster), addresses, secret })
}

/// Notices a token that lost a letter; no protection against anybody.
fn check(bytes: &[u8]) -> [u8; CHECK_SIZE] {
    let digest = digest(&SHA256, bytes);
    digest.as_ref()[..CHECK_SIZE].try_into().expect("SHA-256 has 32 bytes")
}
