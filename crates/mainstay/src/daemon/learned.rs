//! Whether gateways have learned where a service address is: asked on a thread of its own, when the core wants to
//! know ([`network::Output::Ask`]). How often, and what follows, is decided there.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use base::Instant;
use network::{Echo, Lesson};
use node::Input;
use os::echo::{Heard, Question as Request};
use os::event::Sender;

use super::Done;
use super::drive::Daemon;

#[cfg(test)]
mod tests;

/// How long gateways have to answer a service address, and then an own one.
const PATIENCE: Duration = Duration::from_millis(300);
/// Asked at once: a node may take over hundreds of addresses in a moment, and each that is not answered costs the
/// whole patience. More would look like a flood to a router, which then answers some of them only.
const TOGETHER_MAX: usize = 16;
/// At least from one such lot to the next, for the same reason: at most 800 questions a second.
const BETWEEN: Duration = Duration::from_millis(20);
/// Questions that may wait; the core has one on its way for each address.
const WAITING_MAX: usize = 4096;

/// A question of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) question: u64,
    pub(super) interface: String,
    pub(super) address: IpAddr,
    /// With the own address that each should answer.
    pub(super) gateways: Vec<(IpAddr, IpAddr)>,
}

/// What one came to.
type Answer = Result<Vec<(IpAddr, Echo)>, String>;

/// The thread, once there was something to ask.
pub(super) struct Learned {
    done: Sender<Done>,
    thread: Option<SyncSender<Question>>,
}

impl Learned {
    pub(super) fn new(done: Sender<Done>) -> Learned {
        Learned { done, thread: None }
    }

    /// Hands a question to the thread, which answers by [`Done::Learned`].
    ///
    /// # Errors
    /// Why it never will; it is tried anew with the next one.
    fn ask(&mut self, question: Question) -> Result<(), String> {
        let thread = match &self.thread {
            Some(thread) => thread,
            None => {
                let started = start(self.done.clone());
                self.thread.insert(started.map_err(|error| format!("no thread: {error}"))?)
            }
        };
        thread.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => format!("{WAITING_MAX} questions wait"),
            TrySendError::Disconnected(_) => {
                self.thread = None;
                "the thread that asks has ended".to_owned()
            }
        })
    }
}

fn start(done: Sender<Done>) -> io::Result<SyncSender<Question>> {
    let (sender, asked) = sync_channel(WAITING_MAX);
    let name = "learned".to_owned();
    std::thread::Builder::new().name(name).spawn(move || run(&asked, &done))?;
    Ok(sender)
}

/// Answers until the loop has gone.
fn run(asked: &Receiver<Question>, done: &Sender<Done>) {
    let mut token = 0;
    let mut next = Instant::ZERO;
    while let Ok(first) = asked.recv() {
        let more = asked.try_iter().take(TOGETHER_MAX - 1);
        let questions: Vec<Question> = std::iter::once(first).chain(more).collect();
        loop {
            let left = next.since(os::clock::boottime().min(next));
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        next = os::clock::boottime() + BETWEEN;
        let results = answer(&questions, |requests| {
            token += 1;
            // Two daemons of one machine must not take each other's answers; nor those of the thread that asks
            // whether this node is cut off.
            let life = u64::from(std::process::id() ^ 0x8000_0000);
            os::echo::answers(requests, life << 32 | token & u64::from(u32::MAX), PATIENCE)
        });
        for (one, result) in questions.into_iter().zip(results) {
            let Question { question, address, .. } = one;
            if done.send_waiting(Done::Learned { question, address, result }).is_err() {
                return;
            }
        }
    }
}

/// Asks from the service addresses, and where nothing comes from own ones.
fn answer(
    questions: &[Question],
    mut ask: impl FnMut(&[Request]) -> io::Result<Vec<Heard>>,
) -> Vec<Answer> {
    let pairs =
        || questions.iter().flat_map(|one| one.gateways.iter().map(move |gateway| (one, *gateway)));
    let from_service = |(one, (target, _)): (&Question, (IpAddr, IpAddr))| Request {
        local: one.address,
        interface: Some(one.interface.clone()),
        target,
    };
    let from_own = |(target, local)| Request { local, interface: None, target };
    let requests: Vec<Request> = pairs().map(from_service).collect();
    let both = ask(&requests).and_then(|service| {
        let mut silent: Vec<Request> = (pairs().zip(&service))
            .filter(|(_, heard)| **heard == Heard::Nothing)
            .map(|((_, gateway), _)| from_own(gateway))
            .collect();
        // One answer tells of all addresses that a gateway is asked about.
        silent.sort();
        silent.dedup();
        let own = if silent.is_empty() { Vec::new() } else { ask(&silent)? };
        Ok((service, silent, own))
    });
    let (service, silent, own) = match both {
        Ok(both) => both,
        Err(error) => return questions.iter().map(|_| Err(error.to_string())).collect(),
    };
    let from_own_heard = |gateway: (IpAddr, IpAddr)| {
        let place = silent.binary_search(&from_own(gateway)).expect("who was silent was asked");
        own[place]
    };
    let mut service = service.into_iter();
    let answers = questions.iter().map(|one| {
        let echoes = one.gateways.iter().zip(service.by_ref());
        let echoes = echoes.map(|(gateway, heard)| {
            let echo = match heard {
                Heard::Answer => Echo::Service,
                Heard::Unsent => Echo::Unasked,
                Heard::Nothing => match from_own_heard(*gateway) {
                    Heard::Answer => Echo::Own,
                    Heard::Nothing => Echo::Neither,
                    Heard::Unsent => Echo::Unasked,
                },
            };
            (gateway.0, echo)
        });
        Ok(echoes.collect())
    });
    answers.collect()
}

impl Daemon {
    /// The core wants to know what gateways know.
    pub(super) fn ask_gateways(&mut self, question: Question) {
        let (number, address) = (question.question, question.address);
        if let Err(why) = self.learned.ask(question) {
            let asked = network::Input::Asked { question: number, address, result: Err(why) };
            self.follow_up(Input::Network(asked));
        }
    }

    /// What is to be known of gateways that send elsewhere, or that cannot be judged: what, whether it is the
    /// former, and what can be done.
    pub(super) fn learned_warnings(
        status: &network::Status,
    ) -> Vec<(&'static str, String, &'static str)> {
        let addresses = status.addresses.iter();
        let lessons = addresses.flat_map(|one| one.gateways.iter().map(move |known| (one, known)));
        let warnings = lessons.filter_map(|(one, (gateway, lesson))| {
            let lesson = lesson.as_ref()?;
            let text = lesson.sentence(*gateway, one.address, &one.service);
            match lesson {
                Lesson::Learned { .. } => None,
                Lesson::NotLearned => Some((
                    "gateway-not-learned",
                    text,
                    "remove the address from the neighbour table of the gateway, and any permanent entry; \
                     it is announced and asked again every 10 s",
                )),
                Lesson::Untold { .. } => Some((
                    "gateway-untold",
                    text,
                    "let it answer ICMP echo requests, or leave verify_gateways out",
                )),
            }
        });
        warnings.collect()
    }
}
