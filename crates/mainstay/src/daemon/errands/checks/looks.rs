//! What this node looks into for checks, each on a thread of its own.
//!
//! A file system whose server is dead holds whoever asks for a file, for as long as it likes. Such a thread cannot be
//! ended, but it can be left behind: whoever asked is told what hangs, and the thread does not count against what is asked
//! later. A program that hangs is not asked for a second time while it does, so that no check adds to them.

use std::collections::BTreeMap;

use base::{Instant, NodeId};

use crate::node_check::{Cause, Fact, Question};

/// Parts that this node looks into at one time: a configuration with as much of everything as can be has 90.
const LOOKS_MAX: usize = 128;
/// Threads that may hang with programs, and as many with anything else, until no more of that kind are begun.
const HANGING_MAX: usize = 16;

/// Who has asked: this or another node, the number of its check, and the part.
pub(super) type Asker = (Option<NodeId>, u64, usize);

/// The threads that look.
#[derive(Default)]
pub(super) struct Looks {
    looks: BTreeMap<u64, Look>,
    last: u64,
}

/// One thread.
struct Look {
    /// None when it was given up: it hangs.
    asker: Option<Asker>,
    /// Looked into.
    question: Question,
    until: Instant,
}

impl Look {
    /// The program that it looks for; none when it looks at interfaces and wires.
    fn program(&self) -> Option<&String> {
        self.question.programs.first()
    }

    fn what(&self) -> String {
        match self.program() {
            Some(program) => format!("the file system of {program} does not answer"),
            None => "the kernel does not say what interfaces there are".to_owned(),
        }
    }
}

impl Looks {
    /// A number for a thread that begins, or why it must not.
    pub(super) fn begin(
        &mut self,
        asker: Asker,
        question: &Question,
        until: Instant,
    ) -> Result<u64, Cause> {
        let program = question.programs.first();
        let looks = self.looks.values();
        let (hanging, busy): (Vec<&Look>, Vec<&Look>) = looks.partition(|one| one.asker.is_none());
        let mut alike = hanging.iter().filter(|one| one.program().is_some() == program.is_some());
        if let Some(same) = alike.clone().find(|one| program.is_some() && one.program() == program)
        {
            return Err(Cause::Hangs(format!("{}, since an earlier check", same.what())));
        }
        let count = alike.clone().count();
        if count >= HANGING_MAX
            && let Some(one) = alike.next()
        {
            let why = format!("{count} earlier checks still hang: {}", one.what());
            return Err(Cause::Hangs(why));
        }
        if busy.len() >= LOOKS_MAX {
            return Err(Cause::Busy("it has too many other questions".to_owned()));
        }
        self.last += 1;
        self.looks
            .insert(self.last, Look { asker: Some(asker), question: question.clone(), until });
        Ok(self.last)
    }

    /// A thread has ended; who waits for what it has found.
    pub(super) fn end(&mut self, number: u64) -> Option<Asker> {
        self.looks.remove(&number)?.asker
    }

    /// Gives up those that hang; whom to tell what.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<(Asker, Vec<Fact>)> {
        let late = self.looks.values_mut().filter(|look| now >= look.until);
        late.filter_map(|look| {
            Some((look.asker.take()?, look.question.unasked(&Cause::Hangs(look.what()))))
        })
        .collect()
    }

    /// When the next one is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let awaited = self.looks.values().filter(|look| look.asker.is_some());
        awaited.map(|look| look.until).min()
    }
}

#[cfg(test)]
mod tests;
