//! `cargo xtask sim`: runs seeds until one breaks a rule, or all are through.
//!
//! Exit code 0: nothing found; 1: an assertion failed; 2: a safety rule was broken; 3: a liveness
//! rule was broken; 64: usage.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use sim::{Kind, Mix, Options, Outcome, Severity, Totals, shrink};

const CRASHED: u8 = 1;
const UNSAFE: u8 = 2;
const STUCK: u8 = 3;
const USAGE: u8 = 64;
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Simulates whole clusters, one per seed, and looks for broken rules.
#[derive(Parser, Debug)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them; decimal, or hexadecimal after 0x.
    #[arg(long, default_value = "1", value_parser = seed)]
    first_seed: u64,
    /// How many nodes, as in 3 or 2..7.
    #[arg(long, default_value = "2..7")]
    nodes: String,
    /// Threads; one per core when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Print one line per event.
    #[arg(long)]
    trace: bool,
    /// Kinds of faults to leave out, with commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Of the single faults of a run only those with these numbers, with commas; or none.
    #[arg(long)]
    only: Option<String>,
    /// Go on after a broken rule, and list all seeds that break one.
    #[arg(long)]
    keep_going: bool,
    /// Do not look for a smaller run that fails as well.
    #[arg(long)]
    no_shrink: bool,
}

thread_local! {
    /// What this thread is running.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

fn seed(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

fn options(arguments: &Arguments) -> Result<Options> {
    let number = |text: &str| text.trim().parse::<u64>().with_context(|| format!("nodes: {text}"));
    let nodes = match arguments.nodes.split_once("..") {
        Some((low, high)) => number(low)?..=number(high.trim_start_matches('='))?,
        None => number(&arguments.nodes)?..=number(&arguments.nodes)?,
    };
    ensure!(*nodes.start() >= 1 && nodes.end() <= &9 && !nodes.is_empty(), "nodes: 1 to 9");
    let mut without = Mix::default();
    for name in &arguments.without {
        match Kind::named(name) {
            Some(kind) => without = without.with(kind),
            None => bail!("there is no kind of fault {name}"),
        }
    }
    let only = match arguments.only.as_deref() {
        None => None,
        Some("none") => Some(Vec::new()),
        Some(numbers) => Some(
            numbers
                .split(',')
                .map(|number| number.parse().with_context(|| format!("only: {number}")))
                .collect::<Result<Vec<usize>>>()?,
        ),
    };
    Ok(Options { nodes, without, only, trace: arguments.trace })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = match options(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    report_crashes(options.clone(), !arguments.no_shrink);
    let found = search(&arguments, &options);
    let Some((seed, outcome)) = found.first() else { return ExitCode::SUCCESS };
    let violation = outcome.violation.as_ref().expect("only failures are kept");
    let code = match violation.severity {
        Severity::Safety => UNSAFE,
        Severity::Liveness => STUCK,
    };
    println!("seed {seed}: {violation}");
    advise(*seed, &options, code, !arguments.no_shrink);
    ExitCode::from(code)
}

/// Prints how to see the failure again.
fn advise(seed: u64, options: &Options, code: u8, smaller: bool) {
    let shown = |options: &Options| {
        format!("cargo xtask sim {} --trace", shrink::arguments(seed, options).join(" "))
    };
    println!("replay: {}", shown(options));
    if smaller {
        let less = shrink::shrink(seed, options, i32::from(code));
        println!("smaller: {}", shown(&less));
    }
}

/// A failed assertion names its seed, and is made smaller like any other failure.
fn report_crashes(options: Options, smaller: bool) {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        standard(panic);
        if let Some(seed) = RUNNING.get() {
            println!("seed {seed}: CRASH: {panic}");
            advise(seed, &options, CRASHED, smaller);
        }
        std::process::exit(i32::from(CRASHED));
    }));
}

/// Runs all seeds on all threads; the failures in the order of their seeds.
fn search(arguments: &Arguments, options: &Options) -> Vec<(u64, Outcome)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.trace { 1 } else { arguments.threads.unwrap_or(cores).max(1) };
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let found = Mutex::new(Vec::new());
    let started = clock();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.seeds {
                        break;
                    }
                    let seed = arguments.first_seed.wrapping_add(number);
                    RUNNING.set(Some(seed));
                    let outcome = sim::run(seed, options);
                    RUNNING.set(None);
                    totals.lock().expect("no thread panics").add(&outcome.totals);
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Some(violation) = &outcome.violation {
                        if arguments.keep_going {
                            println!("seed {seed}: {violation}");
                        } else {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        found.lock().expect("no thread panics").push((seed, outcome));
                    }
                }
            });
        }
        let watch = scope.spawn(|| {
            let mut said = started;
            loop {
                std::thread::park_timeout(Duration::from_millis(20));
                let count = done.load(Ordering::Relaxed);
                let working = next.load(Ordering::Relaxed).min(arguments.seeds) > count;
                if (count >= arguments.seeds || is_over.load(Ordering::Relaxed)) && !working {
                    return;
                }
                if is_over.load(Ordering::Relaxed) && clock() - said > PROGRESS {
                    return;
                }
                if clock() - said >= PROGRESS {
                    said = clock();
                    let rate = count as u128 * 1_000_000 / (said - started).as_micros().max(1);
                    eprintln!("{count} of {} seeds, {rate}/s", arguments.seeds);
                }
            }
        });
        drop(watch);
    });
    let totals = totals.into_inner().expect("no thread panics");
    if !options.trace {
        summarise(&totals, clock() - started);
    }
    let mut found = found.into_inner().expect("no thread panics");
    found.sort_by_key(|(seed, _)| *seed);
    found
}

fn summarise(totals: &Totals, took: Duration) {
    let rate = |count: u64| u128::from(count) * 1_000_000 / took.as_micros().max(1);
    let Totals { runs, time, views, failovers, datagrams, faults, turns, entries } = totals;
    println!(
        "{runs} seeds in {}.{:01} s, {} seeds/s; {} simulated seconds, {views} views, \
         {failovers} failovers, {entries} entries, {faults} faults, {datagrams} datagrams, \
         {turns} turns",
        took.as_secs(),
        took.subsec_millis() / 100,
        rate(*runs),
        time / 1_000_000_000,
    );
}

/// This machine's time: what a simulated world has no use for.
fn clock() -> std::time::Instant {
    #[expect(clippy::disallowed_methods, reason = "seeds per second are about this machine's time")]
    std::time::Instant::now()
}
