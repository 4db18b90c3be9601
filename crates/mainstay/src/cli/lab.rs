//! `mainstay lab`: real daemons on machines that only exist inside this process.

use std::io::Write;
use std::time::Duration;

use lab::scenarios::{self, Scenario};
use lab::ties::{self, Kill};
use lab::torture::Order;
use lab::{Cluster, Lab, Spec, Tie};

use super::arguments::LabCommand;
use super::{Context, Done, EXIT_DEGRADED, Failure};

pub(super) fn lab(context: &Context, command: LabCommand) -> Done {
    match command {
        LabCommand::Demo { detection } => demo(context, &detection),
        LabCommand::Shell {
            nodes,
            networks,
            ethernet,
            disk,
            line,
            standbys,
            detection,
            command,
        } => {
            check_detection(&detection)?;
            let lines = line.iter().map(|text| parse_line(text)).collect::<Result<_, _>>()?;
            lab::enter()?;
            let spec = Spec { ethernet, disk, lines, standbys, ..Spec::new(nodes, networks)? };
            let mut lab = Lab::new(spec)?;
            lab.write_cluster(&Cluster::demo(&lab, &detection)?)?;
            lab.prepare_disk()?;
            lab.start_all()?;
            if command.is_empty() {
                context.output.print(&welcome(&lab))?;
            }
            let code = lab.shell(&command)?;
            Ok(u8::try_from(code).unwrap_or(EXIT_DEGRADED))
        }
        LabCommand::Scenario { name, times, seconds, detection } => {
            scenario(context, name.as_deref(), (times, seconds), &detection)
        }
        LabCommand::Ties { tie, times, kill, sweep, gateway, detection } => {
            check_detection(&detection)?;
            let tie = Tie::named(&tie).expect("the words are those of the lab");
            let kill = match (kill, sweep) {
                (_, true) => Kill::Sweep,
                (true, false) => Kill::Random,
                (false, false) => Kill::Never,
            };
            if gateway && matches!(tie, Tie::Manual | Tie::None) {
                return Err(Failure::usage(
                    format!("with {} it does not matter what a node reaches", tie.name()),
                    "--gateway goes with a disk, a witness, an etcd or three",
                ));
            }
            if kill != Kill::Never && matches!(tie, Tie::Manual | Tie::None) {
                return Err(Failure::usage(
                    format!("a tie-breaker of kind {} cannot be killed", tie.name()),
                    "--kill and --sweep go with a disk, a witness, an etcd or three",
                ));
            }
            ties(context, &ties::Order { tie, times, detection, kill, gateway })
        }
        LabCommand::Torture { seed, steps, first, blows, nodes, tie, detection } => {
            check_detection(&detection)?;
            let tie = Tie::named(&tie).expect("the words are those of the lab");
            torture(context, &Order { seed, first, steps, blows, nodes, tie, detection })
        }
        LabCommand::Scale { nodes, monitor, seconds, detection, alone } => {
            let presets = detection.iter().map(|name| interval(name)).collect::<Result<_, _>>()?;
            let length = Duration::from_secs(seconds.into());
            let sizes = nodes;
            let monitors = monitor;
            scale(
                context,
                &lab::scale::Order { sizes, presets, monitors, length, corosync: !alone },
            )
        }
        LabCommand::Responder { name, port, stamps } => {
            lab::responder::run(name.as_deref(), port, stamps.as_deref())?;
            Ok(0)
        }
        LabCommand::Fault(words) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if lab::control::Command::parse(&words).is_err() {
                return Err(Failure::usage(
                    format!("there is no fault \"{}\"", words.join(" ")),
                    format!("in the shell of `mainstay lab shell`:\n{}", lab::control::USAGE),
                ));
            }
            let answer = lab::control::send(&words)?;
            context.output.print(&format!("{answer}\n"))?;
            Ok(0)
        }
    }
}

/// `n1-n2`
fn parse_line(text: &str) -> Result<(u8, u8), Failure> {
    let number = |name: &str| name.strip_prefix('n')?.parse().ok();
    let ends = text.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?)));
    ends.ok_or_else(|| {
        Failure::usage(format!("\"{text}\" is no serial line"), "a line is n1-n2".to_owned())
    })
}

/// A preset and its heartbeat interval.
fn interval(detection: &str) -> Result<(String, Duration), Failure> {
    check_detection(detection)?;
    let preset = base::Preset::ALL.into_iter().find(|preset| preset.name() == detection);
    let preset = preset.expect("it was checked");
    Ok((detection.to_owned(), preset.timing().heartbeat_high))
}

