//! What daemons tell each other about their own halves of paths.
//!
//! A half belongs to its node. What another node has to do with it goes over the channel between the
//! two, which lives as long as any path between them does, and needs no view:
//!
//! - **Errands**: "make the other half of this path", "take it back", and what came of it. An errand
//!   has a limit; without an answer it is not known whether it was done, and said so. The one that
//!   makes a half that is there already, or takes back one that is not, changes nothing. What takes
//!   halves back goes as far as it can. What makes them leaves none alone: when one end cannot, the
//!   halves made for it elsewhere are taken back, and what could not be is named.
//! - **Halves**: each node tells whoever it can reach which halves it has, whenever it is reached and
//!   whenever they change. So the end that has a lone half can say that the other end is missing,
//!   instead of guessing.
//!
//! - **Checks**: "what do you say to this configuration", before it is put in force ([`checks`]).
//!
//! Whoever can seal a message is a node of this cluster, and nodes trust each other.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::v1::{self, ErrorCode};
use base::{Instant, Member, NetworkId, NodeId};
use node::Input;
use serde::{Deserialize, Serialize};

use self::checks::Checks;
use super::Done;
use super::drive::Daemon;
use crate::node_check::{Fact, Question};
use crate::serve::{Answer, Reply};

/// How long the other node may take: it writes to its disk.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Commands that wait for other nodes at one time.
const WAITING_MAX: usize = 16;
/// Halves that one node can tell of.
const HALVES_MAX: usize = 1_024;

/// What is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "tell")]
enum Tell {
    /// Do this with your half.
    Errand { id: u64, verb: Verb, request: Box<v1::PathRequest> },
    /// This came of it.
    Done { id: u64, result: Result<String, v1::Error> },
    /// The numbers of the halves that the sender has and that lead to the receiver.
    Halves { numbers: Vec<u16> },
    /// Look into this part of a question.
    Check { id: u64, part: usize, question: Question },
    /// What was found there.
    Checked { id: u64, part: usize, facts: Vec<Fact> },
}

/// What is done with a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verb {
    Create,
    Delete,
}

/// Who is answered.
pub(super) enum Asker {
    /// A client of the API here.
    Client(Answer),
    /// A client, with what the other ends said and the halves that they made for it.
    Pair(Answer, Vec<String>, Vec<Half>),
    /// Another node's daemon.
    Peer(NodeId, u64),
}

/// Another node's half, as it is asked for.
pub(super) type Half = (NodeId, v1::PathRequest);

/// What this daemon has on its way to others, and knows of them.
pub(super) struct Errands {
    checks: Checks,
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
    /// Halves by the word of their node, for its life.
    halves: BTreeMap<NodeId, (Member, BTreeSet<NetworkId>)>,
    /// A peer came or went, or the own halves changed: all are told.
    pub(super) greet: bool,
}

/// A command that waits for other nodes.
struct Waiting {
    verb: Verb,
    request: v1::PathRequest,
    answer: Answer,
    /// Who has not answered yet.
    missing: BTreeMap<NodeId, v1::PathRequest>,
    /// Halves that were made for this command.
    made: Vec<Half>,
    said: Vec<String>,
    failed: bool,
    /// Why halves that were made are taken back; the own one is not touched.
    undone: Option<v1::Error>,
    until: Instant,
}

/// As it is sent.
fn written(tell: &Tell) -> Vec<u8> {
    serde_json::to_vec(tell).expect("it is made of texts and numbers")
}

impl Errands {
    /// Nothing yet. `done`: where threads that look at this machine say what they have found.
    pub(super) fn new(done: os::event::Sender<Done>) -> Errands {
        Errands {
            checks: Checks::new(done),
            waiting: BTreeMap::new(),
            last: 0,
            halves: BTreeMap::new(),
            greet: false,
        }
    }

    /// When an errand or a check is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let errands = self.waiting.values().map(|waiting| waiting.until);
        errands.chain(self.checks.deadline()).min()
    }
}

