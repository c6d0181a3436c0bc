//! Help, written from the tables.

use super::NAME;
use super::commands::{COMMANDS, Command};
use super::flags::Flag;

/// What `-h` prints, and a call without arguments.
pub(super) fn overall() -> String {
    let mut text = format!("{}\n\nusage: {NAME} COMMAND [FLAGS] ...\n\ncommands:\n", env!("CARGO_PKG_DESCRIPTION"));
    for command in COMMANDS.iter().filter(|command| !command.hidden) {
        text.push_str(&format!("  {:<14}{}\n", command.name, command.help));
    }
    text.push_str(&format!("\n{NAME} COMMAND -h lists the flags of a command.\n"));
    text
}

/// What `COMMAND -h` prints.
pub(super) fn of(command: &Command) -> String {
    let words = if command.words.is_empty() { String::new() } else { format!(" {}", command.words) };
    let mut text = format!("{NAME} {}: {}\n\nusage: {NAME} {0} [FLAGS]{words}\n", command.name, command.help);
    for group in command.groups {
        text.push('\n');
        for flag in *group {
            row(&mut text, flag);
        }
    }
    if command.groups.len() > 1 {
        text.push_str(
            "\nA flag beats the environment, the environment beats .env in the working directory. A list variable is comma-separated.\n\
             Durations: 500ms 5s 2m 1h; sizes: 64KiB 4MiB. * = may be given more than once.\n",
        );
    }
    text
}

/// The flag, and under it what it means and where else it can be set.
fn row(text: &mut String, flag: &Flag) {
    let name = if flag.long.is_empty() { format!("    {}", flag.variable) } else { flag.usage() };
    let star = if flag.repeatable { " *" } else { "" };
    let variable = Some(flag.variable).filter(|variable| !flag.long.is_empty() && !variable.is_empty()).map(str::to_owned);
    let default = Some(flag.default).filter(|default| !default.is_empty()).map(|default| format!("default: {default}"));
    let notes: Vec<_> = variable.into_iter().chain(default).collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" [{}]", notes.join(", ")) };
    let name = format!("{name}{star}");
    if name.len() <= 27 {
        text.push_str(&format!("  {name:<28}{}{notes}\n", flag.help));
    } else {
        text.push_str(&format!("  {name}\n  {:<28}{}{notes}\n", "", flag.help));
    }
}

#[cfg(test)]
mod tests {
    use super::super::flags::GENERAL;
    use super::*;

    #[test]
    fn each_command_lists_each_of_its_flags_and_their_variables() {
        for command in COMMANDS {
            let text = of(command);
            for flag in command.flags() {
                for part in [flag.long, flag.variable, flag.default, flag.help, flag.value.unwrap_or_default()] {
                    assert!(text.contains(part), "{part} is missing in the help of {}", command.name);
                }
                assert!(flag.short.is_none_or(|letter| text.contains(&format!("-{letter}, {}", flag.long))));
            }
            assert!(GENERAL.iter().all(|general| command.flags().any(|flag| flag.long == general.long)));
            assert!(text.lines().all(|line| line.len() <= 140), "{text}");
        }
    }

    #[test]
    fn the_overall_help_lists_what_is_there_and_nothing_else() {
        let text = overall();
        for command in COMMANDS {
            assert_eq!(text.contains(command.help), !command.hidden, "{}", command.name);
        }
    }
}
