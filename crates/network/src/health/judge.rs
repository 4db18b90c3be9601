//! From what a round has shown to a verdict.

use super::machine::{CardState, Evidence, Health, NetState, Round};
use super::wire::Station;
use super::{Detection, Doubt, Fault, Verdict};

/// Errors of a driver in a row, without a frame that it sent, that are no bad luck: frames fail now and then, one
/// in a million, and the next one is sent.
const UNSENT_MAX: u64 = 3;

/// What a round means for one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Good,
    Bad(Fault),
    /// No own card of the net has traffic.
    Silent,
    /// Neither.
    Mixed,
    /// Nothing was learned.
    Nothing,
}

impl Health {
    /// What is seen without counting: goes down at once, and comes back unproven.
    pub(super) fn judge_at_once(&mut self) {
        for place in 0..self.nets.len() {
            for card in 0..self.nets[place].cards.len() {
                let state = &self.nets[place].cards[card];
                let is_at_once = |fault: Fault| {
                    use Fault::{Disabled, Gone, NoCarrier, SwitchedOff};
                    matches!(fault, Gone | Disabled | SwitchedOff | NoCarrier)
                };
                match (state.fault_at_once(), state.verdict) {
                    (Some(fault), _) => self.enter(place, card, Verdict::Down(fault)),
                    (None, Verdict::Down(fault)) if is_at_once(fault) => {
                        // What was said and heard before the fault ended says nothing.
                        self.nets[place].cards[card].round = Round::default();
                        self.enter(place, card, Verdict::Unsure(Doubt::Unproven));
                    }
                    (None, Verdict::Up | Verdict::Unsure(_)) if state.unsent >= UNSENT_MAX => {
                        self.nets[place].cards[card].unsent = 0;
                        self.enter(place, card, Verdict::Down(Fault::DriverError));
                    }
                    (None, _) => {}
                }
            }
        }
    }

    /// The round of a net is over.
    pub(super) fn judge_round(&mut self, place: usize) {
        let net = &self.nets[place];
        let patience = net.patience();
        let is_late = self.now.since(net.next) > patience;
        if net.is_void || is_late || self.now.since(self.looked) > patience {
            self.counters.void += u64::from(net.sequence > 0);
            return;
        }
        self.counters.rounds += 1;
        let evidence: Vec<Evidence> = net.cards.iter().map(|card| net.evidence(card)).collect();
        let findings: Vec<Finding> =
            (0..net.cards.len()).map(|card| net.finding(card, &evidence)).collect();
        let polls = net.spec.polls;
        for (card, finding) in findings.into_iter().enumerate() {
            let state = &mut self.nets[place].cards[card];
            state.last = evidence[card];
            let (good, bad, silent) = (state.good, state.bad, state.silent);
            (state.good, state.bad, state.silent) = match finding {
                Finding::Good => (good.saturating_add(1), 0, 0),
                Finding::Bad(_) => (0, bad.saturating_add(1), 0),
                Finding::Silent => (0, 0, silent.saturating_add(1)),
                Finding::Mixed => (0, 0, 0),
                Finding::Nothing => (good, bad, silent),
            };
            let next = match (state.verdict, finding) {
                (Verdict::Up | Verdict::Unsure(_), Finding::Bad(fault))
                    if state.bad >= polls || fault == Fault::DriverError =>
                {
                    Verdict::Down(fault)
                }
                (Verdict::Up | Verdict::Unsure(_), Finding::Silent) if state.silent >= polls => {
                    Verdict::Unsure(Doubt::Silent)
                }
                (Verdict::Unsure(_) | Verdict::Down(_), Finding::Good) if state.good >= polls => {
                    Verdict::Up
                }
                (verdict, _) => verdict,
            };
            // An operator's wish, and what is seen now, stand above what was counted.
            if state.fault_at_once().is_none() {
                self.enter(place, card, next);
            }
        }
    }
}

impl NetState {
    /// What this round has shown of a card.
    fn evidence(&self, card: &CardState) -> Evidence {
        let round = &card.round;
        let (Some(start), Some(now)) = (&round.start, card.connected()) else {
            return Evidence::default();
        };
        if start.index != now.index || self.is_unread(card) {
            return Evidence::default();
        }
        let target = round.target;
        let has_heard = !round.hears.is_empty() || round.was_answered || target == Some(true);
        let came_in = match now.rx {
            _ if has_heard => Some(true),
            // Counters that began anew say nothing.
            rx if rx < start.rx => None,
            rx => Some(rx > start.rx),
        };
        let is_heard = !round.heard_by.is_empty() || target == Some(true);
        let was_heard = if is_heard {
            Some(true)
        } else if self.could_be_heard(card) {
            Some(false)
        } else {
            None
        };
        Evidence { came_in, was_heard, target }
    }