impl Daemon {
    /// Has the other ends done first, then the own one.
    pub(super) fn path_pair(&mut self, verb: Verb, request: v1::PathRequest, answer: Answer) {
        match self.peers_of_pair(verb, &request) {
            Err(error) => answer.send(Err(error)),
            Ok((requests, said)) => self.send_out(Waiting {
                verb,
                request,
                answer,
                missing: requests.into_iter().collect(),
                made: Vec::new(),
                said,
                failed: false,
                undone: None,
                until: os::clock::boottime() + TIMEOUT,
            }),
        }
    }

    /// Tells each that is waited for what it has to do.
    fn send_out(&mut self, waiting: Waiting) {
        self.errands.last += 1;
        let id = self.errands.last;
        let verb = waiting.verb;
        let requests = waiting.missing.clone();
        self.errands.waiting.insert(id, waiting);
        for (peer, request) in &requests {
            self.tell(*peer, &Tell::Errand { id, verb, request: Box::new(request.clone()) });
        }
        if requests.is_empty() {
            self.end_errand(id);
        }
    }

    /// The other nodes of a pair, with what each has to do, and what cannot be asked of whom.
    fn peers_of_pair(
        &self,
        verb: Verb,
        request: &v1::PathRequest,
    ) -> Result<(Vec<Half>, Vec<String>), v1::Error> {
        if self.errands.waiting.len() == WAITING_MAX {
            let message = "too many commands wait for other nodes";
            return Err(v1::Error::new(ErrorCode::Busy, message).help("try again in a moment"));
        }
        let local = self.node.local().node;
        // What cannot be done here is not begun there.
        let rank = match verb {
            Verb::Create => Some(self.with_path(request)?.rank),
            Verb::Delete => {
                self.own_path(request)?;
                None
            }
        };
        let is_shared = ["ethernet", "disk"].contains(&request.kind.as_str());
        let peers: Vec<NodeId> = (self.cluster.nodes.iter())
            .filter(|node| node.id != local)
            .filter(|node| {
                request.peer == crate::config::own::EVERYBODY || node.name == request.peer
            })
            .map(|node| node.id)
            .collect();
        let mut said = Vec::new();
        if peers.is_empty() {
            let message = format!("there is no other node {}", request.peer);
            match verb {
                Verb::Create => return Err(v1::Error::new(ErrorCode::NotFound, message)),
                Verb::Delete => said.push(message),
            }
        }
        let there = if request.remote.is_empty() { &request.local } else { &request.remote };
        let mut requests = Vec::new();
        for peer in peers {
            let mirrored = v1::PathRequest {
                peer: if is_shared {
                    crate::config::own::EVERYBODY.to_owned()
                } else {
                    self.cluster.name_of(local)
                },
                local: there.clone(),
                remote: if is_shared || request.kind == "serial" {
                    String::new()
                } else {
                    request.local.clone()
                },
                // A place on the wire or disk is the same for all; any other order is each node's.
                rank: if is_shared { rank } else { request.rank },
                name: if is_shared && request.name.is_empty() {
                    request.local.clone()
                } else {
                    request.name.clone()
                },
                pair: false,
                ..request.clone()
            };
            // A path that rests is woken by what is sent.
            if self.node.transport().within_reach(peer).is_some() {
                requests.push((peer, mirrored));
                continue;
            }
            let name = self.cluster.name_of(peer);
            let message = format!("{name} cannot be reached, so it cannot be told");
            let help = format!("on {name}: {}", by_hand(verb, &mirrored));
            match verb {
                Verb::Create => {
                    let help = format!("do each half on its own node; {help}");
                    return Err(v1::Error::new(ErrorCode::Refused, message).help(help));
                }
                Verb::Delete => said.push(format!("{message}; if it has its half, {help}")),
            }
        }
        Ok((requests, said))
    }

    fn tell(&mut self, to: NodeId, tell: &Tell) {
        self.tell_written(to, written(tell));
    }

    fn tell_written(&mut self, to: NodeId, bytes: Vec<u8>) {
        if bytes.len() <= node::TELL_SIZE_MAX {
            self.feed_later(Input::Tell { to, bytes });
        }
    }