fn scale(context: &Context, order: &lab::scale::Order) -> Done {
    lab::enter()?;
    let rows = if context.output.is_json() {
        let rows = lab::scale::measure(order, &mut std::io::sink())?;
        context.output.json(&rows)?;
        rows
    } else {
        lab::scale::measure(order, &mut std::io::stdout().lock())?
    };
    // A preset that does not hold is a figure; a size at which none does is not good enough.
    let holds = |size: &u8| {
        let rows = rows.iter().filter(|row| row.product == "mainstay" && row.nodes == *size);
        { rows }.any(|row| row.failure.is_none())
    };
    Ok(if order.sizes.iter().all(holds) { 0 } else { EXIT_DEGRADED })
}

fn ties(context: &Context, order: &ties::Order) -> Done {
    lab::enter()?;
    let lab = Lab::new(ties::spec(order)?)?;
    let outcome = if context.output.is_json() {
        let outcome = ties::play(lab, order, &mut std::io::sink())?;
        context.output.json(&outcome)?;
        outcome
    } else {
        let outcome = ties::play(lab, order, &mut std::io::stdout().lock())?;
        let ties::Outcome { cuts, one, loaded, reaching, nobody, moments, .. } = outcome;
        context.output.print(&format!(
            "{}: {cuts} cuts, {one} with exactly one survivor, {loaded} of them with the service, \
             {reaching} with the gateway, {nobody} with nobody before help came, {moments} moments of killing; survivor after \
             {:.0} ms, at most {:.0} ms\n",
            order.tie.name(),
            outcome.median_milliseconds,
            outcome.worst_milliseconds
        ))?;
        for failure in &outcome.failures {
            context.output.print(&format!("  not good enough: {failure}\n"))?;
        }
        outcome
    };
    Ok(if outcome.failures.is_empty() { 0 } else { EXIT_DEGRADED })
}
fn torture(context: &Context, order: &Order) -> Done {
    lab::enter()?;
    let report = if context.output.is_json() {
        let report = lab::torture::play(order, &mut std::io::sink())?;
        context.output.json(&report)?;
        report
    } else {
        let report = lab::torture::play(order, &mut std::io::stdout().lock())?;
        context.output.print(&format!("{}\n", report.sentence()))?;
        report
    };
    Ok(if report.is_good() { 0 } else { EXIT_DEGRADED })
}

fn check_detection(detection: &str) -> Result<(), Failure> {
    let names = base::Preset::ALL.map(base::Preset::name);
    if names.contains(&detection) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("there is no preset \"{detection}\""),
        format!("there are: {}", names.join(", ")),
    ))
}

fn demo(context: &Context, detection: &str) -> Done {
    check_detection(detection)?;
    lab::enter()?;
    let passed = if context.output.is_json() {
        let story = lab::story::tell(&mut std::io::sink(), detection)?;
        context.output.json(&story)?;
        story.passed
    } else {
        let mut out = std::io::stdout().lock();
        let story = lab::story::tell(&mut out, detection)?;
        out.flush().map_err(anyhow::Error::from)?;
        story.passed
    };
    Ok(if passed { 0 } else { EXIT_DEGRADED })
}

fn scenario(
    context: &Context,
    name: Option<&str>,
    (times, seconds): (Option<u32>, Option<u32>),
    detection: &str,
) -> Done {
    let names = Scenario::ALL.map(Scenario::name);
    let Some(name) = name else {
        context.output.print(&format!("{}\n", names.join("\n")))?;
        return Ok(0);
    };
    let Some(scenario) = Scenario::named(name) else {
        return Err(Failure::usage(
            format!("there is no scenario {name}"),
            format!("there are: {}", names.join(", ")),
        ));
    };
    check_detection(detection)?;
    lab::enter()?;
    let mut left = times.unwrap_or_else(|| scenario.repetitions());
    let mut figures = Vec::new();
    while left > 0 {
        let part = left.min(scenario.in_one_lab());
        let mut scene = scenario.form(detection)?;
        scene.seconds = seconds;
        for _ in 0..part {
            let figure = scenario.run(&mut scene)?;
            // At once: a hundred of them take a quarter of an hour, and the next one may break off.
            if !context.output.is_json() {
                context.output.print(&format!("{}\n", figure.sentence()))?;
                for failure in &figure.failures {
                    context.output.print(&format!("  not good enough: {failure}\n"))?;
                }
            }
            figures.push(figure);
        }
        left -= part;
    }
    if context.output.is_json() {
        context.output.json(&scenarios::report(scenario, &figures))?;
    }
    let good = figures.iter().all(scenarios::Figure::is_good);
    Ok(if good { 0 } else { EXIT_DEGRADED })
}

fn welcome(lab: &Lab) -> String {
    let names = lab.node_names();
    let first = names.first().map_or("n1", String::as_str);
    format!(
        "The nodes {} are up. You are a machine beside them. Try:\n\n  \
         mainstay --node {first} status\n  mainstay lab cut {first} net0\n  mainstay lab heal\n  \
         mainstay lab power-off {first}\n\nexit ends everything.\n\n",
        names.join(", ")
    )
}
