//! The tables, in Markdown: medians with the smallest and the largest figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Amount;
use super::product::Product;
use super::site::{Connection, Fault, Gap};
use super::usage::Usage;

/// What is known of one product.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// What the client saw, by fault.
    pub gaps: BTreeMap<Fault, Vec<Gap>>,
    /// The cost of doing nothing, by node.
    pub idle: Vec<Usage>,
    /// Faults that could not be measured, and why.
    pub failures: Vec<(Fault, String)>,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    amount: Amount,
    head: Vec<String>,
    rows: BTreeMap<Product, Row>,
}

/// Median (smallest–largest), with so many decimals; `–` for nothing.
#[must_use]
pub fn spread(figures: &[f64], decimals: usize) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
        return "–".to_owned();
    };
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    };
    format!("{median:.decimals$} ({least:.decimals$}–{most:.decimals$})")
}

/// What became of the TCP connections.
fn connections(gaps: &[Gap]) -> String {
    let all: Vec<Connection> = gaps.iter().filter_map(|gap| gap.stream).collect();
    let pauses: Vec<f64> = all.iter().filter(|one| one.is_exact).map(|one| one.pause_ms).collect();
    match (all.len(), pauses.len()) {
        (0, _) => "–".to_owned(),
        (all, 0) => format!("broken, {all} of {all}"),
        (all, exact) => {
            format!("goes on byte-exact, {exact} of {all}, after {} ms", spread(&pauses, 0))
        }
    }
}

impl Table {
    /// An empty one, with what it is measured on.
    #[must_use]
    pub fn new(amount: Amount, machine: String, versions: String, load: String) -> Self {
        let head = vec![
            format!("machine: {machine}"),
            format!("versions: {versions}"),
            format!("load before: {load}"),
        ];
        Self { amount, head, rows: BTreeMap::new() }
    }

    /// The figures of a fault.
    pub fn add_gap(&mut self, product: Product, fault: Fault, gap: Gap) {
        let row = self.rows.entry(product).or_default();
        row.gaps.entry(fault).or_default().push(gap);
    }

    /// A fault without figures.
    pub fn add_failure(&mut self, product: Product, fault: Fault, why: &str) {
        let row = self.rows.entry(product).or_default();
        row.failures.push((fault, why.to_owned()));
    }

    /// What doing nothing cost, by node.
    pub fn add_idle(&mut self, product: Product, usages: Vec<Usage>) {
        self.rows.entry(product).or_default().idle = usages;
    }

    /// The end of the run.
    pub fn finish(&mut self, load: String, length: Duration) {
        self.head.push(format!("load after: {load} (six clusters of this run included)"));
        self.head.push(format!("length: {} s", length.as_secs()));
    }

    /// Whether every product has all its figures.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.rows.values().all(|row| row.failures.is_empty())
    }

    /// Everything.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text: String = self.head.iter().map(|line| format!("{line}\n")).collect();
        text += &self.gaps();
        text += &self.idle();
        for (product, row) in &self.rows {
            for (fault, why) in &row.failures {
                writeln!(text, "\n{}, {}: failed: {why}", product.title(), fault.name())
                    .expect("writing to a string");
            }
        }
        text
    }

    fn gaps(&self) -> String {
        let mut text = format!(
            "\nOutage seen by the client, ms; median (least–most) of {}\n\n\
             | product | all networks of the active node cut | one of its cables pulled | graceful move \
             | a TCP connection over the cable | late answers |\n|---|--:|--:|--:|---|--:|\n",
            self.amount.repetitions
        );
        for (product, row) in self.rows.iter().filter(|(product, _)| product.has_address()) {
            let figures =
                |fault: Fault| -> &[Gap] { row.gaps.get(&fault).map_or(&[], |gaps| gaps) };
            let cell = |fault: Fault| {
                let gaps = figures(fault);
                let list: Vec<f64> = gaps.iter().map(|gap| gap.milliseconds).collect();
                let mut cell = spread(&list, 0);
                if list.len() != self.amount.repetitions as usize {
                    cell += &format!(", only {} measured", list.len());
                }
                let stayed = gaps.iter().filter(|gap| gap.from == gap.to).count();
                if stayed > 0 {
                    cell += if stayed == gaps.len() {
                        ", same node"
                    } else {
                        ", some on the same node"
                    };
                }
                let again = gaps.iter().filter(|gap| gap.again > 0).count();
                if again > 0 {
                    cell += &format!(", {again} times it moved again after the repair");
                }
                cell
            };
            let late: u64 = row.gaps.values().flatten().map(|gap| gap.late).sum();
            let [cut, cable, wished] = [Fault::Cut, Fault::Cable, Fault::Move].map(cell);
            let stream = connections(figures(Fault::Cable));
            writeln!(
                text,
                "| {} | {cut} | {cable} | {wished} | {stream} | {late} |",
                product.title()
            )
            .expect("writing to a string");
        }
        text
    }

    fn idle(&self) -> String {
        let seconds = f64::from(self.amount.idle);
        let mut text = format!(
            "\nOne node without anything to do, measured for {seconds} s; median (least–most) of \
             its 3 nodes\n\n| product | processor time, s per 60 s | memory, MiB | sum of resident \
             sizes, MiB | processes |\n|---|--:|--:|--:|--:|\n"
        );
        for (product, row) in &self.rows {
            let cell = |decimals: usize, figure: fn(&Usage) -> f64| {
                spread(&row.idle.iter().map(figure).collect::<Vec<f64>>(), decimals)
            };
            let time: Vec<f64> =
                row.idle.iter().map(|usage| usage.seconds * 60.0 / seconds).collect();
            writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                product.title(),
                spread(&time, 2),
                cell(1, |usage| usage.memory as f64 / 1024.0),
                cell(1, |usage| usage.resident as f64 / 1024.0),
                row.idle.iter().map(|usage| usage.processes).max().unwrap_or(0),
            )
            .expect("writing to a string");
        }
        text
    }
}

#[cfg(test)]
mod tests;
