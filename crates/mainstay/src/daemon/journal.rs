//! What happened, for people: lines on standard error, and a bounded memory for the API.
//!
//! Lines are written by a thread of their own: a console or a log daemon that does not read must
//! not stop heartbeats.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use api::v1;

use crate::serve::Inbox;

/// Events that are kept.
const EVENTS_MAX: usize = 1024;
/// Times of notes that are kept.
const TIMES_MAX: usize = 4096;
/// Lines that may wait for a console that does not read.
const LINES_MAX: usize = 1024;

/// The journal of one daemon.
pub(super) struct Journal {
    lines: SyncSender<String>,
    writer: Option<std::thread::JoinHandle<()>>,
    lines_lost: u64,
    events: VecDeque<v1::Event>,
    last_event: u64,
    /// When each note was delivered here, by its number.
    times: BTreeMap<u64, String>,
}

impl Journal {
    pub(super) fn start() -> std::io::Result<Journal> {
        let (lines, waiting) = sync_channel::<String>(LINES_MAX);
        let writer = std::thread::Builder::new().name("log".into()).spawn(move || {
            use std::io::Write;
            while let Ok(line) = waiting.recv() {
                // A console that is gone cannot be told so.
                let _gone = writeln!(std::io::stderr().lock(), "{line}");
            }
        })?;
        Ok(Journal {
            lines,
            writer: Some(writer),
            lines_lost: 0,
            events: VecDeque::new(),
            last_event: 0,
            times: BTreeMap::new(),
        })
    }

    /// A line for whoever watches the console.
    pub(super) fn say(&mut self, text: &str) {
        if self.lines_lost > 0 {
            let lost = format!("{} mainstay: {} lines lost", now(), self.lines_lost);
            if self.lines.try_send(lost).is_ok() {
                self.lines_lost = 0;
            }
        }
        if let Err(TrySendError::Full(_)) =
            self.lines.try_send(format!("{} mainstay: {text}", now()))
        {
            self.lines_lost += 1;
        }
    }

    /// Something that happened to this node or its peers.
    pub(super) fn event(&mut self, event: &node::Event, cluster: &node::Cluster, inbox: &Inbox) {
        use node::EventKind as Kind;
        let level = match event.kind {
            Kind::Excluded | Kind::Conflict => v1::EventLevel::Error,
            Kind::Peer
            | Kind::Path
            | Kind::Fenced
            | Kind::Fencing
            | Kind::Interface
            | Kind::SwapAdapter
            | Kind::FailStandby
            | Kind::NetworkDown => v1::EventLevel::Warning,
            Kind::View | Kind::Reborn | Kind::NetworkUp | Kind::JoinStandby => v1::EventLevel::Info,
        };
        let node = event.node.map(|node| super::name_of(cluster, node)).unwrap_or_default();
        self.say(&event.sentence);
        self.publish(
            inbox,
            v1::Event {
                node,
                code: event.kind.name().to_owned(),
                level,
                text: event.sentence.clone(),
                ..v1::Event::default()
            },
        );
    }

    /// A decision.
    pub(super) fn note(&mut self, note: &engine::Note, cluster: &node::Cluster, inbox: &Inbox) {
        self.times.insert(note.number, now());
        if self.times.len() > TIMES_MAX {
            self.times.pop_first();
        }
        self.say(&note.sentence);
        let level = match note.rule {
            engine::Rule::Failure | engine::Rule::Failover => v1::EventLevel::Error,
            engine::Rule::Restart => v1::EventLevel::Warning,
            _ => v1::EventLevel::Info,
        };
        self.publish(
            inbox,
            v1::Event {
                node: note.chosen.map(|node| super::name_of(cluster, node)).unwrap_or_default(),
                code: note.rule.name().replace(' ', "-"),
                level,
                text: note.sentence.clone(),
                service: note.service.clone(),
                cause: note.because,
                ..v1::Event::default()
            },
        );
    }

    /// What became of a hook of the administrator on this node.
    pub(super) fn hook(&mut self, node: String, level: v1::EventLevel, text: &str, inbox: &Inbox) {
        self.local("hook", node, level, text, inbox);
    }

    /// What is known now of an interface of this node.
    pub(super) fn interface(
        &mut self,
        node: String,
        level: v1::EventLevel,
        text: &str,
        inbox: &Inbox,
    ) {
        self.local(node::EventKind::Interface.name(), node, level, text, inbox);
    }

    /// Something that the core knows nothing of.
    fn local(
        &mut self,
        code: &str,
        node: String,
        level: v1::EventLevel,
        text: &str,
        inbox: &Inbox,
    ) {
        self.say(text);
        let (code, text) = (code.to_owned(), text.to_owned());
        self.publish(inbox, v1::Event { node, code, level, text, ..v1::Event::default() });
    }

    fn publish(&mut self, inbox: &Inbox, event: v1::Event) {
        self.last_event += 1;
        let event = v1::Event { id: self.last_event, at: now(), ..event };
        inbox.publish(event.clone());
        self.events.push_back(event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// The newest events, oldest first.
    pub(super) fn history(&self, limit: usize) -> v1::Events {
        let skip = self.events.len().saturating_sub(limit);
        let events: Vec<v1::Event> = self.events.iter().skip(skip).cloned().collect();
        let forgotten = self.last_event - self.events.len() as u64 + skip as u64;
        v1::Events { schema: v1::SCHEMA, events, forgotten }
    }

    /// Notes as the API gives them.
    pub(super) fn notes(
        &self,
        service: Option<String>,
        notes: &[engine::Note],
        cluster: &node::Cluster,
    ) -> v1::Notes {
        let notes = notes
            .iter()
            .map(|note| v1::Note {
                id: note.number,
                at: self.times.get(&note.number).cloned().unwrap_or_default(),
                position: note.position,
                generation: note.generation,
                service: note.service.clone(),
                node: note.chosen.map(|node| super::name_of(cluster, node)),
                what: note.sentence.clone(),
                cause: note.cause.clone(),
                cause_id: note.because,
                rule: note.rule.name().to_owned(),
                rejected: (note.rejected.iter())
                    .map(|(node, why)| v1::Rejected {
                        what: super::name_of(cluster, *node),
                        why: why.clone(),
                    })
                    .collect(),
                result: None,
            })
            .collect();
        v1::Notes { schema: v1::SCHEMA, service, notes, addresses: Vec::new() }
    }

    /// Waits until all lines are written; for the end of the process.
    pub(super) fn flush(&mut self) {
        let (closed, _) = sync_channel(1);
        drop(std::mem::replace(&mut self.lines, closed));
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has written what it could.
            let _panicked = writer.join();
        }
    }
}

/// The wall clock, for people only.
fn now() -> String {
    let millis = i64::try_from(os::clock::wall_millis()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(stamp) => format!("{stamp:.3}"),
        Err(_) => String::from("?"),
    }
}
