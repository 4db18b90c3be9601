//! Where service addresses sit on this node: claim, announce, refresh, defend, release.
//!
//! A service address is useful only if the network notices that it moved, and harmless only if it
//! is never answered for by two machines. Both are the work of this layer, for one node and for
//! its own interfaces; *which* node may own an address was decided above.
//!
//! ```text
//!            picture known,           no conflict          added
//!  Claim ──► Clearing ──────► Probing ───────────► Adding ───────► Owned ──► refresh, announce,
//!               │  leftovers gone  │ ▲ conflict: wait │               │      defend
//!               ▼                  ▼ └──────────┘     ▼               ▼ Release
//!             Failed             Failed            Removing ◄─────────┘
//!                                                     └──► Failed, Released
//! ```
//!
//! - **Probe before use** (RFC 5227 §2.1.1, RFC 4862 §5.4). Three probes in 18 ms, not in seconds:
//!   the cluster itself already excludes a second owner, the probe looks for strangers and for a
//!   frozen node whose kernel still answers. The latter ends by itself (next point), so a conflict
//!   is waited out that long before the claim fails with the other's hardware address.
//! - **A kernel lifetime** on every address, a backstop against a machine whose programs are all
//!   stopped: whole seconds, the lease rounded up plus one, refreshed each second while the lease
//!   lies in the future. Addresses are added as /32 or /128: removing another address of the
//!   subnet then takes nothing with it.
//! - **Announce** (RFC 5227 §2.3, RFC 4861 §7.2.6) at once, after 0.2, 1, 2, 4 and 8 s, each minute,
//!   and whenever a part of the network may have missed it: a path healed, the carrier came back,
//!   the hardware address changed, a conflict was seen.
//! - **Verify**, where it is told to: the gateways are asked by an echo from the address whether they know by now where it
//!   is (module `learn`).
//! - **Defend** (RFC 5227 §2.4 c; for IPv6 alike, since RFC 4862 §5.4 ends with the claim): announce, at most once in ten
//!   seconds, and report. The address is not given up for a stranger, which would let anybody on the wire stop a
//!   service, unless its service is told to yield (§2.4 b), or to say so and nothing else ([`OnConflict`]).
//! - **The own machine first**: when the interface of an owned address works no more, or carries its
//!   subnet no more, and another one of this node does, the address goes there.
//! - **Shared out**: which of several interfaces carries an address is decided by one function
//!   (module `place`), and what it decided is told.
//! - **Local switch**: where a network has standby interfaces on this node, the node's own addresses
//!   go to one that works when their interface fails, and back (module `switch`). They need no lease.
//! - **Replacement**: where a network says so, the address takes the place of the interface's own one, and its
//!   hardware address if it has one, and gives both back (module `replace`).
//! - **Never forget**: a service address that stands on an interface without being owned is
//!   removed, at start and whenever it turns up.
//!
//! Without a lease nothing is added, refreshed, announced or defended.
//!
//! Assumes that the driver reports the result of each [`Output::Add`] and [`Output::Remove`] once,
//! and gives a full picture of the interfaces after each change. Where we differ from the RFCs:
//! probe spacing (RFC 5227: 1 to 2 s each).

mod claim;
pub mod health;
mod home;
mod learn;
mod left;
mod machine;
mod own;
mod picture;
pub mod place;
mod replace;
mod returned;
mod share;
mod standby;
mod subnet;
mod switch;
mod types;
pub mod wire;

pub use machine::Network;
pub use share::Move;
pub use switch::Returning;
pub use types::{
    AddressSeen, AddressStatus, Condition, Config, Counters, Echo, Failure, Input, Interface,
    Lesson, Net, NetStatus, OnConflict, Output, Phase, Share, Status, Taken, Taking, Timer, Verify,
};

#[cfg(test)]
mod tests;
