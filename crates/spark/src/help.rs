//! The help text, generated from the table of options.

use std::fmt::Write as _;

use crate::flags::{FLAGS, Group};

/// The column of descriptions.
const COLUMN: usize = 32;
/// The width of lines.
const WIDTH: usize = 100;

/// The help text of `spark-submit`, or `anymaster submit`.
pub fn help(program: &str) -> String {
    help_of(&format!(
        "Submits an application to a cluster.\n\n\
         Usage: {program} [OPTIONS] <APPLICATION> [ARGUMENTS OF THE APPLICATION]\n       \
         {program} --kill ID --master URL\n       \
         {program} --status ID --master URL\n\n\
         The application is a jar, a .py or .R file, or any other program, which then is a driver of\n\
         its own. What follows it is passed on as it is. Options that are properties (--driver-memory)\n\
         win over --conf, that over the properties file."
    ))
}

/// The list of options after the usage text of another script.
pub fn help_of(usage: &str) -> String {
    let mut text = format!("{}\n", usage.trim_end());
    for group in Group::LISTED {
        let _ = write!(text, "\n{}:\n", group.title());
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            let mut name = String::from("  ");
            if let Some(short) = flag.short {
                let _ = write!(name, "{short}, ");
            }
            name.push_str(flag.name);
            if let Some(value) = flag.value {
                let _ = write!(name, " {value}");
            }
            let _ = write!(text, "{name:COLUMN$}");
            let mut column = COLUMN;
            for word in flag.help.split(' ') {
                if column > COLUMN && column + word.len() + 1 > WIDTH {
                    let _ = write!(text, "\n{:COLUMN$}", "");
                    column = COLUMN;
                }
                if column > COLUMN {
                    text.push(' ');
                    column += 1;
                }
                text.push_str(word);
                column += word.len();
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_a_terminal_and_lists_every_option() {
        let text = help("spark-submit");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        for flag in FLAGS.iter().filter(|flag| flag.group != Group::Hidden) {
            assert!(text.contains(flag.name), "{}", flag.name);
        }
        insta::assert_snapshot!(text);
    }
}
