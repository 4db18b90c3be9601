//! What a test saw, in words: which direction fails, what is probably in the way, what to do.

use super::test::{Hint, Seen, Stopped};

/// What else is known about the path.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Name of the other node.
    pub peer: String,
    /// Own end: address with port, interface or device.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Runs over UDP: bytes of the headers before its payload.
    pub headers: Option<u16>,
    /// Bytes beyond which no size was tried.
    pub search: u16,
    /// Why the network is not open on this node.
    pub broken: Option<String>,
    /// Whether the own interface works and has the address.
    pub link_up: bool,
    /// Bytes that the own interface takes in one frame.
    pub mtu: Option<u32>,
}

/// Bytes of a full datagram of the transport.
const FULL: usize = base::limits::DATAGRAM_SIZE_MAX;

/// Sentences, the most important first; none when all is well.
#[must_use]
pub fn findings(seen: &Seen, facts: &Facts) -> Vec<String> {
    let Facts { peer, local, remote, .. } = facts;
    if let Some(why) = &facts.broken {
        return vec![format!("this node's end does not work: {why}")];
    }
    if !facts.link_up {
        return vec![format!(
            "the interface of {local} is down, has no carrier, or does not have the address: look \
             at `ip address`"
        )];
    }
    let is_ip = facts.headers.is_some();
    if seen.sent == 0 {
        return vec![match seen.stopped {
            Some(Stopped::NotOpen) | None => "this node's end is not open yet".to_owned(),
            Some(Stopped::NoWay) if is_ip => {
                format!("this node has no route from {local} to {remote}: look at `ip route get`")
            }
            Some(Stopped::NoWay) => format!("{local} is down"),
            Some(Stopped::TooLarge) => too_short(facts),
            Some(Stopped::Refused(number)) => {
                let why = std::io::Error::from_raw_os_error(number);
                format!("this node's kernel refuses to send: {why}; look at its firewall (output)")
            }
        }];
    }
    let mut found = Vec::new();
    if seen.is_busy {
        let most = super::respond::ANSWERS_PER_SECOND;
        found.push(format!(
            "{peer} had too many probes to answer all (it answers {most} a second): this test says \
             little of the path; test fewer paths at a time"
        ));
        return found;
    }
    if seen.arrived_here == 0 {
        found.push(silence(seen, facts));
        return found;
    }
    let lost = |sent: u32, came: u32| sent.saturating_sub(came);
    if let Some(there) = seen.arrived_there {
        if lost(seen.sent, there) > 0 {
            let lost = lost(seen.sent, there);
            found.push(format!("{lost} of {} are lost on the way to {peer}", seen.sent));
        }
        if lost(there, seen.arrived_here) > 0 {
            let lost = lost(there, seen.arrived_here);
            found.push(format!("{lost} of {there} answers are lost on the way back"));
        }
    } else if lost(seen.sent, seen.arrived_here) > 0 {
        let lost = lost(seen.sent, seen.arrived_here);
        found.push(format!("{lost} of {} are lost, on the way there or back", seen.sent));
    }
    if seen.stopped == Some(Stopped::TooLarge) {
        found.push(too_short(facts));
    } else if seen.full[0] > 0 && seen.full[1] == 0 && seen.short[1] > 0 {
        found.push(format!(
            "datagrams of {FULL} bytes do not pass and short ones do: something on the way has a \
             small MTU and drops fragments; heartbeats are short and go on, messages go in pieces \
             and more slowly"
        ));
    }
    found.extend(sizes(seen, facts));
    found
}

/// Nothing came back.
fn silence(seen: &Seen, facts: &Facts) -> String {
    let Facts { peer, local, remote, .. } = facts;
    let is_ip = facts.headers.is_some();
    let hint = match seen.hint {
        Some(Hint::NobodyListens) => {
            return format!(
                "{remote} is there and says that nobody listens: the daemon of {peer} does not \
                 run, has no end there, or a firewall rejects UDP to it"
            );
        }
        Some(Hint::NobodyThere) => {
            return format!(
                "nobody has the address of {remote} on the wire, or a router says that nothing \
                 leads there: is it on an interface of {peer}, in the same network?"
            );
        }
        None => "",
    };
    match (seen.arrived_there, is_ip) {
        (Some(0), true) => format!(
            "nothing that this node sends arrives at {peer}: a firewall (of {peer}, input, or on \
             the way) drops UDP to {remote}, or {remote} is not there{hint}"
        ),
        (Some(0), false) => format!(
            "nothing that this node sends arrives at {peer}: is {local} on the same wire as its end?"
        ),
        (Some(there), true) => format!(
            "{there} of {} arrive at {peer}, and nothing of what it answers comes back: a firewall \
             (of this node, input, or of {peer}, output) drops UDP from {remote} to {local}, or \
             {peer} has no route back",
            seen.sent
        ),
        (Some(there), false) => format!(
            "{there} of {} arrive at {peer}, and nothing of what it answers comes back",
            seen.sent
        ),
        (None, _) => format!(
            "no answer, and no other path on which {peer} could be asked what arrived there: it is \
             down, or has no half of this path, or the way is cut in at least one direction"
        ),
    }
}

fn too_short(facts: &Facts) -> String {
    format!("{} takes no frames of {FULL} bytes: give it an MTU of 1500", facts.local)
}

/// What the largest sizes say.
fn sizes(seen: &Seen, facts: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    let (Some(there), Some(here)) = (seen.largest_there, seen.largest_here) else { return found };
    let headers = facts.headers.unwrap_or(0);
    let as_mtu = |size: u16| u32::from(size) + u32::from(headers);
    if there != here {
        found.push(format!(
            "{there} bytes pass whole to {}, and {here} from there: the two ends, or what is \
             between, have different MTUs",
            facts.peer
        ));
    }
    let least = as_mtu(there.min(here));
    match facts.mtu {
        // The longest that the socket takes is no sign of anything.
        Some(mtu) if least < mtu && there.min(here) < facts.search => found.push(format!(
            "this node's interface takes {mtu} bytes in one piece, and only {least} pass: the other \
             end or a switch has a smaller MTU"
        )),
        _ => {}
    }
    if usize::from(there.min(here)) < FULL && seen.full[1] > 0 {
        found.push(format!(
            "full datagrams ({FULL} bytes) pass in fragments only: each lost fragment loses all"
        ));
    }
    found
}
