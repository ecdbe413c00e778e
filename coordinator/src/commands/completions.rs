//! `completions`: a script that teaches a shell our words.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};
use crate::output::{Output, forgive_closed_pipe};

pub(super) fn run(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dynamend", &mut script);
    let mut output = Output::new();
    forgive_closed_pipe(std::io::Write::write_all(output.writer(), &script))?;
    output.finish()?;
    Ok(Exit::Agree)
}
