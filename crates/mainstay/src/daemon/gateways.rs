//! Whether the gateways of this node's networks answer: asked once a second, on a thread of its own.
//!
//! A network's gateways are silent when in [`MISSES`] rounds one after the other none of them has answered
//! this node; one answer is enough for the contrary. Who has not been asked that often yet counts as
//! reached: what is silent is a handicap ([`node::Input::Gateways`]), and must not come from a start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use base::{Instant, NetworkId};
use node::Input;
use os::event::Sender;

use super::Done;
use super::drive::Daemon;
use crate::config::{Cluster, Tie, duration};

#[cfg(test)]
mod tests;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the gateways of one network have to answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Rounds without an answer after which they are silent.
const MISSES: u32 = 3;

/// What is asked in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    network: NetworkId,
    /// From which address of this node.
    local: IpAddr,
    gateways: Vec<IpAddr>,
}

/// What the loop knows of it.
pub(super) struct Gateways {
    done: Sender<Done>,
    questions: Vec<Question>,
    /// The thread, once there was something to ask.
    thread: Option<SyncSender<Vec<Question>>>,
    /// The networks without an answer, and since when.
    silent: BTreeMap<NetworkId, Instant>,
}

impl Gateways {
    pub(super) fn new(done: Sender<Done>) -> Gateways {
        Gateways { done, questions: Vec::new(), thread: None, silent: BTreeMap::new() }
    }

    /// Has the thread ask this; `start` starts it, when there is something else to ask for the first time.
    ///
    /// # Errors
    /// When it cannot be started: then it is tried again with the next call.
    fn mind(
        &mut self,
        wanted: Vec<Question>,
        start: impl FnOnce(Sender<Done>) -> io::Result<SyncSender<Vec<Question>>>,
    ) -> io::Result<()> {
        if wanted == self.questions {
            return Ok(());
        }
        let thread = match &self.thread {
            Some(thread) => thread,
            None => self.thread.insert(start(self.done.clone())?),
        };
        // It takes one after each round; a change that comes sooner is sent when that is over.
        if thread.try_send(wanted.clone()).is_ok() {
            self.questions = wanted;
        }
        Ok(())
    }
}

fn start(done: Sender<Done>) -> io::Result<SyncSender<Vec<Question>>> {
    let (sender, asked) = sync_channel(1);
    let name = "gateways".to_owned();
    std::thread::Builder::new().name(name).spawn(move || run(&asked, &done))?;
    Ok(sender)
}

/// What `node` has to ask.
fn questions(cluster: &Cluster, node: base::NodeId) -> Vec<Question> {
    // Nobody else is interested.
    if !matches!(cluster.tie, Tie::Arbiters(_)) {
        return Vec::new();
    }
    let questions = cluster.networks.iter().filter_map(|network| {
        let end = network.endpoints.get(&node).filter(|end| end.has_address())?;
        let gateways = network.gateways.get(&node)?.clone();
        Some(Question { network: network.id, local: end.address, gateways })
    });
    questions.collect()
}

/// Counts rounds without an answer.
#[derive(Debug, Default)]
struct Rounds {
    misses: BTreeMap<NetworkId, u32>,
}

impl Rounds {
    /// Other questions: what is asked no more is not silent any more.
    fn keep(&mut self, questions: &[Question]) {
        self.misses.retain(|network, _| questions.iter().any(|one| one.network == *network));
    }

    /// Asks everything once. Who may not ask, without the privilege or the memory, knows nothing: that network
    /// is not silent, and what was missed there before does not count either. An address that is not here is
    /// another thing: nobody answers it. Gives what went wrong.
    fn go(
        &mut self,
        questions: &[Question],
        mut ask: impl FnMut(&Question) -> io::Result<bool>,
    ) -> Option<String> {
        let mut trouble = None;
        for question in questions {
            match ask(question) {
                Ok(answered) => self.count(question.network, answered),
                Err(error) => {
                    self.misses.remove(&question.network);
                    trouble = Some(format!("gateways cannot be asked: {error}"));
                }
            }
        }
        trouble
    }

