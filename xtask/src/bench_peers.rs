//! `cargo xtask bench-peers`: Mainstay beside keepalived and Corosync with Pacemaker, in one run.
//!
//! Figures of different products only mean something beside each other: the same machine, the same
//! minutes, the same question. So every product gets a lab of its own (three nodes, two networks, an
//! outside client; see the crate `lab`), all labs stay up for the whole run, and the repetitions take
//! turns: first one fault on each product, then the next. The question is always the client's: it
//! asks 10.77.0.100 every 5 ms, and what counts is the time from the last answer before the fault to
//! the first one after it. Who answers is the same program everywhere; it runs on all nodes
//! from the beginning, and only the address moves.
//!
//! Each lab lives in a process of its own (`bench-peers-site`), because a lab is a process with its
//! own namespaces; this process tells them in turn what to do and collects the answers, a line of
//! JSON each. The peers come from Debian's packages and run with the configurations that stand in
//! full in `keepalived.rs` and `corosync.rs`; `docs/reference/figures.md` has a run's result.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lab::clock;

mod addresses;
mod corosync;
mod keepalived;
mod mainstay;
mod memory;
mod product;
mod report;
mod site;
mod usage;

pub use addresses::{run as run_addresses, serve as serve_addresses};
pub use product::Product;
pub use report::{Row, Table, spread};
pub use site::{Answer, Fault, Gap, Order, serve};
pub use usage::Usage;

/// How many repetitions of each fault, and for how many seconds nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Of each fault on each product.
    pub repetitions: u32,
    /// Length of the idle measurement, seconds.
    pub idle: u32,
}

/// What is asked for without arguments.
pub const FULL: Amount = Amount { repetitions: 5, idle: 60 };
/// What `--quick` asks for: enough to see that everything works.
pub const QUICK: Amount = Amount { repetitions: 1, idle: 10 };

/// The programs that must be there, and the packages of Debian 12 that have them.
const NEEDED: [(&str, &str); 6] = [
    ("keepalived", "keepalived"),
    ("corosync", "corosync"),
    ("pacemakerd", "pacemaker"),
    ("crm_mon", "pacemaker-cli-utils"),
    ("/usr/lib/ocf/resource.d/heartbeat/IPaddr2", "resource-agents"),
    ("ip", "iproute2"),
];

/// Reads the arguments after `bench-peers`.
///
/// # Errors
/// When one is unknown or no number.
pub fn amount(arguments: &[&str]) -> Result<Amount> {
    let mut amount = FULL;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--quick" => amount = QUICK,
            "--repetitions" => {
                let number = rest.next().context("--repetitions needs a number")?;
                amount.repetitions = number.parse().context("--repetitions needs a number")?;
            }
            other => bail!("{other} is unknown; there are --quick and --repetitions N"),
        }
    }
    ensure!(amount.repetitions > 0, "nothing to do: --repetitions 0");
    Ok(amount)
}

/// Measures and prints the tables.
///
/// # Errors
/// When a package is missing, something does not build, or a product's lab does not come up.
pub fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let amount = amount(arguments)?;
    check_peers()?;
    let versions = versions(root)?;
    let program = build(root)?;
    let mut table = Table::new(amount, machine(), versions, load()?);
    let begin = clock::now();
    say("starting six clusters");
    let mut sites = start(&program)?;
    say(&format!("all formed; now {} s of nothing", amount.idle));
    measure_idle(&mut sites, &mut table, amount.idle)?;
    for repetition in 1..=amount.repetitions {
        say(&format!("repetition {repetition} of {}", amount.repetitions));
        for site in &mut sites {
            for fault in [Fault::Cut, Fault::Cable, Fault::Move] {
                site.measure(fault, &mut table)?;
            }
        }
    }
    table.finish(load()?, clock::now() - begin);
    print!("{}", table.text());
    Ok(if table.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(text: &str) {
    eprintln!("bench-peers: {text}");
}

/// Are the peers there, and may we start them?
fn check_peers() -> Result<()> {
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| package)
        .collect();
    ensure!(
        missing.is_empty(),
        "not installed: {}\n  remedy: apt-get install -y --no-install-recommends {}",
        missing.join(" "),
        NEEDED.map(|(_, package)| package).join(" ")
    );
    let id = Command::new("id").arg("-u").output().context("run id")?;
    let is_root = String::from_utf8_lossy(&id.stdout).trim() == "0";
    ensure!(is_root, "Pacemaker's daemons run as a user of their own: start this as root (sudo)");
    Ok(())
}

