//! `cargo xtask bench-addresses`: the loss of a node with very many addresses, Mainstay beside keepalived.
//!
//! Each measurement has a lab of its own: three nodes, of which one has all addresses. Its power goes, and
//! what counts is when the outside observer has heard each address announced by another node. All
//! products with the same addresses take turns; what a cluster of Mainstay has in 500 services, keepalived
//! has in one instance, the first address in its advertisements and the others `excluded` from them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::many::{self, Many, Takeover};
use lab::{Lab, Spec, clock, wait};

use super::product::{Installed, Product, demand};
use super::{keepalived, load, machine, mainstay, say, spread, versions};

const PRODUCTS: [Product; 4] = [
    Product::MainstayFast,
    Product::MainstayNormal,
    Product::KeepalivedTenth,
    Product::KeepalivedSecond,
];
/// What is asked for without arguments.
const REPETITIONS: u32 = 3;
/// Of each node, when a lab fails.
const LOG_LINES: usize = 12;
/// Until one node has all addresses.
const PATIENCE: Duration = Duration::from_secs(120);
/// For how long it must have had them.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures and prints the table; `--program PATH` is for a program that is built already.
///
/// # Errors
/// When an argument is unknown, a package is missing, something does not build, or a lab does not come up.
pub fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let (mut program, mut repetitions) = (None, REPETITIONS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
        match *argument {
            "--program" => program = Some(std::fs::canonicalize(value).context("the program")?),
            "--repetitions" => {
                repetitions = value.parse().context("--repetitions needs a number")?
            }
            other => bail!("{other} is unknown; there are --program PATH and --repetitions N"),
        }
    }
    super::check_peers()?;
    let program = program.map_or_else(|| super::build(root), Ok)?;
    let mut text = format!(
        "machine: {}\nversions: {}\nload before: {}\n\nFrom the loss of a node until each of its addresses \
         was announced by another, ms; median (least–most) of {repetitions}\n\n| addresses | product | \
         first | half | all | longest silence between those left |\n|--:|---|--:|--:|--:|--:|\n",
        machine(),
        versions(root)?,
        load()?,
    );
    for amount in [Many::SEED, Many::LIMIT] {
        let mut rows: Vec<Vec<Takeover>> = vec![Vec::new(); PRODUCTS.len()];
        for repetition in 1..=repetitions {
            for (product, row) in PRODUCTS.into_iter().zip(&mut rows) {
                let taken = measure(product, &program, amount)
                    .with_context(|| format!("{} with {}", product.title(), amount.addresses))?;
                say(&format!(
                    "{} addresses, {repetition} of {repetitions}, {}: all after {:.0} ms",
                    amount.addresses,
                    product.title(),
                    taken.last
                ));
                row.push(taken);
            }
        }
        for (product, row) in PRODUCTS.into_iter().zip(&rows) {
            let cell = |figure: fn(&Takeover) -> Option<f64>| {
                spread(&row.iter().filter_map(figure).collect::<Vec<_>>(), 0)
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                amount.addresses,
                product.title(),
                cell(|taken| Some(taken.first)),
                cell(|taken| Some(taken.half)),
                cell(|taken| Some(taken.last)),
                cell(|taken| taken.silence)
            )?;
        }
    }
    writeln!(text, "\nload after: {}", load()?)?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// A lab in a process of its own.
fn measure(product: Product, program: &Path, amount: Many) -> Result<Takeover> {
    let own = std::env::current_exe().context("finding our own program")?;
    let output = Command::new(own)
        .args(["bench-addresses-site", product.name()])
        .arg(program)
        .args([amount.services.to_string(), amount.addresses.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("starting a lab's process")?;
    ensure!(output.status.success(), "the lab failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("what the lab said")
}

/// What that process does: one loss, and a line of JSON.
///
/// # Errors
/// When a lab does not come up, or not all addresses are taken over.
pub fn serve(product: &str, program: &str, services: &str, addresses: &str) -> Result<ExitCode> {
    let product = Product::named(product)?;
    let amount = Many { services: services.parse()?, addresses: addresses.parse()? };
    lab::enter()?;
    let shape = Spec { program: Path::new(program).to_owned(), ..Spec::new(3, 2)? };
    let mut lab = Lab::new(shape)?;
    for node in lab.node_names() {
        many::furnish(&mut lab, &node)?;
    }
    install(product, amount).start(&mut lab)?;
    let owner = wait_until_settled(&mut lab, amount)?;
    let taken = many::take_over(amount, &mut lab, &owner).with_context(|| logs(&lab))?;
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&taken)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The ends of the nodes' logs.
pub(super) fn logs(lab: &Lab) -> String {
    let names = lab.node_names();
    let tails = names.iter().map(|name| {
        let tail = lab.log_tail(name, LOG_LINES).unwrap_or_default();
        format!("{name}: {}", tail.replace('\n', "\n    "))
    });
    tails.collect::<Vec<_>>().join("\n")
}

fn install(product: Product, amount: Many) -> Box<dyn Installed> {
    let many = Some(amount);
    match product {
        Product::MainstayFast => Box::new(mainstay::Mainstay { detection: "fast", many }),
        Product::MainstayNormal => Box::new(mainstay::Mainstay { detection: "normal", many }),
        Product::KeepalivedTenth => Box::new(keepalived::Keepalived { interval: "0.1", many }),
        Product::KeepalivedSecond => Box::new(keepalived::Keepalived { interval: "1", many }),
        Product::Pacemaker | Product::Corosync => unreachable!("not among PRODUCTS"),
    }
}

/// Waits until one node has had all addresses for a while; which.
fn wait_until_settled(lab: &mut Lab, amount: Many) -> Result<String> {
    let mut since: Option<(Duration, String)> = None;
    wait::until("one node to have all addresses", PATIENCE, || {
        let mut owner = None;
        for node in lab.node_names() {
            let words = ["ip", "-oneline", "-4", "address", "show", "dev", "net0"];
            let own = demand(lab, &node, &words)?;
            // Beside the node's own one.
            if own.matches(" 10.88.").count() > amount.addresses {
                owner = Some(node);
            }
        }
        since = match (since.take(), owner) {
            (Some((at, old)), Some(node)) if old == node => Some((at, old)),
            (_, Some(node)) => Some((clock::now(), node)),
            (_, None) => None,
        };
        let settled = since.clone().filter(|(at, _)| clock::now() - *at >= SETTLE);
        Ok(settled.map(|(_, node)| node))
    })
}
