//! Whether gateways have learned where an owned address is: when they are asked, and what is said of them.

use super::*;
use crate::{Echo, Lesson, Verify};

const GATEWAY: &str = "10.77.0.254";
const OTHER: &str = "10.77.0.253";

/// A node that asks these gateways about [`ADDRESS`], and owns it.
fn asking(gateways: &[&str]) -> Node {
    let mut node = Node::new();
    configure(&mut node, gateways);
    node.own(ADDRESS);
    node
}

fn configure(node: &mut Node, gateways: &[&str]) -> Vec<Output> {
    let gateways: Vec<IpAddr> = gateways.iter().map(|gateway| ip(gateway)).collect();
    let own = ip("10.99.0.1");
    let verify = (ip(ADDRESS), Verify { gateways: gateways.clone(), own });
    node.feed(Input::Configure {
        addresses: vec![ip(ADDRESS), ip("fd00::100"), ip("10.77.0.101")],
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: BTreeMap::new(),
        verify: [verify].into_iter().filter(|_| !gateways.is_empty()).collect(),
        shares: Vec::new(),
    })
}

fn answer(node: &mut Node, question: u64, echoes: &[(&str, Echo)]) -> Vec<Output> {
    let echoes = echoes.iter().map(|(gateway, echo)| (ip(gateway), *echo)).collect();
    node.feed(Input::Asked { question, address: ip(ADDRESS), result: Ok(echoes) })
}

/// Lets `millis` pass, and has all questions answered alike. Gives when they came, and what was said.
fn pass(
    node: &mut Node,
    millis: u64,
    echoes: &[(&str, Echo)],
) -> (Vec<u64>, Vec<(u64, Lesson)>, Vec<u64>) {
    let start = node.now;
    let (mut asked, mut said, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    while node.now < start + Duration::from_millis(millis) {
        for (_, output) in node.pass(1) {
            let at = node.now.since(start).as_millis() as u64;
            if let Output::Ask { question, .. } = output {
                asked.push(at);
                for output in answer(node, question, echoes) {
                    if let Output::Gateway { service, address, lesson, .. } = &output {
                        assert_eq!((service.as_str(), *address), ("web", ip(ADDRESS)));
                        said.push((at, lesson.clone()));
                    }
                    outputs.push((at, output));
                }
            } else {
                outputs.push((at, output));
            }
        }
    }
    let told = announcements(&outputs, ADDRESS);
    (asked, said, told)
}

fn lessons(node: &Node) -> Vec<(IpAddr, Option<Lesson>)> {
    let addresses = node.network.status().addresses;
    let one = addresses.into_iter().find(|one| one.address == ip(ADDRESS));
    one.expect("it is owned").gateways
}

#[test]
fn a_gateway_that_answers_the_address_has_learned_it_and_is_left_alone() {
    let mut node = asking(&[GATEWAY]);
    assert_eq!(lessons(&node), [(ip(GATEWAY), None)], "asked");
    let outputs = node.pass(299);
    assert!(!outputs.iter().any(|(_, output)| matches!(output, Output::Ask { .. })), "too soon");
    let outputs = node.pass(1);
    let ask = Output::Ask {
        question: 1,
        interface: "eth1".to_owned(),
        address: ip(ADDRESS),
        gateways: vec![(ip(GATEWAY), ip("10.77.0.1"))],
    };
    assert!(outputs.iter().any(|(_, output)| *output == ask), "{outputs:?}");
    // Nothing else is asked while that one is on its way.
    let outputs = node.pass(12);
    assert!(outputs.is_empty(), "{outputs:?}");
    let took = Duration::from_millis(312);
    let lesson = Lesson::Learned { took };
    let said = answer(&mut node, 1, &[(GATEWAY, Echo::Service)]);
    assert_eq!(said, [], "what is as it should be is shown, and is no news");
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(lesson.clone()))]);
    assert_eq!(
        lesson.sentence(ip(GATEWAY), ip(ADDRESS), "web"),
        "gateway 10.77.0.254 has learned 10.77.0.100 of web after 312 ms"
    );
    let (asked, ..) = pass(&mut node, 120_000, &[]);
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn one_that_answers_an_own_address_only_is_accused_and_announced_to_until_it_has_learned() {
    let mut node = asking(&[GATEWAY]);
    let (asked, said, told) = pass(&mut node, 9_000, &[(GATEWAY, Echo::Own)]);
    assert_eq!(asked, [300, 1_000, 2_000, 4_000]);
    assert_eq!(said, [(4_000, Lesson::NotLearned)]);
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(Lesson::NotLearned))]);
    // Over again after the verdict.
    assert_eq!(told, [200, 1_000, 2_000, 4_000, 4_200, 5_000, 6_000, 8_000]);
    // Said once, asked slowly, and announced each time.
    let (asked, said, told) = pass(&mut node, 186_000, &[(GATEWAY, Echo::Own)]);
    assert_eq!((asked, said), (vec![5_000, 25_000, 65_000, 125_000, 185_000], Vec::new()));
    // With those once a minute that each address has.
    let told_anew = [5_000, 25_000, 65_000, 125_000, 185_000];
    let told: Vec<u64> = told.into_iter().filter(|at| at % 60_000 != 3_000).collect();
    assert_eq!(told, told_anew);
    let (asked, said, _) = pass(&mut node, 60_000, &[(GATEWAY, Echo::Service)]);
    assert_eq!(asked, [59_000]);
    assert!(matches!(said[..], [(59_000, Lesson::Learned { .. })]), "{said:?}");
}

