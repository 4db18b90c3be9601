//! Owned addresses that are not there and could not be put there yet: what vanished and was to be put back,
//! and what was on its way to another interface.
//!
//! That the driver puts an addition off is no fault of the address ([`crate::Failure::NotNow`]), so it is owned
//! all the same, and tried again with the next lease, where it belongs by then. **Rule:** until it has been added
//! it is not there for anybody: it is not announced, defended, refreshed or asked about, a copy of it is a leftover,
//! and a claim of it begins anew. That ends with its release, or as a loss after [`PUT_OFF_MAX`].

use core::net::IpAddr;
use core::time::Duration;

use base::Instant;

use crate::Timer;
use crate::machine::{Claim, Network, State};
use crate::own::Owned;

/// An addition that was put off.
#[derive(Clone, Debug)]
pub(crate) struct PutOff {
    /// The first time in a row.
    since: Instant,
    /// The lease at the newest time: it takes a newer one to try again.
    lease: Instant,
    /// Whether it is being tried again.
    is_tried: bool,
    /// What is said of it when it is given up.
    why: String,
}

impl Owned {
    /// Whether it is nowhere, and nothing is being done about that yet.
    pub(crate) fn waits(&self) -> bool {
        self.put_off.as_ref().is_some_and(|put_off| !put_off.is_tried)
    }
}

impl Network {
    /// The addition of an owned address was put off, and `why` it is lost if that goes on.
    pub(crate) fn wait_for_lease(&mut self, address: IpAddr, why: String) {
        let (now, lease) = (self.now, self.lease);
        let owned = self.owned(address);
        let since = owned.put_off.as_ref().map_or(now, |before| before.since);
        if now >= since + PUT_OFF_MAX {
            return self.lose(address, why);
        }
        owned.put_off = Some(Box::new(PutOff { since, lease, is_tried: false, why }));
    }

    /// When to look again at one that was put off.
    pub(crate) fn later(&self, address: IpAddr, put_off: &PutOff) -> [Option<(Instant, Timer)>; 3] {
        if put_off.is_tried {
            return [None; 3];
        }
        let again = self.may_try_again(address, put_off).then_some((self.now, Timer::Restore));
        [again, Some((put_off.since + PUT_OFF_MAX, Timer::Restore)), None]
    }

    fn may_try_again(&self, address: IpAddr, put_off: &PutOff) -> bool {
        self.leased() && self.lease > put_off.lease && !self.is_busy(address)
    }

    /// Tries again what was put off, or gives it up.
    pub(crate) fn try_again(&mut self, address: IpAddr) {
        let Some(put_off) = self.owned(address).put_off.clone().filter(|one| !one.is_tried) else {
            return;
        };
        if self.now >= put_off.since + PUT_OFF_MAX {
            return self.lose(address, put_off.why);
        }
        if !self.may_try_again(address, &put_off) {
            return;
        }
        if self.owned(address).moving.is_some() {
            if !self.add_where_it_goes(address) {
                return self.lose(address, put_off.why);
            }
        } else if !self.go_home(address) {
            let Owned { place, name, .. } = self.owned(address).clone();
            if self.interface(place.interface).is_none() {
                return self.lose(address, format!("interface {name} is gone"));
            }
            let restoring = Some(self.operate(place, true));
            self.owned(address).restoring = restoring;
        }
        self.owned(address).put_off = Some(Box::new(PutOff { is_tried: true, ..*put_off }));
    }

    /// A claim of an address that this service owns, and that is not there: it begins anew when all that is
    /// under way for it is over.
    pub(crate) fn claim_anew(&mut self, service: String, address: IpAddr, claim: Claim) {
        self.remove(address, String::new());
        let State::Removing(removing) = &mut self.entry(address).state else {
            unreachable!("remove enters this state")
        };
        removing.next = Some((service, claim));
    }
}

/// For so long an owned address may be put off: who has leases, and no address for longer, has a service
/// that nobody reaches.
pub(crate) const PUT_OFF_MAX: Duration = Duration::from_secs(10);