    /// Another daemon says something.
    pub(super) fn told(&mut self, from: Member, bytes: &[u8]) {
        let Ok(tell) = serde_json::from_slice::<Tell>(bytes) else {
            let name = self.cluster.name_of(from.node);
            return self
                .say_once(format!("{name} says something that this version does not understand"));
        };
        match tell {
            Tell::Errand { id, verb, request } => self.run_errand(from.node, id, verb, &request),
            Tell::Done { id, result } => self.errand_done(from.node, id, result),
            Tell::Halves { numbers } => {
                let numbers = numbers.into_iter().take(HALVES_MAX).map(NetworkId).collect();
                self.errands.halves.insert(from.node, (from, numbers));
            }
            Tell::Check { id, part, question } => {
                self.look_into(Some(from.node), id, part, question);
            }
            Tell::Checked { id, part, facts } => self.found_by(from.node, id, part, facts),
        }
    }

    fn run_errand(&mut self, from: NodeId, id: u64, verb: Verb, request: &v1::PathRequest) {
        let name = self.cluster.name_of(from);
        let what = match verb {
            Verb::Create => "has this node's half of a path made",
            Verb::Delete => "has this node's half of a path taken back",
        };
        self.journal.say(&format!("{name} {what}: {} {}", request.kind, request.local));
        let asker = Asker::Peer(from, id);
        match verb {
            Verb::Create => self.create_half(request, asker),
            Verb::Delete => self.delete_half(request, asker),
        }
    }

    /// Answers whoever asked for something about a half.
    pub(super) fn answer_asker(&mut self, asker: Asker, result: Result<String, v1::Error>) {
        match asker {
            Asker::Client(answer) => {
                let done = |sentence| Reply::Done(v1::CommandReply::new(sentence));
                answer.send(result.map(done));
            }
            Asker::Pair(answer, mut said, made) => match result {
                Ok(sentence) => {
                    said.insert(0, format!("here: {sentence}"));
                    answer.send(Ok(Reply::Done(v1::CommandReply::new(said.join("\n")))));
                }
                Err(mut error) => {
                    error.message = format!("here: {}", error.message);
                    self.take_back(answer, error, said, made);
                }
            },
            Asker::Peer(peer, id) => self.tell(peer, &Tell::Done { id, result }),
        }
    }

    /// Has the halves that were made for a command that failed taken back, then says why it failed.
    fn take_back(&mut self, answer: Answer, error: v1::Error, said: Vec<String>, made: Vec<Half>) {
        self.send_out(Waiting {
            verb: Verb::Delete,
            request: v1::PathRequest::default(),
            answer,
            missing: made.into_iter().collect(),
            made: Vec::new(),
            said,
            failed: true,
            undone: Some(error),
            until: os::clock::boottime() + TIMEOUT,
        });
    }

    fn errand_done(&mut self, from: NodeId, id: u64, result: Result<String, v1::Error>) {
        let name = self.cluster.name_of(from);
        let Some(waiting) = self.errands.waiting.get_mut(&id) else { return };
        let Some(request) = waiting.missing.remove(&from) else { return };
        match result {
            Ok(sentence) => {
                waiting.said.push(format!("{name}: {sentence}"));
                if waiting.verb == Verb::Create {
                    waiting.made.push((from, request));
                }
            }
            Err(error) => {
                // What is as it should be is no failure.
                let is_so = match waiting.verb {
                    Verb::Create => error.code == ErrorCode::Conflict,
                    Verb::Delete => error.code == ErrorCode::NotFound,
                };
                waiting.failed |= !is_so;
                let help = error.help.map_or(String::new(), |help| format!(" ({help})"));
                let mut said = format!("{name}: {}{help}", error.message);
                if waiting.verb == Verb::Delete && !is_so {
                    let command = by_hand(Verb::Delete, &request);
                    said.push_str(&format!("; it keeps its half: on {name}: {command}"));
                }
                waiting.said.push(said);
            }
        }
        if waiting.missing.is_empty() {
            self.end_errand(id);
        }
    }

