use std::os::unix::fs::FileExt;

use group::{Answer, Ballot, Scope};
use tempfile::NamedTempFile;

use super::super::block::COPY_SIZE;
use super::*;

const CLUSTER: u32 = 10;

/// A plain file with an area for this cluster.
fn area() -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    let layout = Layout::for_nodes(CLUSTER, NodeId(2));
    file.as_file().set_len(layout.size() * 4_096).expect("room");
    file.as_file().write_all_at(&layout.encode_header(), 0).expect("a header");
    file
}

fn disk(file: &NamedTempFile, node: u8) -> Disk {
    let asker = Asker {
        cluster: CLUSTER,
        local: NodeId(node),
        name: format!("n{node}"),
        key: [7; 32],
        budget: core::time::Duration::from_millis(200),
    };
    let path = file.path().to_str().expect("a path").to_owned();
    Disk::new(Some(path), &asker, Turns::default())
}

fn ask(round: u32, node: u8, value: Option<u8>) -> Request {
    let scope = Scope { lineage: 1, generation: 4 };
    let value = value.map(|value| vec![value]);
    Request { arbiters: 7, scope, ballot: Ballot { round, node }, value }
}

fn answer(disk: &mut Disk, request: &Request) -> Answer {
    disk.ask(request).expect("the disk is fine").answer
}

#[test]
fn the_half_that_is_later_completes_what_was_accepted() {
    let file = area();
    let (mut one, mut two) = (disk(&file, 1), disk(&file, 2));
    one.probe().expect("a good disk");
    assert_eq!(answer(&mut one, &ask(1, 1, None)), Answer::Promised(None));
    assert_eq!(answer(&mut one, &ask(1, 1, Some(1))), Answer::Accepted);
    match answer(&mut two, &ask(2, 2, None)) {
        Answer::Promised(Some(accepted)) => assert_eq!(accepted.value, [1]),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        answer(&mut one, &ask(1, 1, Some(1))),
        Answer::Refused(Ballot { round: 2, node: 2 })
    );
    // Another process of the first node finds what the former one wrote.
    let scope = Scope { lineage: 1, generation: 3 };
    assert_eq!(answer(&mut disk(&file, 1), &Request { scope, ..ask(9, 1, None) }), Answer::Past(4));
}

#[test]
fn a_disk_that_has_forgotten_is_not_asked() {
    let file = area();
    let mut one = disk(&file, 1);
    assert_eq!(answer(&mut one, &ask(1, 1, None)), Answer::Promised(None));
    let layout = Layout::for_nodes(CLUSTER, NodeId(2));
    let place = (layout.run(NodeId(1), NodeId(1)) + FIRST_BLOCK) * 4_096;
    file.as_file().write_all_at(&vec![0; 2 * COPY_SIZE], place).expect("wiped");
    let error = one.ask(&ask(2, 1, None)).expect_err("it was wiped");
    assert!(error.to_string().contains("has forgotten"), "{error}");
}

#[test]
fn what_cannot_be_read_is_no_answer() {
    let file = area();
    let mut one = disk(&file, 1);
    let layout = Layout::for_nodes(CLUSTER, NodeId(2));
    let place = (layout.run(NodeId(2), NodeId(2)) + FIRST_BLOCK) * 4_096;
    file.as_file().write_all_at(&vec![1; 2 * COPY_SIZE], place).expect("written over");
    let error = one.ask(&ask(1, 1, None)).expect_err("node 2's promise is not known");
    assert!(error.to_string().contains("both copies of node 2"), "{error}");
    assert!(one.probe().is_err(), "it is said beforehand");
    file.as_file().write_all_at(&vec![0; 2 * COPY_SIZE], place).expect("mended");
    assert_eq!(answer(&mut one, &ask(1, 1, None)), Answer::Promised(None));
    let header = Layout::for_nodes(CLUSTER + 1, NodeId(2)).encode_header();
    file.as_file().write_all_at(&header, 0).expect("another cluster's");
    let error = one.ask(&ask(1, 1, None)).expect_err("not ours");
    assert!(error.to_string().contains("belongs to cluster 11"), "{error}");
}
