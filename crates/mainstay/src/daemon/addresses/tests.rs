//! Which failures are nobody's fault.

use std::io;
use std::time::Duration;

use os::netlink::NetlinkError;

use super::super::cover::Refused;
use super::*;

fn service() -> IpAddr {
    IpAddr::from([10, 77, 0, 100])
}

#[test]
fn a_lease_that_is_over_is_nobodys_fault() {
    let nanosecond = Duration::from_nanos(1);
    let before = Instant::from_millis(1_000);
    let until = before + nanosecond;
    assert_eq!(failures::leased(before, until), Ok(()));
    let over = Failure::NotNow("the lease is over".into());
    for now in [until, until + nanosecond] {
        assert_eq!(failures::leased(now, until), Err(over.clone()));
    }
    assert_eq!(failures::leased(until, Instant::ZERO), Err(over), "there was none");
}

#[test]
fn a_gate_that_is_late_is_nobodys_fault_and_one_that_refuses_is_lasting() {
    assert_eq!(failures::gated(service(), false, || true), Ok(()));
    let late = failures::gated(service(), false, || false);
    let text = "the lease gate does not have 10.77.0.100 yet";
    assert_eq!(late, Err(Failure::NotNow(text.into())));
    let refused = failures::gated(service(), true, || unreachable!("it is not waited for"));
    let text = "the lease gate could not be given 10.77.0.100";
    assert_eq!(refused, Err(Failure::Lasting(text.into())));
}

#[test]
fn what_the_kernel_refuses_is_lasting() {
    use io::ErrorKind as Kind;
    let kinds = [Kind::PermissionDenied, Kind::NotFound, Kind::ResourceBusy, Kind::WouldBlock];
    let refused = kinds.map(|kind| NetlinkError::Refused {
        operation: "add an address".into(),
        source: kind.into(),
    });
    let source = Kind::OutOfMemory.into();
    let broken = NetlinkError::Socket { operation: "ask", source };
    let silent = NetlinkError::Answer("the kernel does not answer".into());
    for error in refused.into_iter().chain([broken, silent]) {
        let whole = error.whole();
        assert_eq!(failures::lasting(&whole), Failure::Lasting(whole));
    }
}

#[test]
fn what_is_not_put_back_is_lasting_whatever_came_before() {
    let not_now = || Failure::NotNow("the lease is over".to_owned());
    assert_eq!(failures::given_back(not_now(), std::iter::empty()), not_now());
    let refused = || Failure::Lasting("no such device".to_owned());
    assert_eq!(failures::given_back(refused(), std::iter::empty()), refused());
    let left = || ["a route", "the hardware address"].map(str::to_owned).into_iter();
    let text = "the lease is over; and a route; the hardware address";
    assert_eq!(failures::given_back(not_now(), left()), Failure::Lasting(text.into()));
    let text = "no such device; and a route; the hardware address";
    assert_eq!(failures::given_back(refused(), left()), Failure::Lasting(text.into()));
}

#[test]
fn what_the_guard_does_not_take_now_is_nobodys_fault() {
    let why = || "because".to_owned();
    assert_eq!(Failure::from(Refused::NotNow(why())), Failure::NotNow(why()));
    assert_eq!(Failure::from(Refused::Never(why())), Failure::Lasting(why()));
}
