//! Tests of paths, driven by the loop: asks and answers go through the sockets and devices of the
//! paths themselves.

use std::collections::BTreeMap;

use api::v1::{self, ErrorCode};
use base::{Instant, NetworkId, NodeId};
use transport::PathId;

use super::drive::Daemon;
use crate::config::Kind;
use crate::probe::respond::Responder;
use crate::probe::test::{Hint, PathTest, Plan, SENDING_MAX, Send, Stopped};
use crate::probe::wire::{Flags, Key, Probe};
use crate::probe::words::{Facts, findings};
use crate::serve::{Answer, Reply};

/// Probes over a path unless another number is asked for.
const COUNT_DEFAULT: u16 = 20;
/// Bytes of the headers of IPv4 (RFC 791, without options) and UDP (RFC 768).
const HEADERS_V4: u16 = 28;
/// Of IPv6 (RFC 8200) and UDP.
const HEADERS_V6: u16 = 48;

/// What the loop knows of probes.
pub(super) struct Probing {
    key: Key,
    responder: Responder,
    running: Option<Running>,
    /// Probes that nobody with the cluster's key made, or that are for somebody else.
    pub(super) foreign: u64,
}

/// Tests that somebody waits for.
struct Running {
    tests: Vec<PathTest>,
    answer: Answer,
}

impl Probing {
    pub(super) fn new(key: &[u8; 32]) -> Probing {
        let key = Key::of_cluster(key);
        Probing { key, responder: Responder::default(), running: None, foreign: 0 }
    }

    /// Asks that were too many to be answered.
    pub(super) fn dropped(&self) -> u64 {
        self.responder.dropped
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let tests = self.running.iter().flat_map(|running| &running.tests);
        tests.filter_map(PathTest::deadline).min()
    }
}

impl Daemon {
    /// Begins to test; answers when all is done.
    pub(super) fn test_paths(&mut self, request: &v1::PathTestRequest, answer: Answer) {
        if self.probing.running.is_some() {
            let message = "paths are being tested already";
            let error = v1::Error::new(ErrorCode::Busy, message);
            return answer.send(Err(error.help("try again in some seconds")));
        }
        let count = request.count.unwrap_or(COUNT_DEFAULT);
        let paths = self.paths_to_test(request);
        match paths.and_then(|paths| self.check_count(&paths, count).map(|()| paths)) {
            Err(error) => answer.send(Err(error)),
            Ok(paths) => {
                let now = os::clock::boottime();
                let begin = |path: PathId| {
                    let kind = self.cluster.network(path.network).map(|network| network.kind);
                    let kind = kind.unwrap_or_default();
                    let plan = Plan::new(kind.medium(), kind == Kind::Udp, count);
                    let mut run = [0; 8];
                    os::clock::random(&mut run);
                    PathTest::new(path, u64::from_be_bytes(run), plan, now)
                };
                let tests = paths.into_iter().map(begin).collect();
                self.probing.running = Some(Running { tests, answer });
                self.go_on_testing();
            }
        }
    }

    /// Refuses more probes than one of the paths can be given in time.
    fn check_count(&self, paths: &[PathId], count: u16) -> Result<(), v1::Error> {
        let most = |path: &PathId| {
            let network = self.cluster.network(path.network)?;
            Some((Plan::count_max(network.kind.medium()), network))
        };
        let limits = paths.iter().filter_map(most);
        let Some((most, network)) = limits.min_by_key(|(most, _)| *most) else { return Ok(()) };
        if (1..=most).contains(&count) {
            return Ok(());
        }
        let (name, kind, time) = (&network.name, network.kind.name(), SENDING_MAX.as_secs());
        let message = format!(
            "{count} probes are not possible over {name}: a path of kind {kind} takes 1 to {most} in \
             the {time} s that a test may take"
        );
        let help = format!("ask for {most} at most, or test paths over faster networks by name");
        Err(v1::Error::new(ErrorCode::Refused, message).help(help))
    }

