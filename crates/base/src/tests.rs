use core::time::Duration;

use crate::{Incarnation, Instant, Member, NodeId, NodeSet, Preset, Prng, View, codec};

#[test]
fn every_preset_keeps_its_own_constraints() {
    for preset in Preset::ALL {
        preset.timing().check().unwrap_or_else(|error| panic!("{}: {error}", preset.name()));
        assert_eq!(Preset::named(preset.name()), Some(preset));
    }
}

#[test]
fn the_fence_wait_covers_lease_release_and_both_clocks() {
    let wait = |preset: Preset| preset.timing().fence_wait().as_millis();
    assert_eq!(wait(Preset::Ultra), 323);
    assert_eq!(wait(Preset::Fast), 878);
    assert_eq!(wait(Preset::Normal), 2_949);
    assert_eq!(wait(Preset::Classic), 21_230);
}

#[test]
fn a_watchdog_is_waited_for_with_the_age_of_what_it_was_fed_on() {
    let wait = |preset: Preset, seconds| {
        preset.timing().storage_fence_wait(Duration::from_secs(seconds)).as_micros()
    };
    // (w + L / 2) · 1.01 + 20 ms.
    assert_eq!(wait(Preset::Fast, 5), (5_000_000 + 375_000) * 101 / 100 + 20_000);
    assert_eq!(wait(Preset::Normal, 10), (10_000_000 + 1_200_000) * 101 / 100 + 20_000);
    assert_eq!(wait(Preset::Classic, 30), (30_000_000 + 9_500_000) * 101 / 100 + 20_000);
}

#[test]
fn who_only_loses_the_lease_is_not_reset() {
    for preset in Preset::ALL {
        let timing = preset.timing();
        assert!(timing.watchdog_min() > timing.lease + timing.release, "{}", preset.name());
    }
    assert_eq!(Preset::Fast.timing().watchdog_min(), Duration::from_secs(1));
    assert_eq!(Preset::Normal.timing().watchdog_min(), Duration::from_secs(3));
    assert_eq!(Preset::Classic.timing().watchdog_min(), Duration::from_secs(22));
}

#[test]
fn a_lease_shorter_than_a_view_change_is_refused() {
    let mut timing = Preset::Normal.timing();
    timing.lease = Duration::from_secs(2);
    let error = timing.check().expect_err("one lost node would end everybody's lease");
    assert!(error.rule.starts_with("lease"), "{error}");
}

#[test]
fn a_child_generator_does_not_depend_on_earlier_draws() {
    let mut parent = Prng::new(7);
    let before = parent.child("backoff").next_u64();
    parent.next_u64();
    assert_eq!(parent.child("backoff").next_u64(), before);
    assert_ne!(parent.child("other").next_u64(), before);
}

#[test]
fn draws_stay_in_their_range() {
    let mut prng = Prng::new(1);
    for _ in 0..1_000 {
        assert!((3..=9).contains(&prng.range(3..=9)));
    }
    assert_eq!(prng.range(5..=5), 5);
    assert!(!prng.chance(0, 10));
    assert!(prng.chance(10, 10));
}

#[test]
fn node_sets_iterate_in_order_and_survive_the_wire() {
    let set: NodeSet = [NodeId(127), NodeId(0), NodeId(5)].into_iter().collect();
    assert_eq!(set.into_iter().collect::<Vec<_>>(), [NodeId(0), NodeId(5), NodeId(127)]);
    assert_eq!(codec::decode::<NodeSet>(&codec::encode(&set)), Ok(set));
}

#[test]
fn trailing_bytes_are_refused() {
    let member = Member { node: NodeId(1), incarnation: Incarnation(9) };
    let view = View {
        lineage: 1,
        generation: 2,
        members: vec![member],
        hub: NodeId(1),
        tie: crate::Tie::None,
    };
    let mut bytes = codec::encode(&view);
    assert_eq!(codec::decode::<View>(&bytes), Ok(view));
    bytes.push(0);
    assert_eq!(codec::decode::<View>(&bytes), Err(codec::Malformed));
}

#[test]
fn time_never_runs_below_zero() {
    assert_eq!(Instant::ZERO.minus(Duration::from_secs(1)), Instant::ZERO);
    assert_eq!(Instant::ZERO.since(Instant::FAR), Duration::ZERO);
    assert_eq!(Instant::from_millis(1_500).to_string(), "1.500000");
}
