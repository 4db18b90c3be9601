//! What people ask for, and the way from one life to the next.
//!
//! ```text
//!   lived ──leave──► draining ──idle──► leaving ──let go──► ending ──clean──► over
//!     │ left out
//!     ▼
//!   stopping ──clean──► rebirth ──durable──► lived, in a new incarnation
//! ```

use base::{Incarnation, Instant, NodeSet};
use group::Rejected;

use super::layers::layers;
use super::words::{refused, rejection};
use super::{Life, Node, Token, UNSUBMITTED_MAX, Work};
use crate::fencing::Hand;
use crate::report::Report;
use crate::{Command, Durable, EventKind, Output, Refused, RefusedKind};

impl Node {
    pub(super) fn command(&mut self, request: u64, command: Command) {
        let result = match command {
            Command::Engine(_) if self.unsubmitted.len() >= UNSUBMITTED_MAX => {
                Err(rejection(&Rejected::Busy))
            }
            Command::Engine(command) => {
                let proposed = self.engine.propose(self.now, request, command);
                self.drain_engine();
                match proposed {
                    // Answered when it is delivered.
                    Ok(()) => return,
                    Err(refusal) => Err(refused(&refusal)),
                }
            }
            Command::Seed => self.seed(),
            Command::Leave => self.leave(),
            Command::Quit => {
                match self.life {
                    // Everything is stopped already.
                    Life::Rebirth { .. } => {
                        self.life = Life::Over;
                        self.outputs.push_back(Output::Left);
                    }
                    Life::Over => {}
                    _ => {
                        self.life = Life::Ending;
                        self.work.push_back(Work::Engine(engine::Input::Excluded));
                    }
                }
                Ok("stopping everything here".into())
            }
            Command::FenceOff(node) => self.fence_by_hand(node, Hand::Off),
            Command::FenceOn(node) => self.fence_by_hand(node, Hand::On),
            Command::FenceReset(node) => self.fence_by_hand(node, Hand::Reset),
            Command::ConfirmDown(node) => self
                .group
                .confirm_down(self.now, node)
                .map(|()| format!("{node} counts as down; what it held may start elsewhere"))
                .map_err(|rejected| rejection(&rejected)),
        };
        let cluster = &self.birth.cluster;
        let result = result.map(|sentence| cluster.named(&sentence)).map_err(|refused| Refused {
            kind: refused.kind,
            sentence: cluster.named(&refused.sentence),
        });
        self.outputs.push_back(Output::Answer { request, result });
    }

    fn seed(&mut self) -> Result<String, Refused> {
        self.group.seed().map_err(|rejected| rejection(&rejected))?;
        let mut excluded = false;
        while let Some(output) = self.group.poll_output() {
            excluded |= matches!(output, group::Output::Excluded { .. });
            self.on_group(output);
        }
        if excluded {
            self.life = Life::Stopping { seed: true };
        }
        Ok("forming a view of the nodes present".into())
    }

    fn leave(&mut self) -> Result<String, Refused> {
        if self.life != Life::Lived {
            let sentence = "this node is on its way out or starting over already".into();
            return Err(Refused { kind: RefusedKind::NotNow, sentence });
        }
        if self.group.view().is_none() {
            self.group.withdraw();
            self.life = Life::Ending;
            self.work.push_back(Work::Engine(engine::Input::Excluded));
            return Ok("leaving".into());
        }
        self.life = Life::Draining;
        let node = self.birth.cluster.name(self.local.node);
        let proposed = self.engine.propose(self.now, 0, engine::Command::Drain { node });
        self.drain_engine();
        proposed.map_err(|refusal| {
            self.life = Life::Lived;
            refused(&refusal)
        })?;
        Ok("leaving: services move away first".into())
    }

    pub(super) fn go_on_leaving(&mut self) {
        // Not before the others know: until then they may start something here.
        let local = self.local.node;
        let is_drained = self.engine.observation().is_draining(local) && self.engine.is_idle(local);
        if self.life == Life::Draining && is_drained {
            self.life = Life::Leaving;
            self.group.leave();
        }
    }

    /// Nothing of ours runs here any more.
    pub(super) fn clean(&mut self) {
        match self.life {
            Life::Stopping { seed } => {
                self.life = Life::Rebirth { seed };
                let incarnation = Incarnation(self.local.incarnation.0 + 1);
                let record = self.record.clone();
                let state = Durable::State { incarnation, record };
                self.persist(state, Token::Rebirth(incarnation));
            }
            Life::Ending => {
                self.life = Life::Over;
                self.outputs.push_back(Output::Left);
            }
            Life::Lived | Life::Draining | Life::Leaving | Life::Rebirth { .. } | Life::Over => {}
        }
    }

    pub(super) fn persist(&mut self, what: Durable, token: Token) {
        self.last_token += 1;
        self.tokens.insert(self.last_token, token);
        self.outputs.push_back(Output::Persist { token: self.last_token, what });
    }

    pub(super) fn persisted(&mut self, token: u64) {
        match self.tokens.remove(&token) {
            Some(Token::Group(token)) => {
                self.work.push_back(Work::Group(group::Input::Persisted(token)));
            }
            Some(Token::Rebirth(incarnation)) => self.be_reborn(incarnation),
            None => {}
        }
    }

    fn be_reborn(&mut self, incarnation: Incarnation) {
        let Life::Rebirth { seed } = self.life else { return };
        self.life = Life::Lived;
        // Writes that the former life still waits for concern nobody any more.
        self.tokens.clear();
        self.work.clear();
        self.unsubmitted.clear();
        self.local.incarnation = incarnation;
        self.birth.local = self.local;
        self.birth.record = self.record.clone();
        self.birth.found = Vec::new();
        self.birth.certified = false;
        self.birth.cluster.intent = self.engine.intent().clone();
        self.birth.cluster.text = self.engine.text().to_owned();
        let prng = self.prng.child("life");
        self.prng = prng;
        let (transport, group, engine) = layers(&self.birth, self.local, &self.prng, self.now);
        self.transport = transport;
        self.group = group;
        self.engine = engine;
        let watchdog = engine::Input::Watchdog(self.watchdog.clone());
        self.work.push_back(Work::Engine(watchdog));
        self.watch = transport::Watch::default();
        self.unwatched = NodeSet::EMPTY;
        self.lease = Instant::ZERO;
        self.network.set_lease(Instant::ZERO);
        self.report = Report::default();
        self.single.clear();
        self.jeopardy_said_at = u64::MAX;
        self.engine_changed = true;
        self.peer_reports.clear();
        for network in self.links_down.iter().copied() {
            let link = transport::Input::Link { network, up: false };
            self.work.push_back(Work::Transport(link));
        }
        self.say_networks_again();
        self.unable.clear();
        self.see_inability();
        self.event(EventKind::Reborn, None, format!("new incarnation {incarnation}"));
        self.hand_out_goodbyes();
        if seed {
            // A peer that is in a view by now makes this pointless, and the node joins it.
            let _joins_instead = self.group.seed();
        }
        self.end_fencing();
        self.publish();
    }

    pub(super) fn hand_out_goodbyes(&mut self) {
        let frames = self.transport.goodbye_frames();
        self.outputs.push_back(Output::Goodbyes(frames));
    }
}
