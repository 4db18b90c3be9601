//! The arithmetic, and that nothing missing looks like a figure.

use super::*;

fn gap(milliseconds: f64) -> Gap {
    Gap { milliseconds, from: "n1".into(), to: "n2".into(), late: 0, again: 0, stream: None }
}

fn table(repetitions: u32) -> Table {
    let amount = Amount { repetitions, idle: 30 };
    Table::new(amount, "a machine".into(), "versions".into(), "0.1 0.2 0.3".into())
}

#[test]
fn medians() {
    assert_eq!(spread(&[5.0, 1.0, 9.0], 0), "5 (1–9)");
    assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0], 1), "3.0 (1.0–9.0)");
    assert_eq!(spread(&[], 0), "–");
}

#[test]
fn a_whole_table() {
    let mut table = table(2);
    for milliseconds in [700.0, 800.0] {
        table.add_gap(Product::MainstayFast, Fault::Cut, gap(milliseconds));
        table.add_gap(Product::MainstayFast, Fault::Move, gap(20.0));
        let stream = Some(Connection { is_exact: true, pause_ms: milliseconds - 500.0 });
        let stays = Gap { to: "n1".into(), stream, ..gap(150.0) };
        table.add_gap(Product::MainstayFast, Fault::Cable, stays);
    }
    let usage = Usage { processes: 2, seconds: 0.5, memory: 2048, resident: 4096 };
    table.add_idle(Product::MainstayFast, vec![usage]);
    let text = table.text();
    assert!(table.is_complete());
    assert!(
        text.contains(
            "| 750 (700–800) | 150 (150–150), same node | 20 (20–20) | goes on byte-exact, 2 of 2, after 250 \
             (200–300) ms | 0 |\n"
        ),
        "{text}"
    );
    let idle = "| Mainstay, `fast` | 1.00 (1.00–1.00) | 2.0 (2.0–2.0) | 4.0 (4.0–4.0) | 2 |\n";
    assert!(text.contains(idle), "{text}");
}

#[test]
fn a_connection_that_breaks_is_counted() {
    let mut table = table(2);
    for (product, exact) in [(Product::MainstayFast, 1), (Product::Pacemaker, 0)] {
        for at in 0..2 {
            let stream = Some(Connection { is_exact: at < exact, pause_ms: 207.0 });
            table.add_gap(product, Fault::Cable, Gap { stream, ..gap(150.0) });
        }
    }
    let text = table.text();
    assert!(text.contains("| goes on byte-exact, 1 of 2, after 207 (207–207) ms | 0 |"), "{text}");
    assert!(text.contains("| broken, 2 of 2 | 0 |"), "{text}");
}

#[test]
fn what_is_missing_is_said() {
    let mut table = table(5);
    table.add_gap(Product::Pacemaker, Fault::Cut, gap(8000.0));
    table.add_failure(Product::Pacemaker, Fault::Move, "it did not move");
    let text = table.text();
    assert!(!table.is_complete());
    assert!(text.contains("8000 (8000–8000), only 1 measured"), "{text}");
    assert!(text.contains("defaults, graceful move: failed: it did not move"), "{text}");
}
