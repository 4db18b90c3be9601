//! Completions and manual pages, made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;

use super::arguments::Arguments;
use super::{Context, Done, Failure};

pub(super) fn completions(context: &Context, shell: clap_complete::Shell) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "mainstay", &mut text);
    context.output.print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

pub(super) fn man(context: &Context, directory: Option<&Path>) -> Done {
    let failed =
        |error: std::io::Error| Failure::other(format!("can not write the pages: {error}"));
    match directory {
        None => context.output.print(&page().map_err(failed)?)?,
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(failed)?;
            clap_mangen::generate_to(Arguments::command(), directory).map_err(failed)?;
            let note = format!("the manual pages are in {}\n", directory.display());
            context.output.print(&note)?;
        }
    }
    Ok(0)
}

/// The main page, in roff.
pub(super) fn page() -> std::io::Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Arguments::command()).manual("Mainstay").render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