fn find(program: &str) -> Option<PathBuf> {
    // Debian does not have these in everybody's PATH.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// Builds the program as it ships, and says where it is.
fn build(root: &Path) -> Result<PathBuf> {
    say("building Mainstay");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", "mainstay"]);
    cargo.arg("--message-format=json-render-diagnostics").current_dir(root);
    let output = cargo.stderr(Stdio::inherit()).output().context("run cargo")?;
    ensure!(output.status.success(), "Mainstay does not build");
    let text = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let executable = text.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "mainstay").then_some(())?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.context("cargo did not say where the program is")
}

/// One product's lab, in its own process.
struct Site {
    product: Product,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// It failed once: what it measures from then on would be about that.
    failed: bool,
}

fn start(program: &Path) -> Result<Vec<Site>> {
    let mut sites = Product::ALL
        .into_iter()
        .map(|product| Site::start(product, program))
        .collect::<Result<Vec<_>>>()?;
    for site in &mut sites {
        match site.hear()? {
            Answer::Ready { seconds } => {
                say(&format!("{}: formed after {seconds:.1} s", site.product.title()));
            }
            other => bail!("{}: {other:?}", site.product.title()),
        }
    }
    Ok(sites)
}

fn measure_idle(sites: &mut [Site], table: &mut Table, seconds: u32) -> Result<()> {
    for site in sites.iter_mut() {
        site.tell(Order::Idle { seconds })?;
    }
    for site in sites {
        match site.hear()? {
            Answer::Idle(usages) => table.add_idle(site.product, usages),
            other => bail!("{}: {other:?}", site.product.title()),
        }
    }
    Ok(())
}

impl Site {
    fn start(product: Product, program: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("finding our own program")?;
        let mut command = Command::new(own);
        command.arg("bench-peers-site").arg(product.name()).arg(program);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a lab's process")?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("a pipe was asked for")?;
        Ok(Self { product, child, orders, answers: BufReader::new(answers), failed: false })
    }

    fn tell(&mut self, order: Order) -> Result<()> {
        let mut line = serde_json::to_string(&order)?;
        line.push('\n');
        let orders = self.orders.as_mut().context("orders go to a running lab")?;
        orders.write_all(line.as_bytes()).context("telling a lab what to do")
    }

    fn hear(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hearing from a lab")?;
        ensure!(!line.is_empty(), "the lab of {} has ended", self.product.title());
        serde_json::from_str(&line).with_context(|| format!("a lab said {line}"))
    }

    /// One fault. A product that fails keeps the figures it has, and gets no further orders.
    fn measure(&mut self, fault: Fault, table: &mut Table) -> Result<()> {
        if self.failed || !self.product.has_address() {
            return Ok(());
        }
        self.tell(Order::Measure { fault })?;
        let (title, name) = (self.product.title(), fault.name());
        match self.hear()? {
            Answer::Gap(gap) => {
                say(&format!("  {title}, {name}: {}", gap.sentence()));
                table.add_gap(self.product, fault, gap);
            }
            Answer::Failed { why } => {
                say(&format!("  {title}, {name}: failed: {why}"));
                table.add_failure(self.product, fault, &why);
                self.failed = true;
            }
            other => bail!("{title}: {other:?}"),
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The end of its orders is the end of the lab, which takes everything in it along.
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// What it ran on: processor, memory, kernel, system.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
        line.unwrap_or_default().trim_matches([' ', '\t', ':', '=', '"']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 20;
    format!(
        "{} ({cores} cores), {memory} GiB, Linux {}, {}",
        after(&read("/proc/cpuinfo"), "model name"),
        read("/proc/sys/kernel/osrelease").trim(),
        after(&read("/etc/os-release"), "PRETTY_NAME")
    )
}

/// Of Mainstay from git, of the peers from the packages.
fn versions(root: &Path) -> Result<String> {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .current_dir(root)
        .output()
        .context("run git")?;
    let mut list = vec![format!("mainstay {}", String::from_utf8_lossy(&git.stdout).trim())];
    let packages = NEEDED.map(|(_, package)| package).into_iter();
    let query = Command::new("dpkg-query")
        .args(["-W", "-f=${Package} ${Version}\\n"])
        .args(packages.filter(|package| *package != "iproute2"))
        .output()
        .context("run dpkg-query")?;
    list.extend(String::from_utf8_lossy(&query.stdout).lines().map(str::to_owned));
    Ok(list.join(", "))
}

/// The load of the last minute, five and fifteen minutes (`proc_loadavg(5)`).
fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("reading the load")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
