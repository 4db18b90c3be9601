use super::*;

#[test]
fn a_node_that_returns_often_may_take_longer_but_not_for_ever() {
    let fence_wait = Duration::from_millis(900);
    let base = 2 * fence_wait + Duration::from_secs(5 + 10 + 5);
    assert_eq!(limit(fence_wait, 0), base + HOLD);
    assert_eq!(limit(fence_wait, 1), base + HOLD);
    assert_eq!(limit(fence_wait, 2), base + 2 * HOLD);
    assert_eq!(limit(fence_wait, 5), base + 16 * HOLD);
    assert_eq!(limit(fence_wait, 9), PATIENCE);
    assert_eq!(limit(fence_wait, 1_000), PATIENCE);
}
