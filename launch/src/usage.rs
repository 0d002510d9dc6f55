//! A command line that cannot be followed: one line, as for every other error.

use clap::error::ErrorKind;
use fulcrum_common::exit;

/// Ends the program with what clap has to say: help and version as they are, an error as one line.
pub(crate) fn end(error: &clap::Error) -> ! {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        error.exit();
    }
    eprintln!("{}", line(&error.render().to_string()));
    std::process::exit(exit::USAGE)
}

/// What is wrong and what is near, without the block that spells out the command.
fn line(rendered: &str) -> String {
    let told = rendered.trim().split("\n\n").filter(|part| {
        let part = part.trim_start();
        !part.starts_with("Usage:") && !part.starts_with("For more information")
    });
    let told = told.map(|part| part.lines().map(str::trim).collect::<Vec<_>>().join(" "));
    format!("{} (see --help)", told.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::Cli;

    #[test]
    fn a_wrong_command_line_is_told_in_one_line() {
        let train = "fulcrum train --model m --data d.csv --out o";
        for (words, expected) in [
            (
                format!("{train} --label y"),
                "error: the following required arguments were not provided: --classes <VALUES> (see --help)",
            ),
            (
                format!("{train} --lable y"),
                "error: unexpected argument '--lable' found; tip: a similar argument exists: '--label' (see --help)",
            ),
            (
                format!("{train} --epochs two"),
                "error: invalid value 'two' for '--epochs <N>': invalid digit found in string (see --help)",
            ),
        ] {
            let error = Cli::try_parse_from(words.split(' ')).unwrap_err();
            assert_eq!(line(&error.render().to_string()), expected);
        }
    }
}
