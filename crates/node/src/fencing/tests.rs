//! The ladder alone: agents that refuse, say nothing, lie or take their time.

use super::*;

const NODE: NodeId = NodeId(2);

struct Ladder {
    fencing: Fencing,
    now: Instant,
    wanted: Vec<Absence>,
    outs: Vec<Out>,
}

fn level(number: u8, agents: &[&str]) -> FenceLevel {
    let agents = agents.iter().map(|agent| (*agent).to_owned()).collect();
    FenceLevel { number, timeout: Duration::from_secs(20), agents }
}

fn absence(generation: u64) -> Absence {
    Absence { node: NODE, incarnation: Incarnation(7), generation }
}

impl Ladder {
    fn new(policy: FencePolicy, levels: &[FenceLevel]) -> Ladder {
        let spec = FenceSpec { node: NODE, policy, levels: levels.to_vec() };
        Ladder {
            fencing: Fencing::new(&[spec]),
            now: Instant::from_millis(1_000),
            wanted: Vec::new(),
            outs: Vec::new(),
        }
    }

    fn lost(policy: FencePolicy, levels: &[FenceLevel]) -> Ladder {
        let mut ladder = Ladder::new(policy, levels);
        ladder.wanted.push(absence(5));
        ladder.turn();
        ladder
    }

    fn drain(&mut self) {
        while let Some(out) = self.fencing.poll_output() {
            self.outs.push(out);
        }
    }

    fn turn(&mut self) {
        let wanted = self.wanted.clone();
        self.fencing.want(self.now, Some((&wanted, NodeSet::from_iter([NodeId(1)]))));
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    /// The runs that were begun since the last look: level, agent, verb, with their numbers.
    fn runs(&mut self) -> Vec<(u64, (u8, usize, FenceVerb))> {
        let runs = self.outs.iter().filter_map(|out| match out {
            Out::Run(run) => Some((run.run, (run.level, run.agent, run.verb))),
            _ => None,
        });
        let runs = runs.collect();
        self.outs.retain(|out| !matches!(out, Out::Run(_)));
        runs
    }

    /// The only run that was begun: what it is for, answered.
    fn answer(&mut self, what: (u8, usize, FenceVerb), answer: FenceAnswer) {
        let runs = self.runs();
        let [(run, which)] = runs[..] else { panic!("one run, not {runs:?}") };
        assert_eq!(which, what);
        self.fencing.answered(self.now, run, answer);
        self.drain();
    }

    fn proven(&self) -> Vec<u64> {
        let proven = self.outs.iter().filter_map(|out| match out {
            Out::Proven(absence) => Some(absence.generation),
            _ => None,
        });
        proven.collect()
    }

    fn stopped(&self) -> usize {
        self.outs.iter().filter(|out| matches!(out, Out::Stop(_))).count()
    }

    fn failures(&self) -> Vec<String> {
        let records = self.outs.iter().filter_map(|out| match out {
            Out::Record(FenceRecord { result: Err(reason), .. }) => Some(reason.clone()),
            _ => None,
        });
        records.collect()
    }
}

use FenceAnswer::{Done, Failed, PowerOff, PowerOn};
use FenceVerb::{Off, On, Status};

#[test]
fn only_what_was_seen_off_is_proven() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["a"])]);
    ladder.answer((1, 0, Off), Done);
    assert!(ladder.proven().is_empty(), "accepted is not off");
    ladder.answer((1, 0, Status), PowerOff);
    assert_eq!(ladder.proven(), [5]);
    ladder.turn();
    assert!(ladder.runs().is_empty(), "it is not turned off again while the proof is on its way");
    assert_eq!(ladder.fencing.deadline(), None);
}

#[test]
fn a_machine_that_stays_on_is_left_to_the_next_level() {
    let levels = [level(1, &["liar"]), level(2, &["good"])];
    let mut ladder = Ladder::lost(FencePolicy::Off, &levels);
    ladder.answer((1, 0, Off), Done);
    for _ in 0..19 {
        ladder.answer((1, 0, Status), PowerOn);
        ladder.pass(STATUS_INTERVAL);
    }
    ladder.answer((1, 0, Status), PowerOn);
    ladder.pass(STATUS_INTERVAL);
    assert_eq!(ladder.failures(), ["liar: it is still on"]);
    ladder.answer((2, 0, Off), Done);
    ladder.answer((2, 0, Status), PowerOff);
    assert_eq!(ladder.proven(), [5]);
}

