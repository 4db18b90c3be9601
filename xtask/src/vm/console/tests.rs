use std::time::Duration;

use super::{Console, Line, Span};

/// The lines of a console of which a byte came every microsecond.
fn lines(text: &str) -> Vec<Line> {
    let came = |length| {
        let by = Duration::from_micros(length);
        Ok(Span { after: by.saturating_sub(Duration::from_micros(1)), by })
    };
    super::lines(text.as_bytes(), came).expect("all of it came")
}

#[test]
fn stamps_and_escapes_are_taken_off() {
    let text = "\u{1b}c\u{1b}[?7l\u{1b}[2J[    0.000000] Linux version 6.1\r\n\
        [   12.345678] softdog: Initiating system reboot\r\nplain [1.5] words\r\nhalf a li";
    let lines = lines(text);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        ["Linux version 6.1", "softdog: Initiating system reboot", "plain [1.5] words"]
    );
    let stamps: Vec<Option<u64>> = lines.iter().map(|line| line.stamp).collect();
    assert_eq!(stamps, [Some(0), Some(12_345_678), None]);
    assert_eq!(lines[1].whole, "[   12.345678] softdog: Initiating system reboot");
    // With its end: what is half there has not come.
    let ends = text.match_indices('\n').map(|(at, _)| Duration::from_micros(at as u64 + 1));
    assert_eq!(lines.iter().map(|line| line.came.by).collect::<Vec<_>>(), ends.collect::<Vec<_>>());
}

#[test]
fn bytes_that_are_no_text_shift_no_arrival() {
    let came = |length| {
        let by = Duration::from_micros(length);
        Ok(Span { after: by, by })
    };
    let found = super::lines(b"\xff\xfe\n-\n", came).expect("all of it came");
    assert_eq!(found[1].came.by, Duration::from_micros(5));
}

#[test]
fn what_is_no_stamp_stays() {
    for odd in ["[  1.23] x", "[ 1.2345678] x", "[a.000000] x", "[1.000000]x", "[", ""] {
        let found = lines(&format!("{odd}\n-\n"));
        assert_eq!((found[0].stamp, found[0].text.as_str()), (None, odd));
    }
    let huge = format!("[{}.000000] x", u64::MAX);
    assert_eq!(lines(&format!("{huge}\n"))[0].stamp, None);
}

#[test]
fn lines_are_found_from_a_place_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let console = Console::new(directory.path().join("console")).expect("it is watched");
    assert_eq!(console.count("boot").expect("nothing yet"), 0);
    std::fs::write(console.path(), "boot 1\r\nother\r\nboot 2\r\nboot").expect("it is written");
    assert_eq!(console.count("boot").expect("it is there"), 2);
    let second = console.find("boot", 1).expect("it is there").expect("found");
    assert_eq!(second.text, "boot 2");
    assert!(second.came.after <= second.came.by && second.came.by <= lab::clock::now());
    assert_eq!(console.tail(2), "    | other\n    | boot 2\n");
}