    fn paths_to_test(&self, request: &v1::PathTestRequest) -> Result<Vec<PathId>, v1::Error> {
        let not_found = |message: String| v1::Error::new(ErrorCode::NotFound, message);
        let local = self.node.local().node;
        let peer = match &request.peer {
            None => None,
            Some(name) => match self.cluster.node(name).filter(|node| *node != local) {
                Some(node) => Some(node),
                None => {
                    let others = self.cluster.nodes.iter().filter(|node| node.id != local);
                    let names: Vec<&str> = others.map(|node| node.name.as_str()).collect();
                    return Err(not_found(format!("there is no other node {name}"))
                        .help(format!("the other nodes are {}", names.join(", "))));
                }
            },
        };
        let network = match &request.network {
            None => None,
            Some(name) => {
                let mut networks = self.cluster.networks.iter();
                match networks.find(|network| network.name == *name) {
                    Some(network) => Some(network.id),
                    None => {
                        let names: Vec<&str> =
                            self.cluster.networks.iter().map(|one| one.name.as_str()).collect();
                        return Err(not_found(format!("there is no network {name} here"))
                            .help(format!("there are: {}", names.join(", "))));
                    }
                }
            }
        };
        let status = self.node.transport().status();
        let paths = status.peers.iter().flat_map(|peer| &peer.paths).map(|path| path.path);
        let paths: Vec<PathId> = paths
            .filter(|path| peer.is_none_or(|peer| path.peer == peer))
            .filter(|path| network.is_none_or(|network| path.network == network))
            .collect();
        if paths.is_empty() {
            return Err(not_found("this node has no such path".to_owned())
                .help("`mainstay path list` shows all paths"));
        }
        Ok(paths)
    }

    /// Sends what is due, and answers when all tests are over.
    pub(super) fn go_on_testing(&mut self) {
        let now = os::clock::boottime();
        let Some(mut running) = self.probing.running.take() else { return };
        if running.answer.is_abandoned() {
            return;
        }
        for test in &mut running.tests {
            // What does not leave may make the next one due at once.
            loop {
                test.tick(now);
                let sends = test.take();
                if sends.is_empty() {
                    break;
                }
                for send in sends {
                    if let Err(why) = self.send_ask(test.path, &send) {
                        test.stopped(now, &send.body, why);
                    }
                }
            }
        }
        if running.tests.iter().all(|test| test.result().is_some()) {
            let tests = running.tests.iter().map(|test| self.tested(test)).collect();
            let report = v1::PathTests { schema: v1::SCHEMA, tests };
            return running.answer.send(Ok(Reply::PathTests(report)));
        }
        self.probing.running = Some(running);
    }

    fn send_ask(&mut self, path: PathId, send: &Send) -> Result<(), Stopped> {
        if !send.everywhere {
            return self.send_probe(path, false, send.body, send.size, send.whole);
        }
        let status = self.node.transport().status();
        let peer = status.peers.iter().find(|peer| peer.node == path.peer);
        let ways = peer.into_iter().flat_map(|peer| &peer.paths);
        let usable = ways.filter(|way| way.state != transport::PathState::Dead);
        let mut ways: Vec<PathId> = usable.map(|way| way.path).collect();
        if !ways.contains(&path) {
            ways.push(path);
        }
        for way in ways {
            // One of them is enough, and which fails is what the test is about.
            let _counted_there = self.send_probe(way, false, send.body, send.size, send.whole);
        }
        Ok(())
    }

    fn send_probe(
        &mut self,
        path: PathId,
        is_answer: bool,
        body: crate::probe::wire::Body,
        size: usize,
        whole: bool,
    ) -> Result<(), Stopped> {
        let mut nonce = [0; 12];
        os::clock::random(&mut nonce);
        let probe = Probe {
            cluster: self.cluster.id,
            source: self.node.local().node,
            destination: path.peer,
            network: path.network,
            is_answer,
            body,
        };
        let bytes = self.probing.key.seal(&probe, size, nonce);
        self.media.probe(path, &bytes, whole, &self.poll)
    }

    /// A probe came over a network.
    pub(super) fn probed(&mut self, network: NetworkId, bytes: &[u8]) {
        let local = self.node.local().node;
        let opened = self.probing.key.open(bytes).ok();
        let Some(probe) = opened.filter(|probe| {
            (probe.cluster, probe.destination, probe.network) == (self.cluster.id, local, network)
                && probe.source != local
                && self.cluster.nodes.iter().any(|node| node.id == probe.source)
        }) else {
            self.probing.foreign += 1;
            return;
        };
        let now = os::clock::boottime();
        let path = PathId { peer: probe.source, network };
        if !probe.is_answer {
            let answer = self.probing.responder.ask(now, probe.source, &probe.body, bytes.len());
            let Some(answer) = answer else { return };
            let sent = self.send_probe(path, true, answer.body, answer.size, answer.whole);
            if sent == Err(Stopped::TooLarge) {
                let mut body = answer.body;
                body.flags = body.flags.with(Flags::TOO_LARGE);
                // When not even this leaves the asker hears nothing, and says so.
                let _silence = self.send_probe(path, true, body, 0, false);
            }
            return;
        }
        let tests = self.probing.running.iter_mut().flat_map(|running| &mut running.tests);
        let mut tests = tests.filter(|test| {
            test.run() == probe.body.run
                && test.path.peer == probe.source
                && (test.path.network == network || probe.body.flags.has(Flags::TALLY))
        });
        if let Some(test) = tests.next() {
            test.answer(now, &probe.body, bytes.len());
            self.go_on_testing();
        }
    }

