//! Records of a former life.

use super::{Record, Replaced};
use crate::config::files::Root;

fn interface() -> os::netlink::Interface {
    let mut netlink = os::netlink::Netlink::open().expect("a kernel with netlink");
    let mut one = netlink.interfaces().expect("a kernel that answers").swap_remove(0);
    (one.index, one.name) = (3, "eth1".into());
    one
}

fn life(root: &Root) -> Replaced {
    Replaced {
        directory: root.run().join("replaced"),
        records: Default::default(),
        foreign: Default::default(),
    }
}

#[test]
fn what_was_written_down_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let mut life = life(&root);
    let mac = Some([2, 0, 0, 0, 0, 1]);
    let record =
        Record { name: "eth1".into(), mac, routes: vec![vec![0; 12]], ..Record::default() };
    life.write(3, &record).unwrap();
    life.records.insert(3, record);
    let (read, said) = Replaced::read(&root, &[interface()]).unwrap();
    assert_eq!((read.records, said), (life.records, Vec::new()));
}

#[test]
fn another_interface_of_that_number_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let life = life(&root);
    life.write(3, &Record { name: "eth9".into(), ..Record::default() }).unwrap();
    let (read, said) = Replaced::read(&root, &[interface()]).unwrap();
    assert!(read.records.is_empty(), "{read:?}");
    assert!(said[0].ends_with("eth9 is another interface now"), "{said:?}");
    assert!(!life.directory.join("3").exists());
}
