//! Records of a former life.

use std::collections::BTreeSet;

use super::{Record, Replaced};
use crate::config::files::Root;

/// What the kernel says of an IPv4 address: `struct ifaddrmsg` and its `IFA_LOCAL` (rtnetlink(7)).
fn address(octets: [u8; 4]) -> Vec<u8> {
    let mut body = vec![2, 24, 0x80, 0];
    body.extend(3_u32.to_ne_bytes());
    body.extend(8_u16.to_ne_bytes());
    body.extend(2_u16.to_ne_bytes());
    body.extend(octets);
    body
}

fn interface() -> os::netlink::Interface {
    let loopback = os::netlink::Netlink::open()
        .and_then(|mut netlink| netlink.interfaces().map_err(std::io::Error::other));
    let mut one = loopback.expect("a kernel with netlink").swap_remove(0);
    (one.index, one.name) = (3, "eth1".into());
    one
}

#[test]
fn an_address_that_is_another_nodes_by_now_is_not_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let ours = [10, 0, 0, 1];
    let theirs = [10, 0, 0, 2];
    let record = Record {
        name: "eth1".into(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        addresses: vec![address(ours), address(theirs)],
        routes: vec![vec![0; 12]],
    };
    let mut life = Replaced { directory: root.run().join("replaced"), records: Default::default() };
    life.write(3, &record).unwrap();
    life.records.insert(3, record.clone());

    let nobody = BTreeSet::new();
    let (read, said) = Replaced::read(&root, &[interface()], &nobody).unwrap();
    assert_eq!((read.records, said), (life.records, Vec::new()));

    let others = BTreeSet::from([theirs.into(), "10.0.0.3".parse().unwrap()]);
    let (read, said) = Replaced::read(&root, &[interface()], &others).unwrap();
    let left = Record { addresses: vec![address(ours)], routes: Vec::new(), ..record };
    assert_eq!(read.records[&3], left);
    assert_eq!(read.taken()[&3].boot, [(ours.into(), 24)]);
    let [said] = &said[..] else { panic!("{said:?}") };
    assert!(said.starts_with("10.0.0.2 was taken from eth1 and is not put back"), "{said}");
}

#[test]
fn another_interface_of_that_number_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let life = Replaced { directory: root.run().join("replaced"), records: Default::default() };
    life.write(3, &Record { name: "eth9".into(), ..Record::default() }).unwrap();
    let (read, said) = Replaced::read(&root, &[interface()], &BTreeSet::new()).unwrap();
    assert!(
        read.records.is_empty() && said[0].ends_with("eth9 is another interface now"),
        "{said:?}"
    );
    assert!(!life.directory.join("3").exists());
}
