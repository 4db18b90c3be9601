//! Services that need networks beside that of their address.

use core::time::Duration;

use base::NodeId;

use super::field::Field;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const NET1: u8 = 1;

#[test]
fn a_network_that_fails_here_alone_moves_what_needs_it() {
    let mut field = Field::needing(2);
    field.pull(N1, NET1, true);
    field.until("web went to n2", |field| field.where_runs("web") == [N2]);
    // Nor does it come back by the failure of another.
    field.pull(N1, NET1, false);
    field.pass(Duration::from_secs(5));
    assert_eq!(field.where_runs("web"), [N2]);
}

#[test]
fn what_does_not_need_it_stays() {
    let mut field = Field::formed(2);
    field.pull(N1, NET1, true);
    field.pass(Duration::from_secs(5));
    assert_eq!(field.where_runs("web"), [N1]);
}

#[test]
fn a_network_that_fails_for_all_moves_nothing_and_neither_does_its_return() {
    let mut field = Field::needing(2);
    for on in [true, false] {
        for node in [N1, N2] {
            field.pull(node, NET1, on);
            field.pass(Duration::from_millis(300));
            assert_eq!(field.where_runs("web"), [N1]);
        }
        field.pass(Duration::from_secs(5));
        assert_eq!(field.where_runs("web"), [N1]);
    }
}

#[test]
fn a_node_without_it_is_no_target() {
    let mut field = Field::needing(3);
    field.pull(N2, NET1, true);
    field.pass(Duration::from_secs(3));
    field.kill(N1);
    field.until("web went to n3", |field| field.where_runs("web").contains(&N3));
    assert!(!field.where_runs("web").contains(&N2));
}
