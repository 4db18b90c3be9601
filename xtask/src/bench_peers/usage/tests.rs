//! Lines as the kernel writes them.

use super::parse;

#[test]
fn processor_time_of_a_process_and_its_children() {
    let line = "77 (a) R 9) S 1 77 77 0 -1 4194560 900 0 0 0 20 5 300 7 20 0 3 0 555 1 2";
    assert_eq!(parse(line), Some(20 + 5 + 300 + 7));
    assert_eq!(parse("77 (short) S 1 77 77"), None);
}
