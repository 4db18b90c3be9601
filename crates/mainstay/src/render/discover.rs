//! `mainstay discover`.

use super::style::{Colour, Style};
use super::table::{Cell, Table};
use crate::discover::report::Report;

/// Who is there, what works, what is in the way, and the configuration for it.
#[must_use]
pub fn discovery(report: &Report, style: Style) -> String {
    let mut text = String::new();
    if !report.authenticated {
        let word = style.paint(Colour::Odd, "not authenticated:");
        text += &format!(
            "{word} anybody on the wire may have made up what follows; build nothing on it\n\n"
        );
    }
    let mut table = Table::new(["NODE", "INTERFACE", "MTU", "ADDRESSES", "CLUSTER", ""]);
    for node in &report.nodes {
        let remark = match (node.name == report.node, node.proven) {
            (true, _) => "this machine",
            (false, true) => "",
            (false, false) => "heard only: it does not hear this machine",
        };
        let cluster = node.cluster.as_deref().unwrap_or("");
        if node.interfaces.is_empty() {
            let cells = [node.name.as_str(), "none that is up", "", "", cluster, remark];
            table.row(cells.map(Cell::from));
        }
        for (index, interface) in node.interfaces.iter().enumerate() {
            let first = index == 0;
            let addresses = interface.addresses.join(" ");
            let mtu = interface.mtu.to_string();
            let cells = [
                if first { node.name.as_str() } else { "" },
                &interface.name,
                &mtu,
                &addresses,
                if first { cluster } else { "" },
                if first { remark } else { "" },
            ];
            table.row(cells.map(Cell::from));
        }
    }
    text += &table.render(style);
    if report.nodes.len() < 2 {
        text += "\nnobody else was heard: run `mainstay discover` on the other machines at the same \
                 time (a running daemon takes part by itself), with the same --secret\n";
    }
    for finding in &report.findings {
        text += &format!("\n{}: {}\n", style.paint(Colour::Odd, "finding"), finding.text);
        text += &format!("  {} {}\n", style.paint(Colour::Head, "help:"), finding.help);
    }
    if !report.toml.is_empty() {
        text += &format!("\n{}\n", report.toml);
    }
    text
}