    /// Whether nobody could look at the card for too long: its counters are those of then.
    fn is_unread(&self, card: &CardState) -> bool {
        card.read.is_none_or(|read| self.next.since(read) > self.patience())
    }

    /// Whether somebody listened: another own card to which anything came, or a card of another node
    /// that was asked, and can be heard on this one.
    fn could_be_heard(&self, card: &CardState) -> bool {
        if !card.round.said || card.round.refused {
            return false;
        }
        let others = self.cards.iter().filter(|other| other.name != card.name);
        let has_traffic = |other: &CardState| {
            let (Some(start), Some(now)) = (&other.round.start, other.connected()) else {
                return false;
            };
            start.index == now.index && now.rx > start.rx || !other.round.hears.is_empty()
        };
        let is_asked =
            |station: &Station| self.asked.is_empty() || self.asked.contains(station.node);
        // Rounds of other nodes begin at other moments: theirs or ours may hold two frames or none.
        let lately = self.spec.poll_interval * 2;
        others.into_iter().any(has_traffic)
            || card
                .heard
                .iter()
                .any(|(station, heard)| is_asked(station) && self.next.since(heard.at) <= lately)
    }

    fn finding(&self, place: usize, evidence: &[Evidence]) -> Finding {
        let card = &self.cards[place];
        let own = evidence[place];
        let (Some(start), Some(now)) = (&card.round.start, card.connected()) else {
            return Finding::Nothing;
        };
        if self.is_unread(card) {
            return Finding::Nothing;
        }
        if card.round.said && now.errors > start.errors && now.tx == start.tx {
            return Finding::Bad(Fault::DriverError);
        }
        let others = || (0..evidence.len()).filter(|other| *other != place);
        let another_sends =
            others().any(|other| self.cards[other].round.said && !self.cards[other].round.refused);
        if card.round.refused {
            // Nobody could hear it; whose fault that is shows when another card is taken from.
            return match another_sends {
                true if own.came_in != Some(true) => Finding::Bad(Fault::Refuses),
                _ => Finding::Nothing,
            };
        }
        let Some(came_in) = own.came_in else { return Finding::Nothing };
        let another_hears = others().any(|other| evidence[other].came_in == Some(true));
        if own.target == Some(false) && others().any(|other| evidence[other].target == Some(true)) {
            return Finding::Bad(Fault::NoTarget);
        }
        // Many drivers count a frame as sent that has failed; that nobody hears it tells.
        if own.was_heard == Some(false) && now.errors > start.errors {
            return Finding::Bad(Fault::SendErrors);
        }
        match (came_in, own.was_heard) {
            (true, Some(false)) => match self.effective() {
                // Something comes in, and nothing of this network, in neither direction.
                Detection::InOnlyOrInOut if self.is_apart(place) => Finding::Bad(Fault::Apart),
                _ => Finding::Mixed,
            },
            (true, _) => Finding::Good,
            (false, Some(true)) => match self.effective() {
                Detection::InOnlyOrInOut if self.is_proven_beside(place) => {
                    Finding::Bad(Fault::Deaf)
                }
                _ => Finding::Mixed,
            },
            (false, _) if another_hears => Finding::Bad(Fault::NoTraffic),
            (false, _) => Finding::Silent,
        }
    }

    /// Whether a card hears no card of its net, while others prove that a frame for all was on the wire.
    fn is_apart(&self, place: usize) -> bool {
        let round = &self.cards[place].round;
        round.hears.is_empty() && !round.was_answered && self.is_proven_beside(place)
    }

    /// Whether two cards other than this one prove that a frame for all was on the wire.
    fn is_proven_beside(&self, place: usize) -> bool {
        let own = self.cards[place].round.start.as_ref().map(|start| start.index);
        let is_other =
            |station: &Station| station.node != self.node || Some(station.interface) != own;
        let others = self.cards.iter().enumerate().filter(|(other, _)| *other != place);
        others.into_iter().any(|(_, other)| {
            let round = &other.round;
            round.heard_by.iter().any(is_other) || round.hears.iter().any(is_other)
        })
    }
}
