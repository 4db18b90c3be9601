//! Which failures of an addition are over with the next lease, and which are not.
//!
//! **Rule:** not now is only what a newer lease can mend by itself: the lease was over, or the gate was late.
//! What the kernel or the disk refused is lasting, as is whatever could not be put back.

use std::net::IpAddr;

use base::Instant;
use network::Failure;

/// What the kernel or the disk has said to something that an addition needs.
pub(super) fn lasting(reason: impl ToString) -> Failure {
    Failure::Lasting(reason.to_string())
}

/// Whether an address is under the gate; `waits` for that, and says whether it is. What the gate was refused
/// will not be by waiting.
pub(super) fn gated(
    address: IpAddr,
    is_refused: bool,
    waits: impl FnOnce() -> bool,
) -> Result<(), Failure> {
    if is_refused {
        return Err(lasting(format!("the lease gate could not be given {address}")));
    }
    match waits() {
        true => Ok(()),
        false => Err(Failure::NotNow(format!("the lease gate does not have {address} yet"))),
    }
}

/// Whether the lease of this node reaches beyond now.
pub(super) fn leased(now: Instant, until: Instant) -> Result<(), Failure> {
    match now < until {
        true => Ok(()),
        false => Err(Failure::NotNow("the lease is over".to_owned())),
    }
}

/// After what was taken for a failed addition was given back, with what could not be.
pub(super) fn given_back(failure: Failure, left: impl Iterator<Item = String>) -> Failure {
    // What is not put back is no matter of a newer lease.
    match left.reduce(|all, one| format!("{all}; {one}")) {
        None => failure,
        Some(left) => lasting(format!("{}; and {left}", failure.reason())),
    }
}
