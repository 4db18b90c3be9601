//! Which interfaces of this node work, found by frames that its own and other nodes' cards hear.
//!
//! A network card can fail in ways that its carrier does not show: a receiver that is deaf, a port that
//! forwards nothing, a cable in the wrong place. What such a card lacks is *traffic*. But
//! an idle card lacks traffic too, so somebody has to make some, and somebody has to hear it.
//!
//! A *net* is a set of cards that hear each other at link level: of this node the primary and its
//! standbys, and the cards of other nodes. Time goes in *rounds* of one poll interval. At the start
//! of a round every own card that is connected says a short frame to all stations; that of the
//! *poller* (a standby if there is one that works, else the primary) is a poll, which the cards of
//! other nodes answer with the list of the own cards that they heard in this round. At its end two
//! things are known of each card:
//!
//! - **in**: its receive counter rose (any traffic counts), or it heard a frame of ours;
//! - **out**: another card heard it, here or on another node. A transmit counter says nothing: it
//!   rises when a frame is handed to the driver, and heartbeats are always handed over.
//!
//! ```text
//!            good n times                    carrier lost, switched off, gone,
//!   Unsure ───────────────► Up               disabled, driver error: at once
//!     ▲  ▲ ◄─────────────── │ │           ┌───────────────────────────────────┐
//!     │  │ whole net silent │ │ bad n times                                   ▼
//!     │  │ n times          │ └─────────────────────────────────────────────► Down
//!     │  └──────────────────┼─────────────────────────────────────────────────┘ │
//!     │    cause of "at once" is gone             good n times                   │
//!   start                   ▲──────────────────────────────────────────────────┘
//! ```
//!
//! - **Good**: in, and out unless nobody could have heard it.
//! - **Bad**, `inout`: neither in nor out, while another own card of the net has traffic. In
//!   `inonly-or-inout` also: not in, while two *other* cards of the net prove that a frame for all
//!   was on the wire. With two cards alone, a deaf one looks like a dumb other one; so this needs
//!   three, and [`NetStatus::effective`] says whether there are.
//!   There it is bad as well to be *apart*: what comes in is none of this net's cards', no card of the
//!   net hears this one, and two others prove that there was something to hear. So is a port in another
//!   VLAN that has traffic of its own; in `inout` that traffic keeps the card up.
//!   Also bad is, in both, not to be heard while the driver counts errors of sending: many count a frame as sent that has
//!   failed, so these errors alone say little, and that nobody hears it says the rest.
//! - **Driver error**: as many errors of sending as are no bad luck, three, and no frame sent in between. That is
//!   looked for in each sample, not at the end of a round. Where less is sent, one round with an error
//!   and without a sent frame is enough.
//! - **Silent**: no own card of the net has traffic. Then the switch may be dead, or every card, or
//!   everybody else; this node cannot tell, and accuses itself of nothing and others of nothing: all
//!   are [`Doubt::Silent`], which is a reason to leave everything where it is. Only other nodes'
//!   reports can say more. A node with one card in the net can therefore only doubt it.
//! - **Targets** (optional): addresses outside the cluster that each card asks. An answer is traffic
//!   both ways. One that answers another own card and not this one makes a round bad: then it is
//!   this interface. One that answers nobody is its own trouble, and says nothing.
//! - **Patience**: a round counts only if this process looked at the counters all the time. After a
//!   pause nobody is accused of what was not heard meanwhile. Nor is a card of which the kernel did not tell;
//!   its carrier counts, and the other cards are judged.
//!
//! In and out are the seed's counters in both directions (MC/LockManager, "How the Network Manager
//! Works"), with *out* replaced as said above. Not found by either rule, as there: a card that
//! hears but is not heard, and whose driver knows nothing of it. A target finds it.
//!
//! Frames are plain bodies here; the driver seals them with the cluster's key, so that nobody outside
//! the cluster can keep a dead card alive or make one look dead.

mod judge;
mod machine;
mod types;
pub mod wire;

pub use machine::Health;
pub use types::{
    Card, CardStatus, Config, Counters, Detection, Doubt, Fault, Input, Net, NetStatus, Output,
    Remote, Role, Status, Verdict,
};

#[cfg(test)]
mod tests;