#[test]
fn a_board_that_is_busy_after_a_change_is_asked_again() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["a"])]);
    ladder.answer((1, 0, Off), Done);
    ladder.answer((1, 0, Status), Failed("busy".into()));
    ladder.pass(STATUS_INTERVAL);
    ladder.answer((1, 0, Status), PowerOff);
    assert_eq!(ladder.proven(), [5]);
}

#[test]
fn refusing_and_silent_agents_are_left_for_the_next_level() {
    let levels = [level(1, &["refuses"]), level(2, &["hangs"]), level(3, &["good"])];
    let mut ladder = Ladder::lost(FencePolicy::Off, &levels);
    ladder.answer((1, 0, Off), Failed("wrong password".into()));
    let hanging = ladder.runs();
    assert_eq!(hanging[0].1, (2, 0, Off));
    ladder.pass(Duration::from_secs(20));
    assert_eq!(ladder.stopped(), 1);
    assert_eq!(
        ladder.failures(),
        ["refuses: wrong password", "hangs: no answer to off within 20s"]
    );
    // What was given up may say what it likes.
    ladder.fencing.answered(ladder.now, hanging[0].0, Done);
    ladder.answer((3, 0, Off), Done);
    ladder.answer((3, 0, Status), PowerOff);
    assert_eq!(ladder.proven(), [5]);
}

#[test]
fn all_agents_of_a_level_must_have_turned_off_before_any_is_believed() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["left", "right"])]);
    let [(left, _), (right, _)] = ladder.runs()[..] else { panic!("both run at once") };
    ladder.fencing.answered(ladder.now, left, Done);
    ladder.drain();
    assert!(ladder.runs().is_empty(), "one supply is not both");
    ladder.fencing.answered(ladder.now, right, Done);
    ladder.drain();
    let [(left, (1, 0, Status)), (right, (1, 1, Status))] = ladder.runs()[..] else {
        panic!("both are asked")
    };
    ladder.fencing.answered(ladder.now, left, PowerOff);
    ladder.fencing.answered(ladder.now, right, PowerOn);
    ladder.drain();
    assert!(ladder.proven().is_empty());
    ladder.pass(STATUS_INTERVAL);
    for round in 1..=SIGHTS {
        assert!(ladder.proven().is_empty(), "round {round}");
        for (run, _) in ladder.runs() {
            ladder.fencing.answered(ladder.now, run, PowerOff);
        }
        ladder.drain();
    }
    assert_eq!(ladder.proven(), [5]);
}

#[test]
fn a_rebooted_machine_is_turned_on_after_it_was_seen_off() {
    let mut ladder = Ladder::lost(FencePolicy::Reboot, &[level(1, &["a"])]);
    ladder.answer((1, 0, Off), Done);
    ladder.answer((1, 0, Status), PowerOff);
    assert_eq!(ladder.proven(), [5]);
    // The absence is over; the machine is turned on all the same, also at the second try.
    ladder.wanted.clear();
    ladder.turn();
    ladder.answer((1, 0, On), Failed("busy".into()));
    ladder.pass(PAUSE_FIRST);
    ladder.answer((1, 0, On), Done);
    assert_eq!(ladder.fencing.deadline(), None);
}

#[test]
fn all_levels_are_tried_again_with_growing_pauses_while_the_absence_lasts() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["a"])]);
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        ladder.answer((1, 0, Off), Failed("no".into()));
        ladder.pass(Duration::from_secs(pause) - Duration::from_millis(1));
        assert!(ladder.runs().is_empty());
        ladder.pass(Duration::from_millis(1));
    }
    ladder.answer((1, 0, Off), Failed("no".into()));
    ladder.wanted.clear();
    ladder.turn();
    assert_eq!(ladder.fencing.deadline(), None, "nobody waits any more");
}

#[test]
fn what_has_begun_is_finished_when_the_time_is_over_first() {
    let levels = [level(1, &["a"]), level(2, &["b"])];
    let mut ladder = Ladder::lost(FencePolicy::Reboot, &levels);
    ladder.wanted.clear();
    ladder.turn();
    assert_eq!(ladder.stopped(), 0);
    ladder.answer((1, 0, Off), Done);
    ladder.answer((1, 0, Status), PowerOff);
    ladder.answer((1, 0, On), Done);
    // A level that fails is the last one then.
    let mut ladder = Ladder::lost(FencePolicy::Reboot, &levels);
    ladder.wanted.clear();
    ladder.turn();
    ladder.answer((1, 0, Off), Failed("no".into()));
    assert!(ladder.runs().is_empty());
    assert_eq!(ladder.fencing.deadline(), None);
}

