use super::*;

#[test]
fn real_time_is_the_inverse_of_local_time() {
    for rate in [-RATE_ERROR_MAX, -17, 0, 3, RATE_ERROR_MAX] {
        let clock = Clock::new(5_000_000_000, 77_000_000_000, rate);
        for after in [0, 1, 999, 1_000, 123_456_789, 60_000_000_000] {
            let local = clock.local(5_000_000_000 + after);
            let real = clock.real(local);
            assert!(clock.local(real) >= local, "not too early");
            assert!(real <= 5_000_000_000 + after + 1_000, "and at most a microsecond late");
        }
    }
}
