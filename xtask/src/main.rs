//! `cargo xtask COMMAND`: see [`USAGE`].

use std::path::Path;
use std::process::ExitCode;

use xtask::{bench_peers, ci, licences, package, plant, tree, vm};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                    everything that has to hold before a change goes in
  licences              check licences and sources of all locked packages against deny.toml
  sim [ARGUMENT…]       run the simulator, optimised; its exit code is passed on
  canaries [NAME…]      plant each known fault in a copy and demand that the simulator finds it
  canaries --list       print the known faults
  package [DIR]         build a Debian package into a directory (default: target)
  bench-peers [--quick | --repetitions N]
                        measure Mainstay beside keepalived and Corosync with Pacemaker
  bench-addresses [--program PATH] [--repetitions N]
                        the loss of a node with 200 and 1,000 addresses, Mainstay beside keepalived
  vm [--program PATH] [SCENARIO…]
                        break virtual machines (panic, power, watchdog, …): minutes
  vm --list             print the scenarios
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = tree::root();
    let result = match arguments[..] {
        ["ci"] => ci::run(&root),
        ["licences"] => licences::run(&root),
        ["sim", ref rest @ ..] => ci::simulate(&root, rest),
        ["canaries", "--list"] => {
            plant::list();
            Ok(ExitCode::SUCCESS)
        }
        ["canaries", ref names @ ..] => plant::run(&root, names),
        ["package"] => package::run(&root, &root.join("target")),
        ["package", directory] => package::run(&root, Path::new(directory)),
        ["bench-peers", ref rest @ ..] => bench_peers::run(&root, rest),
        ["bench-addresses", ref rest @ ..] => bench_peers::run_addresses(&root, rest),
        ["vm", "--list"] => {
            vm::list();
            Ok(ExitCode::SUCCESS)
        }
        ["vm", ref rest @ ..] => vm::run(&root, rest),
        // What the two start for each product.
        ["bench-peers-site", product, program] => bench_peers::serve(product, program),
        ["bench-addresses-site", product, program, services, addresses] => {
            bench_peers::serve_addresses(product, program, services, addresses)
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