#[test]
fn whoever_must_not_fence_stops_at_once() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["a"])]);
    ladder.fencing.want(ladder.now, None);
    ladder.drain();
    assert_eq!(ladder.stopped(), 1);
    assert_eq!(ladder.fencing.deadline(), None);
    // And starts over when it may again.
    ladder.runs();
    ladder.turn();
    ladder.answer((1, 0, Off), Done);
}

#[test]
fn whoever_is_back_is_not_turned_off() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["a"])]);
    let back = NodeSet::from_iter([NodeId(1), NODE]);
    ladder.fencing.want(ladder.now, Some((&[], back)));
    ladder.drain();
    assert_eq!(ladder.stopped(), 1);
}

#[test]
fn another_absence_of_the_node_needs_another_proof() {
    let mut ladder = Ladder::lost(FencePolicy::Off, &[level(1, &["a"])]);
    let old = ladder.runs();
    ladder.wanted = vec![absence(9)];
    ladder.turn();
    assert_eq!(ladder.stopped(), 1);
    ladder.fencing.answered(ladder.now, old[0].0, Done);
    ladder.drain();
    ladder.turn();
    ladder.answer((1, 0, Off), Done);
    ladder.answer((1, 0, Status), PowerOff);
    assert_eq!(ladder.proven(), [9]);
}

#[test]
fn by_hand_each_level_is_tried_once() {
    let mut ladder = Ladder::new(FencePolicy::Off, &[level(1, &["a"]), level(2, &["b"])]);
    let unknown = ladder.fencing.by_hand(ladder.now, NodeId(3), Hand::Off, (None, None));
    assert_eq!(unknown, Err("no fence agent is configured for #3".into()));
    ladder.fencing.by_hand(ladder.now, NODE, Hand::Off, (None, None)).expect("it has agents");
    ladder.drain();
    let again = ladder.fencing.by_hand(ladder.now, NODE, Hand::On, (None, None));
    assert_eq!(again, Err("the machine of #2 is being turned off already".into()));
    ladder.answer((1, 0, Off), Failed("no".into()));
    ladder.answer((2, 0, Off), Failed("no".into()));
    assert_eq!(ladder.fencing.deadline(), None);
    assert!(ladder.proven().is_empty());
}

#[test]
fn by_hand_a_machine_of_a_member_stays_off_and_its_loss_is_proven() {
    let levels = [level(1, &["a"])];
    for lost_first in [true, false] {
        let mut ladder = Ladder::new(FencePolicy::Reboot, &levels);
        let life = (None, Some(Incarnation(7)));
        ladder.fencing.by_hand(ladder.now, NODE, Hand::Off, life).expect("it has agents");
        ladder.drain();
        ladder.answer((1, 0, Off), Done);
        if lost_first {
            ladder.wanted.push(absence(5));
            ladder.turn();
        }
        assert!(ladder.proven().is_empty(), "nobody has seen it off");
        ladder.answer((1, 0, Status), PowerOff);
        if !lost_first {
            ladder.wanted.push(absence(5));
        }
        ladder.turn();
        ladder.turn();
        assert_eq!(ladder.proven(), [5], "once");
        assert!(ladder.runs().is_empty(), "it is not turned on");
        // Another life was not in the view then.
        ladder.wanted = vec![Absence { incarnation: Incarnation(8), ..absence(9) }];
        ladder.turn();
        ladder.answer((1, 0, Off), Done);
        ladder.answer((1, 0, Status), PowerOff);
        assert_eq!(ladder.proven(), [5, 9]);
        ladder.answer((1, 0, On), Done);
    }
}

#[test]
fn at_most_so_many_machines_are_turned_off_at_once() {
    let nodes = 2..2 + ACTIVE_MAX as u8 + 3;
    let specs: Vec<FenceSpec> = nodes
        .clone()
        .map(|node| FenceSpec {
            node: NodeId(node),
            policy: FencePolicy::Off,
            levels: vec![level(1, &["a"])],
        })
        .collect();
    let mut ladder = Ladder::new(FencePolicy::Off, &[level(1, &["a"])]);
    ladder.fencing = Fencing::new(&specs);
    ladder.wanted = nodes.map(|node| Absence { node: NodeId(node), ..absence(5) }).collect();
    ladder.turn();
    let runs = ladder.runs();
    assert_eq!(runs.len(), ACTIVE_MAX);
    ladder.fencing.answered(ladder.now, runs[0].0, Failed("no".into()));
    ladder.drain();
    ladder.turn();
    assert_eq!(ladder.runs().len(), 1, "the next one's turn");
}
