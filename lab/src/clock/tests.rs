use super::*;

#[test]
fn a_stop_between_the_clocks_moves_no_stamp() {
    let micros = Duration::from_micros;
    // Our clock is one second behind the wall's; what was received 100 us ago.
    let quick = (micros(5_000), micros(1_005_001), micros(5_002));
    let stopped = (micros(4_000), micros(1_304_000), micros(304_002));
    let stamp = micros(1_004_901);
    for readings in [vec![quick], vec![stopped, quick], vec![stopped, stopped, quick]] {
        assert_eq!(on_our_clock(stamp, readings.into_iter()), micros(4_901));
    }
    // Never undisturbed: half of the shortest reading at most.
    let longer = (micros(4_900), micros(1_004_950), micros(5_000));
    let found = on_our_clock(stamp, [stopped, longer].into_iter());
    assert_eq!(found, micros(4_901));
}