    /// Gives up whoever has not answered in time, and greets who has come.
    pub(super) fn give_up_errands(&mut self) {
        let now = os::clock::boottime();
        let late = self.errands.waiting.iter().filter(|(_, waiting)| now >= waiting.until);
        let late: Vec<u64> = late.map(|(id, _)| *id).collect();
        for id in late {
            let waiting = self.errands.waiting.get_mut(&id).expect("it was just seen");
            for (peer, request) in std::mem::take(&mut waiting.missing) {
                let name = self.cluster.name_of(peer);
                let command = by_hand(Verb::Delete, &request);
                waiting.said.push(format!(
                    "{name}: no answer; whether it was done is not known; to have no half there, on \
                     {name}: {command}"
                ));
                waiting.failed |= waiting.verb == Verb::Create;
            }
            self.end_errand(id);
        }
        self.give_up_checks();
        if std::mem::take(&mut self.errands.greet) {
            self.greet();
        }
    }

    /// All other ends have said what they did.
    fn end_errand(&mut self, id: u64) {
        let waiting = self.errands.waiting.remove(&id).expect("the caller has seen it");
        let Waiting { verb, request, answer, made, said, failed, undone, .. } = waiting;
        if let Some(mut error) = undone {
            error.message = format!("{}\n{}", error.message, said.join("\n"));
            return answer.send(Err(error));
        }
        let own = v1::PathRequest { pair: false, ..request };
        if failed && verb == Verb::Create {
            let error = v1::Error::new(ErrorCode::Refused, "nothing was changed here");
            return self.take_back(answer, error, said, made);
        }
        let own = match ["ethernet", "disk"].contains(&own.kind.as_str()) {
            true => v1::PathRequest { peer: crate::config::own::EVERYBODY.to_owned(), ..own },
            false => own,
        };
        let asker = Asker::Pair(answer, said, made);
        match verb {
            Verb::Create => self.create_half(&own, asker),
            Verb::Delete => self.delete_half(&own, asker),
        }
    }

    /// Tells each peer that can be reached which own halves lead to it.
    fn greet(&mut self) {
        let local = self.node.local().node;
        let others: Vec<NodeId> = self.cluster.nodes.iter().map(|node| node.id).collect();
        for peer in others.into_iter().filter(|peer| *peer != local) {
            let Some(member) = self.node.transport().connected(peer) else { continue };
            if self.errands.halves.get(&peer).is_some_and(|(known, _)| *known != member) {
                self.errands.halves.remove(&peer);
            }
            let networks = self.cluster.networks.iter();
            let own =
                networks.filter(|network| network.rank.is_some() && network.nodes().contains(peer));
            let numbers = own.map(|network| network.id.0).collect();
            self.tell(peer, &Tell::Halves { numbers });
        }
    }

    /// Whether the peer has its half of a path that this node alone defines, by its own word.
    pub(super) fn peer_has_half(&self, path: transport::PathId) -> Option<bool> {
        let (_, halves) = self.errands.halves.get(&path.peer)?;
        Some(halves.contains(&path.network))
    }
}

/// The command for one half, on its own node.
fn by_hand(verb: Verb, request: &v1::PathRequest) -> String {
    let verb = match verb {
        Verb::Create => "create",
        Verb::Delete => "delete",
    };
    let peer = if request.peer == crate::config::own::EVERYBODY { "'*'" } else { &request.peer };
    let mut command = format!("mainstay path {verb} {peer} {}", request.local);
    if matches!(request.kind.as_str(), "" | "udp") {
        command.push_str(&format!(" {}", request.remote));
    } else {
        command.push_str(&format!(" --{}", request.kind));
    }
    if request.kind == "ethernet" && request.name != request.local && !request.name.is_empty() {
        command.push_str(&format!(" --name {}", request.name));
    }
    if verb == "create" {
        let numbers = [
            ("port", request.port.map(u32::from)),
            ("baud", request.baud),
            ("ethertype", request.ethertype.map(u32::from)),
            ("rank", request.rank.map(u32::from)),
        ];
        for (option, number) in numbers {
            command.extend(number.map(|number| format!(" --{option} {number}")));
        }
        command.push_str(if request.low { " --low" } else { "" });
    }
    command
}

#[cfg(test)]
mod tests;