#[test]
fn one_that_answers_nobody_is_not_accused() {
    let mut node = asking(&[GATEWAY]);
    let (asked, said, told) = pass(&mut node, 9_000, &[(GATEWAY, Echo::Neither)]);
    assert_eq!(asked, [300, 1_000, 2_000, 4_000]);
    let why = "it answers no address of this node".to_owned();
    assert_eq!(said, [(4_000, Lesson::Untold { why })]);
    assert_eq!(told, [200, 1_000, 2_000, 4_000, 8_000], "nothing more than ever");
    // Then it comes up, with an old entry: twice, because one echo may be lost.
    let (asked, said, _) = pass(&mut node, 26_000, &[(GATEWAY, Echo::Own)]);
    assert_eq!(asked, [5_000, 25_000]);
    assert_eq!(said, [(25_000, Lesson::NotLearned)]);
    // Silence takes that not back.
    let (_, said, _) = pass(&mut node, 60_000, &[(GATEWAY, Echo::Neither)]);
    assert_eq!(said, []);
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(Lesson::NotLearned))]);
}

#[test]
fn a_question_that_does_not_leave_accuses_nobody() {
    let mut node = asking(&[GATEWAY]);
    let (_, said, _) = pass(&mut node, 20_000, &[(GATEWAY, Echo::Unasked)]);
    let why = "what it is asked does not leave this node".to_owned();
    assert_eq!(said, [(4_000, Lesson::Untold { why })]);
}

#[test]
fn one_lost_echo_accuses_nobody() {
    let mut node = asking(&[GATEWAY]);
    assert_eq!(pass(&mut node, 500, &[(GATEWAY, Echo::Own)]).1, []);
    let (asked, said, _) = pass(&mut node, 60_000, &[(GATEWAY, Echo::Service)]);
    assert_eq!((asked, said), (vec![500], Vec::new()));
    let learned = Lesson::Learned { took: Duration::from_secs(1) };
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(learned))]);
    // Also when it was the only one that came to anything.
    let mut node = asking(&[GATEWAY]);
    pass(&mut node, 500, &[(GATEWAY, Echo::Own)]);
    let (_, said, _) = pass(&mut node, 9_000, &[(GATEWAY, Echo::Neither)]);
    assert!(matches!(said[..], [(3_500, Lesson::Untold { .. })]), "{said:?}");
}

#[test]
fn each_gateway_counts_for_itself() {
    let mut node = asking(&[GATEWAY, OTHER]);
    let (asked, said, _) = pass(&mut node, 5_000, &[(GATEWAY, Echo::Own), (OTHER, Echo::Service)]);
    assert_eq!(asked, [300, 1_000, 2_000, 4_000]);
    assert_eq!(said, [(4_000, Lesson::NotLearned)]);
    let outputs = node.pass(10_000);
    let gateways = outputs.into_iter().find_map(|(_, output)| match output {
        Output::Ask { gateways, .. } => Some(gateways),
        _ => None,
    });
    assert_eq!(gateways, Some(vec![(ip(GATEWAY), ip("10.77.0.1"))]), "the other one knows");
}

