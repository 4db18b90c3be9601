use super::*;

fn step(level: u64, took: u64, error: Option<&str>) -> Step {
    let (verb, took) = ("off".to_owned(), Duration::from_millis(took));
    Step { level, verb, took, error: error.map(str::to_owned) }
}

#[test]
fn a_rung_must_break_as_it_was_made_to() {
    let hung = step(1, 4_010, Some("fence_switch: did not end in time and was killed (4000 ms)"));
    let second = step(2, 80, None);
    let wrong = |rung, steps: &[&Step]| {
        not_as_meant(rung, &steps.iter().map(|step| (*step).clone()).collect::<Vec<_>>()).len()
    };
    assert_eq!(wrong("hangs", &[&hung, &second]), 0);
    assert_eq!(wrong("lies", &[&hung, &second]), 1, "another error");
    assert_eq!(wrong("hangs", &[&hung]), 1, "nobody did it");
    assert_eq!(wrong("hangs", &[&second]), 1, "the first level was left out");
    assert_eq!(wrong("hangs", &[&step(1, 90, None)]), 2, "the first level did it");
    let long = Step { took: BUDGET * 3, ..hung.clone() };
    assert_eq!(wrong("slow", &[&long, &second]), 1, "over its budget");
    assert_eq!(wrong("late", &[&step(1, 1_600, None)]), 0);
    assert_eq!(wrong("late", &[&step(1, 100, None)]), 1, "before the plug was pulled");
    assert_eq!(wrong("late", &[&hung, &second]), 2);
}

#[test]
fn every_rung_is_known() {
    for rung in RUNGS {
        let is_late = not_as_meant(rung, &[step(1, 1_600, None)]).is_empty();
        assert_eq!(is_late, rung == "late", "{rung}");
    }
}
