//! Frames on all segments at once, and to one station.

use os::netlink::Netlink;
use os::segment::Segments;
use os::udp::Sent;
use rustix::thread::UnshareFlags;

use crate::scene::{cable, device, interface, isolate, join_bridge, wait_for};

const TYPE: u16 = 0x88b5;

type Taken = Vec<(u32, [u8; 6], Vec<u8>)>;

fn take(segments: &Segments) -> Taken {
    let mut taken = Vec::new();
    let _more = segments
        .drain(100, |interface, source, bytes| taken.push((interface, source, bytes.to_vec())))
        .unwrap();
    taken
}

#[test]
fn to_all_stations_and_to_one() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    // Three cards in one switch, all of this machine.
    let switch = device("switch", "bridge");
    let cards: Vec<u32> = (0..3)
        .map(|card| {
            let (end, port) = cable(&format!("eth{card}"), &format!("port{card}"));
            join_bridge(port, switch);
            end
        })
        .collect();
    let netlink = Netlink::open().unwrap();
    let mac = |name: &str| interface(name).mac.expect("an Ethernet address");
    let (sender, segments) =
        (Segments::open(TYPE, *b"MP").unwrap(), Segments::open(TYPE, *b"MP").unwrap());
    let heard_on = |to: Option<[u8; 6]>, bytes: &[u8]| {
        let sent = match to {
            None => sender.send(cards[0], bytes),
            Some(station) => sender.send_to(cards[0], station, bytes),
        };
        assert_eq!(sent, Sent::Taken);
        // The switch's own end and its ports hear it as well: only cards count.
        let heard = wait_for("a frame", || Some(take(&segments)).filter(|all| !all.is_empty()));
        let mut on: Vec<u32> = heard
            .into_iter()
            .filter(|(_, source, found)| *source == mac("eth0") && found == bytes)
            .map(|(interface, ..)| interface)
            .filter(|interface| cards.contains(interface))
            .collect();
        on.sort_unstable();
        on
    };
    // A switch that was made a moment ago forwards nothing yet.
    wait_for("the switch", || {
        for card in ["eth0", "eth1", "eth2"] {
            assert!(netlink.carrier(card).is_ok());
        }
        (heard_on(None, b"MP warm up") == cards[1..]).then_some(())
    });
    assert_eq!(heard_on(None, b"MP all"), cards[1..]);
    assert_eq!(heard_on(Some(mac("eth2")), b"MP one"), cards[2..]);
    // Another beginning is another's.
    assert_eq!(sender.send(cards[0], b"MD strange"), Sent::Taken);
    assert_eq!(heard_on(None, b"MP last"), cards[1..]);
    assert!(matches!(sender.send(99, b"MP"), Sent::NoWay | Sent::Refused(_)));
}