    /// The network said something about what was sent on these paths.
    pub(super) fn hinted(&mut self, paths: &[PathId], hint: Hint) {
        let now = os::clock::boottime();
        let tests = self.probing.running.iter_mut().flat_map(|running| &mut running.tests);
        for test in tests.filter(|test| paths.contains(&test.path)) {
            test.hint(now, hint);
        }
    }

    /// A test that is over, for people.
    fn tested(&self, test: &PathTest) -> v1::PathTest {
        let seen = test.result().expect("it is over");
        let local = self.node.local().node;
        let PathId { peer, network: id } = test.path;
        let mut report = v1::PathTest { peer: self.cluster.name_of(peer), ..Default::default() };
        let Some(network) = self.cluster.network(id) else {
            report.findings = vec!["the path was deleted meanwhile".to_owned()];
            return report;
        };
        let end = |node: NodeId| network.end(node, self.cluster.port).unwrap_or_default();
        report.network = network.name.clone();
        report.kind = network.kind.name().to_owned();
        (report.local, report.remote) = (end(local), end(peer));
        let address = network.endpoints.get(&local).map(|endpoint| endpoint.address);
        let status = self.node.transport().status();
        let mut paths = status.peers.iter().flat_map(|peer| &peer.paths);
        let facts = Facts {
            peer: report.peer.clone(),
            local: report.local.clone(),
            remote: if report.remote.is_empty() {
                "its end".to_owned()
            } else {
                report.remote.clone()
            },
            headers: address.map(|own| if own.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 }),
            search: test.plan().search.unwrap_or_default(),
            broken: self.media.broken(id),
            link_up: paths.find(|path| path.path == test.path).is_none_or(|path| path.link_up),
            mtu: self.mtu_of(id),
        };
        report.findings = findings(seen, &facts);
        let direction = |sent: Option<u32>, arrived: Option<u32>, largest: Option<u16>| {
            let known = sent.zip(arrived).filter(|(sent, _)| *sent > 0);
            v1::PathTestDirection {
                sent,
                arrived,
                loss: known.map(|(sent, arrived)| {
                    f64::from(sent.saturating_sub(arrived)) / f64::from(sent)
                }),
                largest: largest.map(u32::from),
            }
        };
        report.there = direction(Some(seen.sent), seen.arrived_there, seen.largest_there);
        report.back = direction(seen.answered_there, Some(seen.arrived_here), seen.largest_here);
        report.works = seen.arrived_here > 0;
        report.rtt_min_avg_max_us = report.works.then(|| {
            let [least, sum, most] = seen.trips;
            [least, sum / u64::from(seen.arrived_here), most]
        });
        report
    }

    /// What the interface of the own end of a network takes in one piece.
    fn mtu_of(&self, id: NetworkId) -> Option<u32> {
        let local = self.node.local().node;
        let network = self.cluster.network(id)?;
        let address = network.endpoints.get(&local).map(|endpoint| endpoint.address);
        let device = network.devices.get(&local);
        let carries = |interface: &&os::netlink::Interface| {
            interface.addresses.iter().any(|seen| Some(seen.address) == address)
                || Some(&interface.name) == device
        };
        self.interfaces.iter().find(carries).map(|interface| interface.mtu)
    }

    /// What was wrong with probes, by name.
    pub(super) fn probe_counters(&self) -> Vec<v1::Counter> {
        let all = BTreeMap::from([
            (
                "probe_foreign",
                (
                    self.probing.foreign,
                    "Probes came that nobody with the cluster's key made, or that are for another \
                     node or network.",
                ),
            ),
            (
                "probe_surplus",
                (
                    self.probing.dropped(),
                    "Probes of path tests were not answered, because there were too many.",
                ),
            ),
        ]);
        let counted = all.into_iter().filter(|(_, (value, _))| *value > 0);
        counted
            .map(|(name, (value, text))| v1::Counter {
                name: name.to_owned(),
                value,
                text: text.to_owned(),
            })
            .collect()
    }
}
