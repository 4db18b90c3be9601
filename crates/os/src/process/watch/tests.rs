//! Work that waits, played by a channel.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_millis(200);

#[test]
fn who_has_much_to_do_is_waited_for() {
    let work = |watch: &Watch| {
        watch.step(4_000_003)?;
        let until = crate::clock::boottime() + 3 * PATIENCE;
        while crate::clock::boottime() < until {
            std::hint::spin_loop();
        }
        Ok(watch.step(0).is_ok())
    };
    assert!(matches!(watched(PATIENCE, work), Ok(Ended::Told(true))));
}

#[test]
fn who_gets_on_is_waited_for_and_who_does_not_is_named() {
    let work = |watch: &Watch| {
        let (_kept, never) = channel::<()>();
        for pid in 1..=30 {
            watch.step(pid)?;
            let _time = never.recv_timeout(PATIENCE / 10);
        }
        Ok(7)
    };
    // Three times as long as anybody waits for one process.
    assert!(matches!(watched(PATIENCE, work), Ok(Ended::Told(7))));

    let (release, held) = channel::<()>();
    let (tell, told) = channel();
    let ended = watched(PATIENCE, move |watch: &Watch| {
        watch.step(4_000_001)?;
        let _released = held.recv();
        let stepped = watch.step(4_000_002);
        tell.send(stepped.is_err()).expect("the test listens");
        Ok(())
    });
    let Ok(Ended::Waits(silent)) = ended else { panic!("it hangs") };
    assert_eq!(silent.pid, 4_000_001);
    let text = silent.error().to_string();
    assert!(text.starts_with("process 4000001 does not answer"), "{text}");
    let is_known = || super::silent().iter().any(|silent| silent.pid == 4_000_001);
    assert!(is_known(), "those that come later pass it by");
    drop(release);
    assert!(told.recv().expect("it goes on"), "and has nothing to go on for");
    while is_known() {
        std::thread::yield_now();
    }
}