#[test]
fn who_cannot_ask_says_why() {
    let mut node = asking(&[GATEWAY]);
    for millis in [300, 700, 1_000, 2_000] {
        let outputs = node.pass(millis);
        let question = outputs.iter().find_map(|(_, output)| match output {
            Output::Ask { question, .. } => Some(*question),
            _ => None,
        });
        let question = question.expect("it is asked");
        let result = Err("no thread".to_owned());
        node.feed(Input::Asked { question, address: ip(ADDRESS), result });
    }
    let why = "it cannot be asked: no thread".to_owned();
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(Lesson::Untold { why }))]);
}

#[test]
fn what_may_have_been_missed_is_asked_anew_and_told_if_it_is_another_thing() {
    let mut node = asking(&[GATEWAY]);
    pass(&mut node, 1_000, &[(GATEWAY, Echo::Service)]);
    node.feed(Input::Heal { interface: 1 });
    let (asked, said, _) = pass(&mut node, 10_000, &[(GATEWAY, Echo::Service)]);
    assert_eq!((asked, said), (vec![300], Vec::new()), "as before: no news");
    node.feed(Input::Heal { interface: 1 });
    let (_, said, _) = pass(&mut node, 10_000, &[(GATEWAY, Echo::Own)]);
    assert_eq!(said, [(4_000, Lesson::NotLearned)]);
    // An answer to what was asked before the newest reason is none.
    node.feed(Input::Heal { interface: 1 });
    let outputs = node.pass(300);
    let question = outputs.iter().find_map(|(_, output)| match output {
        Output::Ask { question, .. } => Some(*question),
        _ => None,
    });
    node.feed(Input::Heal { interface: 1 });
    let late = answer(&mut node, question.expect("it is asked"), &[(GATEWAY, Echo::Service)]);
    assert_eq!(late, []);
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(Lesson::NotLearned))]);
}

#[test]
fn nothing_is_asked_without_a_lease_nor_after_the_release() {
    let mut node = asking(&[GATEWAY]);
    node.network.set_lease(node.now);
    assert_eq!(pass(&mut node, 10_000, &[(GATEWAY, Echo::Own)]), Default::default());
    node.network.set_lease(Instant::FAR);
    pass(&mut node, 10_000, &[(GATEWAY, Echo::Own)]);
    assert_eq!(lessons(&node), [(ip(GATEWAY), Some(Lesson::NotLearned))]);
    node.release(ADDRESS);
    node.done(Ok(()));
    assert!(node.network.status().addresses.is_empty());
    // One on its way when it was released.
    assert_eq!(answer(&mut node, 1, &[(GATEWAY, Echo::Service)]), []);
    assert_eq!(pass(&mut node, 30_000, &[]), Default::default());
}

#[test]
fn another_configuration_asks_others_and_none_asks_nobody() {
    let mut node = asking(&[GATEWAY]);
    pass(&mut node, 10_000, &[(GATEWAY, Echo::Own)]);
    configure(&mut node, &[OTHER]);
    assert_eq!(lessons(&node), [(ip(OTHER), None)]);
    let (asked, said, _) = pass(&mut node, 1_000, &[(OTHER, Echo::Service)]);
    assert_eq!((asked, said), (vec![300], Vec::new()));
    let learned = Lesson::Learned { took: Duration::from_millis(300) };
    assert_eq!(lessons(&node), [(ip(OTHER), Some(learned))]);
    configure(&mut node, &[OTHER]);
    assert_eq!(pass(&mut node, 1_000, &[]).0, [], "the same as before");
    configure(&mut node, &[]);
    assert_eq!(lessons(&node), []);
    assert_eq!(pass(&mut node, 60_000, &[]).0, []);
}

#[test]
fn a_gateway_elsewhere_should_answer_the_configured_address() {
    let mut node = asking(&["192.0.2.1"]);
    let outputs = node.pass(300);
    let gateways = outputs.into_iter().find_map(|(_, output)| match output {
        Output::Ask { gateways, .. } => Some(gateways),
        _ => None,
    });
    assert_eq!(gateways, Some(vec![(ip("192.0.2.1"), ip("10.99.0.1"))]));
}