    fn count(&mut self, network: NetworkId, answered: bool) {
        let misses = self.misses.entry(network).or_default();
        *misses = if answered { 0 } else { (*misses + 1).min(MISSES) };
    }

    fn silent(&self) -> BTreeSet<NetworkId> {
        let silent = self.misses.iter().filter(|(_, misses)| **misses >= MISSES);
        silent.map(|(network, _)| *network).collect()
    }
}

/// Asks until the loop has gone.
fn run(asked: &Receiver<Vec<Question>>, done: &Sender<Done>) {
    let mut rounds = Rounds::default();
    let mut questions: Vec<Question> = Vec::new();
    let mut token = 0;
    loop {
        match asked.recv_timeout(INTERVAL) {
            Ok(newer) => {
                // Another address or another gateway is another question.
                let same: Vec<Question> =
                    newer.iter().filter(|one| questions.contains(one)).cloned().collect();
                rounds.keep(&same);
                questions = newer;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let trouble = rounds.go(&questions, |question| {
            token += 1;
            ask(question, token)
        });
        if let Some(trouble) = trouble
            && done.send_waiting(Done::Trouble(trouble)).is_err()
        {
            return;
        }
        if done.send_waiting(Done::Gateways(rounds.silent())).is_err() {
            return;
        }
        if questions.is_empty() {
            // Nothing to do before there are questions again.
            match asked.recv() {
                Ok(newer) => questions = newer,
                Err(_) => return,
            }
        }
    }
}

fn ask(question: &Question, token: u64) -> io::Result<bool> {
    let Question { local, gateways, .. } = question;
    // Two daemons of one machine must not take each other's answers.
    let token = u64::from(std::process::id()) << 32 | token & u64::from(u32::MAX);
    os::echo::any_answers(*local, gateways, token, PATIENCE)
}

impl Daemon {
    /// Has the thread ask what the configuration says. Called with each picture of the interfaces as well:
    /// a thread that could not be started is tried again.
    pub(super) fn mind_gateways(&mut self) {
        let wanted = questions(&self.cluster, self.node.local().node);
        if let Err(error) = self.gateways.mind(wanted, start) {
            self.say_once(format!("no gateway is asked: {error}"));
        }
    }

    /// A round is over.
    pub(super) fn gateways_seen(&mut self, silent: BTreeSet<NetworkId>) {
        self.mind_gateways();
        let now = os::clock::boottime();
        let known = &mut self.gateways.silent;
        if known.keys().copied().eq(silent.iter().copied()) {
            return;
        }
        known.retain(|network, _| silent.contains(network));
        for network in &silent {
            known.entry(*network).or_insert(now);
        }
        self.feed(Input::Gateways(silent));
    }

    /// What is to be known of it before the nodes are cut apart: here and elsewhere.
    pub(super) fn gateway_warnings(&self, status: &node::Status) -> Vec<String> {
        let now = os::clock::boottime();
        let local = self.node.local().node;
        let handicap = duration::format(self.cluster.timing.tie_handicap);
        let mut warnings = Vec::new();
        for (id, since) in &self.gateways.silent {
            let Some(network) = self.cluster.network(*id) else { continue };
            let asked = network.gateways.get(&local).into_iter().flatten();
            let asked: Vec<String> = asked.map(ToString::to_string).collect();
            let lasts = Duration::from_secs(now.since(*since).as_secs());
            warnings.push(format!(
                "network {}: no gateway answers ({}) for {}: a half that reaches its own asks the \
                 tie-breaker {handicap} before this one",
                network.name,
                asked.join(", "),
                duration::format(lasts)
            ));
        }
        for peer in status.peers.iter().filter(|peer| peer.age.is_some()) {
            if peer.report.group.outside == group::Outside::NoGateway {
                let name = self.cluster.name_of(peer.node);
                warnings.push(format!(
                    "{name} reaches no gateway: a half that reaches its own asks the tie-breaker \
                     {handicap} before one in which nobody does"
                ));
            }
        }
        warnings
    }
}
