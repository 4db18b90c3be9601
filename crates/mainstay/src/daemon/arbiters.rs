//! The arbiters of the configuration and of the view: which threads there are, and what they say.
//!
//! **A request goes to the arbiters of the view that it is about**, not to those of the
//! configuration. A change of the tie-breaker is delivered here and not yet there; if each half
//! asked its own configuration's, both could be let go on. So threads live as long as the
//! configuration or the present view names their arbiters, and a view whose arbiters are not known
//! here yet gets no answer.

use base::Tie;
use group::Request;
use node::Input;
use os::clock;
use os::event::Sender;

use super::{Done, convert};
use crate::arbiter::{Asker, Handle, News, Turns};
use crate::config::tie::Arbiter;
use crate::config::{self, duration};

use super::drive::Daemon;

/// All threads.
pub(super) struct Arbiters {
    key: [u8; 32],
    done: Sender<Done>,
    turns: Turns,
    sets: Vec<Set>,
}

/// The arbiters of one tie-breaker.
struct Set {
    /// What views call it.
    tie: Tie,
    asker: Asker,
    arbiters: Vec<Arbiter>,
    handles: Vec<Handle>,
}

impl Arbiters {
    pub(super) fn new(key: [u8; 32], done: Sender<Done>) -> Arbiters {
        Arbiters { key, done, turns: Turns::default(), sets: Vec::new() }
    }

    fn start(&mut self, tie: Tie, asker: Asker, arbiters: &[Arbiter]) -> std::io::Result<()> {
        let mut handles = Vec::new();
        for (index, arbiter) in (0..).zip(arbiters) {
            let done = self.done.clone();
            let tell = move |news| {
                // A loop that is that busy misses an answer; the group asks again.
                let _lost = done.send(Done::Arbiter(news));
            };
            handles.push(Handle::start(index, arbiter, &asker, &self.turns, tell)?);
        }
        self.sets.push(Set { tie, asker, arbiters: arbiters.to_vec(), handles });
        Ok(())
    }
}

impl Daemon {
    /// Starts the threads of the configuration, and ends those that nothing names any more.
    pub(super) fn mind_arbiters(&mut self) {
        let configured = convert::tie(&self.cluster.tie);
        let of_view = self.node.view().map(|view| view.tie);
        let local = self.node.local().node;
        let asker = Asker {
            cluster: self.cluster.id,
            local,
            name: self.cluster.name_of(local),
            key: self.arbiters.key,
            budget: self.cluster.timing.tie_budget,
        };
        let wanted = match &self.cluster.tie {
            config::Tie::Arbiters(arbiters) => Some(arbiters.clone()),
            config::Tie::None | config::Tie::Manual | config::Tie::Prefer(_) => None,
        };
        let sets = &mut self.arbiters.sets;
        // What is configured is started anew when it is reached in another way.
        let is_as_configured =
            |set: &Set| Some(&set.arbiters) == wanted.as_ref() && set.asker == asker;
        sets.retain(|set| {
            if set.tie == configured { is_as_configured(set) } else { Some(set.tie) == of_view }
        });
        let Some(arbiters) = wanted else { return };
        if sets.iter().any(|set| set.tie == configured) {
            return;
        }
        if let Err(error) = self.arbiters.start(configured, asker, &arbiters) {
            self.journal.say(&format!("the tie-breaker cannot be asked: {error}"));
        }
    }

    /// Puts a request to every one of the arbiters that it names.
    pub(super) fn ask_arbiters(&mut self, request: Request) {
        let is_named =
            |set: &&Set| matches!(set.tie, Tie::Arbiters { name, .. } if name == request.arbiters);
        match self.arbiters.sets.iter().find(is_named) {
            Some(set) => set.handles.iter().for_each(|handle| handle.ask(request.clone())),
            None => self.say_once(
                "this view has a tie-breaker that this node's configuration does not know: it is \
                 not asked"
                    .into(),
            ),
        }
    }

    pub(super) fn arbiter_says(&mut self, news: News) {
        match news {
            News::Reply(arbiter, reply) => self.feed(Input::Arbiter(arbiter, reply)),
            News::Said(sentence) => self.journal.say(&sentence),
        }
    }

    /// What people call these arbiters, while they are known here.
    pub(super) fn tie_breaker_of(&self, tie: Tie) -> Option<String> {
        let set = self.arbiters.sets.iter().find(|set| set.tie == tie)?;
        let names: Vec<&str> = set.handles.iter().map(|handle| handle.name.as_str()).collect();
        Some(names.join(", "))
    }

    /// What is wrong with the configured arbiters, and what follows from it.
    pub(super) fn tie_breaker_trouble(&self) -> Option<String> {
        let configured = convert::tie(&self.cluster.tie);
        let config::Tie::Arbiters(arbiters) = &self.cluster.tie else { return None };
        let Some(set) = self.arbiters.sets.iter().find(|set| set.tie == configured) else {
            return Some("the tie-breaker cannot be asked: a tie cannot be broken".into());
        };
        let now = clock::boottime();
        let troubles: Vec<String> = (set.handles.iter())
            .filter_map(|handle| {
                let trouble = handle.trouble(now)?;
                let since = now.since(trouble.since.min(now));
                let since = duration::format(std::time::Duration::from_secs(since.as_secs()));
                Some(format!("tie-breaker {} {} (for {since})", handle.name, trouble.why))
            })
            .collect();
        if troubles.is_empty() {
            return None;
        }
        let can_decide = 2 * (arbiters.len() - troubles.len()) > arbiters.len();
        let follows = if can_decide {
            "one more, and a tie cannot be broken"
        } else {
            "a tie cannot be broken"
        };
        Some(format!("{}: {follows}", troubles.join("; ")))
    }
}
