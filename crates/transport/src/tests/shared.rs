//! The bytes of heartbeats to everybody.

use base::codec::{Malformed, Reader};
use base::limits::REPORT_SIZE_MAX;
use base::{Incarnation, NetworkId, NodeId, NodeSet};

use super::{header, hex};
use crate::shared::{ECHO_SIZE, Echo, FIXED_SIZE, SharedHeartbeat};
use crate::wire::{HEADER_SIZE, Header, HeaderError, Kind, is_for, is_pressing, report_name};

fn heartbeat(report: Option<&[u8]>) -> SharedHeartbeat<'_> {
    SharedHeartbeat {
        incarnation: Incarnation(0x0a0b_0c0d),
        stamp: 0x1000_0000_0000_0001,
        row: [NodeId(0), NodeId(1)].into_iter().collect(),
        heard: [NodeId(1), NodeId(2)].into_iter().collect(),
        name: report_name(report.unwrap_or_default()),
        evidence_age: Some(core::time::Duration::from_micros(0x0a0b)),
        report,
    }
}

fn echo(node: u8) -> Echo {
    Echo {
        node: NodeId(node),
        knows: true,
        loss: 7,
        held: 0x0001_0203,
        tag: *b"peer",
        echo: 0x2000_0000_0000_0002,
    }
}

fn bytes(report: Option<&[u8]>, echoes: &[Echo]) -> Vec<u8> {
    let mut bytes = Vec::new();
    heartbeat(report).encode(&mut bytes);
    echoes.iter().for_each(|echo| echo.encode(&mut bytes));
    bytes
}

#[test]
fn the_body_has_these_bytes() {
    assert_eq!(
        hex(&bytes(Some(b"ab"), &[echo(5)])),
        "000000000a0b0c0d\
         1000000000000001\
         00000000000000000000000000000003\
         00000000000000000000000000000006\
         4d2505ca\
         00000a0b\
         00026162\
         0587010203706565722000000000000002"
    );
    assert_eq!(bytes(None, &[]).len(), FIXED_SIZE);
    assert_eq!(bytes(None, &[echo(5)]).len(), FIXED_SIZE + ECHO_SIZE);
}

#[test]
fn each_node_finds_what_is_said_to_it() {
    let report = [3; REPORT_SIZE_MAX];
    for report in [None, Some(&b""[..]), Some(&report[..])] {
        let bytes = bytes(report, &[echo(5), Echo { knows: false, loss: 0, ..echo(6) }]);
        let decode = |local| SharedHeartbeat::decode(Reader::new(&bytes), NodeId(local));
        assert_eq!(decode(5), Ok((heartbeat(report), Some(echo(5)))));
        let other = Echo { knows: false, loss: 0, ..echo(6) };
        assert_eq!(decode(6), Ok((heartbeat(report), Some(other))));
        assert_eq!(decode(7), Ok((heartbeat(report), None)));
    }
    // What does not fit is cut: an age of more than 16 seconds, more than all lost.
    let bytes = bytes(None, &[Echo { held: u32::MAX, loss: 200, ..echo(5) }]);
    let (_, own) = SharedHeartbeat::decode(Reader::new(&bytes), NodeId(5)).expect("well-formed");
    assert_eq!(own, Some(Echo { held: 0x00ff_ffff, loss: 100, ..echo(5) }));
}

#[test]
fn malformed_bodies_are_refused() {
    let whole = bytes(Some(b"ab"), &[echo(5), echo(6)]);
    let decode = |bytes: &[u8]| SharedHeartbeat::decode(Reader::new(bytes), NodeId(5)).map(drop);
    assert_eq!(decode(&whole), Ok(()));
    let boundaries = [whole.len(), whole.len() - ECHO_SIZE, whole.len() - 2 * ECHO_SIZE];
    for length in 0..whole.len() {
        let expected = if boundaries.contains(&length) { Ok(()) } else { Err(Malformed) };
        assert_eq!(decode(&whole[..length]), expected, "{length} bytes");
    }
    let mut other = whole.clone();
    other[FIXED_SIZE] ^= 1;
    assert_eq!(decode(&other), Err(Malformed), "another report than the named one");
    let mut other = whole.clone();
    other[FIXED_SIZE + 2 + 1] = 101;
    assert_eq!(decode(&other), Err(Malformed), "more than all lost");
    assert_eq!(decode(&bytes(None, &[echo(5), echo(5)])), Err(Malformed), "said twice");
    let mut long = bytes(None, &[]);
    long[FIXED_SIZE - 2..].copy_from_slice(&(REPORT_SIZE_MAX as u16 + 1).to_be_bytes());
    long.resize(1_200, 0);
    assert_eq!(decode(&long), Err(Malformed), "a report that is too long");
}

#[test]
fn a_frame_to_everybody_has_no_addressee_and_a_nonce_of_its_own() {
    let shared = Header { kind: Kind::Shared, destination: NodeId(0), ..header() };
    let mut bytes = Vec::new();
    shared.encode(&mut bytes);
    assert_eq!(bytes.len(), HEADER_SIZE);
    bytes.resize(HEADER_SIZE + FIXED_SIZE + 16, 0);
    assert_eq!(Header::decode(&bytes), Ok(shared));
    assert!(is_pressing(&bytes));
    assert!((0..128).all(|node| is_for(&bytes, NodeId(node))));
    bytes[9] = 1;
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Malformed));
    // Node 0 may be an addressee of its own.
    let others = [Kind::Heartbeat, Kind::Data, Kind::Goodbye];
    for kind in others {
        assert_ne!(shared.nonce(), Header { kind, ..shared }.nonce());
    }
    assert_ne!(shared.nonce(), Header { network: NetworkId(1), ..shared }.nonce());
    let set: NodeSet = [NodeId(127)].into_iter().collect();
    assert_eq!(set.bits(), 1 << 127, "the last node has the highest bit");
}
